//! Talks to a running gateway over its control socket.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};

use crate::{
    rest::{CUT, ProblemDocument},
    show::{Filter, Rows, Table},
};

/// Longest wait for an answer; a reload waits for workers.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer, in bytes.
const ANSWER_MAX: usize = 1 << 30;

/// The way to one gateway.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Client {
        Client { socket: socket.to_owned() }
    }

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
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "tidegate");
        let request = request.header("content-type", "application/json").header("if-match", "*");
        let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
        connection.abort();
        Ok((status, headers, String::from_utf8_lossy(&body).into_owned()))
    }

    fn unreachable(&self, error: std::io::Error) -> anyhow::Error {
        let socket = self.socket.display();
        match error.kind() {
            ErrorKind::PermissionDenied => anyhow!("no permission for {socket}; run as root"),
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => anyhow!(
                "no gateway answers on {socket}; start one (tidegate run), or give --socket as in its gateway.control_socket"
            ),
            _ => anyhow!("cannot reach the gateway on {socket}: {error}"),
        }
    }
}
