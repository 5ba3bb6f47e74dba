//! A client of the API.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

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

/// Somebody who asks. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
}

impl Client {
    /// A client of this address.
    pub fn new(address: SocketAddr) -> Client {
        Client { address }
    }

    /// Asks, with headers and a body as they are given.
    ///
    /// # Panics
    /// Where no answer comes.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "gateway");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        connection.abort();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Said { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
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
