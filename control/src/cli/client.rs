//! Talks to a running gateway: over its control socket, or over TCP with TLS.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    rest::{self, CUT, ProblemDocument},
    show::{Filter, Rows, Table},
};

/// Longest wait for an answer; a reload waits for workers.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Where a gateway listens.
const SOCKET: &str = "/run/tidegate/control.sock";
/// Largest answer, in bytes.
const ANSWER_MAX: usize = 1 << 30;

/// Which gateway.
#[derive(Debug, Args)]
pub(super) struct To {
    /// Control socket of the gateway to talk to
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// A gateway elsewhere, by an address of its gateway.api: https://HOST:PORT
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket")]
    server: Option<Uri>,
    /// File with the bearer token to show to --server
    #[arg(long, global = true, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// PEM file of the CA that signed the certificate of --server
    #[arg(long, global = true, value_name = "FILE", requires = "server")]
    ca: Option<PathBuf>,
    /// PEM file of the certificate to show to --server
    #[arg(long, global = true, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, global = true, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl To {
    /// Whether it is the gateway of this host, at its usual place.
    pub(super) fn is_local(&self) -> bool {
        self.server.is_none() && self.socket == Path::new(SOCKET)
    }
}

/// The way to one gateway.
#[derive(Debug)]
pub(super) struct Client {
    way: Way,
    /// `Bearer TOKEN`.
    authorization: Option<String>,
}

#[derive(Debug)]
enum Way {
    Socket(PathBuf),
    Server { host: String, port: u16, tls: Option<(ServerName<'static>, Arc<ClientConfig>)> },
}

impl To {
    /// # Errors
    /// A file that cannot be read, or a URL that leads nowhere.
    pub(super) fn client(&self) -> Result<Client> {
        let Some(server) = &self.server else {
            return Ok(Client { way: Way::Socket(self.socket.clone()), authorization: None });
        };
        let token = self.token_file.as_deref().map(|file| {
            fs::read_to_string(file).with_context(|| format!("--token-file: cannot read {}", file.display()))
        });
        let authorization = token.transpose()?.map(|token| format!("Bearer {}", token.trim()));
        Ok(Client { way: self.way(server)?, authorization })
    }

    fn way(&self, server: &Uri) -> Result<Way> {
        let wrong = || format!("--server: {server} is no https://HOST:PORT");
        let host = server.host().with_context(wrong)?.trim_matches(['[', ']']).to_owned();
        if !matches!(server.path(), "" | "/") || server.query().is_some() {
            bail!(wrong());
        }
        match server.scheme_str() {
            Some("https") => {
                let ca = self
                    .ca
                    .as_deref()
                    .context("--server: give --ca FILE, the CA of the gateway's certificate")?;
                let own = self.cert.as_deref().zip(self.key.as_deref());
                let config = rest::client(ca, own).map_err(anyhow::Error::msg)?;
                let name = ServerName::try_from(host.clone()).with_context(wrong)?;
                let port = server.port_u16().unwrap_or(443);
                Ok(Way::Server { host, port, tls: Some((name, Arc::new(config))) })
            }
            Some("http") if is_here(&host) => {
                Ok(Way::Server { host, port: server.port_u16().unwrap_or(80), tls: None })
            }
            Some("http") => {
                bail!("--server: {server}: everybody could read the token on the way; give https://")
            }
            _ => bail!(wrong()),
        }
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

impl Client {
    /// The rows of a table.
    pub(super) fn show(&self, table: Table, filter: &Filter) -> Result<Rows> {
        let query = serde_urlencoded::to_string(filter).context("these filters")?;
        let (headers, json) =
            self.ask(Method::GET, &format!("/v1/show/{}?{query}", table.name()), String::new())?;
        Ok(Rows { json, cut: headers.contains_key(CUT) })
    }

    pub(super) fn get(&self, path: &str) -> Result<String> {
        self.ask(Method::GET, path, String::new()).map(|(_, text)| text)
    }

    pub(super) fn post(&self, path: &str) -> Result<String> {
        self.send(path, String::new())
    }

    /// Posts a body.
    pub(super) fn send(&self, path: &str, body: String) -> Result<String> {
        self.ask(Method::POST, path, body).map(|(_, text)| text)
    }

    /// Deletes, whatever is there now.
    pub(super) fn delete(&self, path: &str) -> Result<String> {
        self.ask(Method::DELETE, path, String::new()).map(|(_, text)| text)
    }

    fn ask(&self, method: Method, path: &str, body: String) -> Result<(HeaderMap, String)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(async { timeout(TIMEOUT, self.exchange(method, path, body)).await });
        let (status, headers, text) =
            answer.map_err(|_| anyhow!("the gateway does not answer; see its log"))??;
        if status.is_success() {
            return Ok((headers, text));
        }
        let Ok(problem) = serde_json::from_str::<ProblemDocument>(&text) else {
            bail!("the gateway answers {status}: {text}");
        };
        match &problem.problems[..] {
            [] => bail!(problem.detail),
            all => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                bail!("nothing has changed:\n{}", all.join("\n"))
            }
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, HeaderMap, String)> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("content-type", "application/json").header("if-match", "*");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let body = Full::new(Bytes::from(body));
        match &self.way {
            Way::Socket(socket) => {
                let stream =
                    UnixStream::connect(socket).await.map_err(|error| unreachable(socket, &error))?;
                talk(stream, request.header("host", "tidegate").body(body)?).await
            }
            Way::Server { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream =
                    stream.with_context(|| format!("cannot reach the gateway at {host} port {port}"))?;
                let request = request.header("host", format!("{host}:{port}")).body(body)?;
                let Some((name, config)) = tls else { return talk(stream, request).await };
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name.clone(), stream).await;
                talk(stream.with_context(|| format!("no TLS with {host} port {port}"))?, request).await
            }
        }
    }
}

/// One request, one answer.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, HeaderMap, String)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.context("the gateway closed the connection")?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
    connection.abort();
    Ok((status, headers, String::from_utf8_lossy(&body).into_owned()))
}

fn unreachable(socket: &Path, error: &std::io::Error) -> anyhow::Error {
    let socket = socket.display();
    match error.kind() {
        ErrorKind::PermissionDenied => anyhow!("no permission for {socket}; run as root"),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => anyhow!(
            "no gateway answers on {socket}; start one (tidegate run), or give --socket as in its gateway.control_socket"
        ),
        _ => anyhow!("cannot reach the gateway on {socket}: {error}"),
    }
}
