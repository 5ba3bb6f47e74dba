//! A client of the API.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tidegate_control::rest;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, UnixStream},
};
use tokio_rustls::TlsConnector;

/// An answer.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; a string where it is no JSON.
    pub body: Value,
}

impl Said {
    /// A header as text; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The end of the type of a problem document; empty where it is none.
    pub fn problem(&self) -> &str {
        let is = self.header("content-type") == "application/problem+json";
        let slug = self.body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:tidegate:problem:"));
        slug.filter(|_| is && self.body["status"] == self.status.as_u16()).unwrap_or_default()
    }
}

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Somebody who asks. Each request has a connection of its own.
#[derive(Clone)]
pub struct Client {
    to: To,
    tls: Option<Arc<ClientConfig>>,
    token: Option<String>,
}

#[derive(Clone, Debug)]
enum To {
    Socket(PathBuf),
    Address(SocketAddr),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to.fmt(f)
    }
}

impl Client {
    /// A client of this address.
    pub fn new(address: SocketAddr) -> Client {
        Client { to: To::Address(address), tls: None, token: None }
    }

    /// A client of a control socket.
    pub fn of_socket(path: &Path) -> Client {
        Client { to: To::Socket(path.to_owned()), tls: None, token: None }
    }

    /// One that speaks TLS, trusts a CA, and perhaps shows a certificate.
    ///
    /// # Panics
    /// Where the files do not hold.
    pub fn with_tls(self, ca: &Path, own: Option<(&Path, &Path)>) -> Client {
        Client { tls: Some(Arc::new(rest::client(ca, own).unwrap_or_else(|why| panic!("{why}")))), ..self }
    }

    /// One that shows a token.
    pub fn with_token(self, token: &str) -> Client {
        Client { token: Some(token.to_owned()), ..self }
    }

    /// A connection on which nothing was said yet.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream: Box<dyn Stream> = match &self.to {
            To::Socket(path) => Box::new(UnixStream::connect(path).await?),
            To::Address(address) => {
                let socket = TcpSocket::new_v4()?;
                // So that who does not read is soon noticed.
                socket.set_recv_buffer_size(4096)?;
                Box::new(socket.connect(*address).await?)
            }
        };
        let (Some(tls), To::Address(address)) = (&self.tls, &self.to) else { return Ok(stream) };
        let name = ServerName::from(address.ip());
        Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    }

    /// Asks, with headers and a body as they are given.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn try_ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Said, Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await?)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "gateway");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = sender.send_request(request.body(Full::new(body.into()))?).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.into_body().collect().await?.to_bytes();
        connection.abort();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    /// Asks, with headers and a body as they are given.
    ///
    /// # Panics
    /// Where no answer comes.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
        self.try_ask(method, path, headers, body.to_owned()).await.expect("an answer")
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Said {
        self.ask("GET", path, &[], "").await
    }

    /// Sends JSON, with one more header unless its name is empty.
    pub async fn send(&self, method: &str, path: &str, header: (&str, &str), body: &Value) -> Said {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend((!header.0.is_empty()).then_some(header));
        self.ask(method, path, &headers, &body.to_string()).await
    }
}
