//! Connections and requests: one request each, with a limit on everything.

use std::{convert::Infallible, sync::Arc};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, time::timeout};

use super::{Agent, AgentEvent, callback::Callback};
use crate::{
    clients::Place,
    zstack::{Endpoint, Transport},
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// What an asynchronous command is answered at once: the empty string of JSON.
const ACCEPTED: &str = "\"\"";
/// Largest body of commands that never wait for others.
const PROMPT_BODY_MAX: usize = 64 * 1024;
/// Most bytes of the head of a request.
const HEAD_MAX: usize = 32 * 1024;
/// Most headers.
const HEADERS_MAX: usize = 64;

type Answer = Response<Full<Bytes>>;

/// One connection, one request, one answer, then the command.
pub(super) async fn connection(agent: Arc<Agent>, stream: TcpStream, place: Place) {
    let limit = agent.limits.request;
    let (sender, mut jobs) = tokio::sync::mpsc::channel(1);
    let service = service_fn(|request| {
        let (agent, sender) = (Arc::clone(&agent), sender.clone());
        async move {
            let (answer, job) = answer(&agent, request).await;
            if let Some(job) = job {
                // The channel has room for the one request of the connection.
                _ = sender.try_send(job);
            }
            Ok::<Answer, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limit)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX);
    // The head and the body have `limit` each, and so has the answer. What goes wrong is the client's concern.
    _ = timeout(3 * limit, builder.serve_connection(TokioIo::new(stream), service)).await;
    drop(place);
    if let Ok(job) = jobs.try_recv() {
        job.run(&agent).await;
    }
}

/// A command that was accepted.
struct Job {
    endpoint: Endpoint,
    body: Vec<u8>,
    callback: Callback,
    /// Of `commands`.
    _permit: tokio::sync::OwnedSemaphorePermit,
    /// Of `bodies`.
    _room: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Job {
    async fn run(self, agent: &Agent) {
        agent.command(self.endpoint, self.body, self.callback).await;
    }
}

async fn answer(agent: &Agent, request: Request<Incoming>) -> (Answer, Option<Job>) {
    match accept(agent, request).await {
        Ok((answer, job)) => (answer, job),
        Err(Refused(status, why)) => {
            agent.counts.one(AgentEvent::RequestRefused);
            (respond(status, TEXT, why), None)
        }
    }
}

/// Why a request is not taken.
struct Refused(StatusCode, String);

async fn accept(agent: &Agent, request: Request<Incoming>) -> Result<(Answer, Option<Job>), Refused> {
    let path = request.uri().path().to_owned();
    let Some(endpoint) = Endpoint::of_path(&path) else {
        let why = format!("no plugin registered the path {path}\n");
        return Err(Refused(StatusCode::NOT_FOUND, why));
    };
    if endpoint.transport() == Transport::Text {
        let page = agent.metrics().await.map_err(|why| Refused(StatusCode::INTERNAL_SERVER_ERROR, why))?;
        return Ok((respond(StatusCode::OK, PROMETHEUS, page), None));
    }
    if endpoint.transport() == Transport::Sync {
        let (body, _room) = read(agent, endpoint, request).await?;
        let reply = agent.carry_out(endpoint, body).await;
        return Ok((respond(StatusCode::OK, JSON, reply.to_string()), None));
    }
    let bad = |why: String| Refused(StatusCode::BAD_REQUEST, format!("{path} is asynchronous: {why}\n"));
    let callback = Callback::of(request.headers(), &path).map_err(bad)?;
    let commands = if endpoint.is_prompt() { &agent.prompt } else { &agent.commands };
    let Ok(permit) = commands.clone().try_acquire_owned() else {
        let why = "too many commands are under way\n".to_owned();
        return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let (body, room) = read(agent, endpoint, request).await?;
    let job = Job { endpoint, body, callback, _permit: permit, _room: room };
    Ok((respond(StatusCode::OK, JSON, ACCEPTED.to_owned()), Some(job)))
}

/// The body, of bounded size and in bounded time, and its room among all bodies.
async fn read(
    agent: &Agent,
    endpoint: Endpoint,
    request: Request<Incoming>,
) -> Result<(Vec<u8>, Option<tokio::sync::OwnedSemaphorePermit>), Refused> {
    let most = if endpoint.is_prompt() { PROMPT_BODY_MAX.min(agent.limits.body) } else { agent.limits.body };
    let body = request.into_body();
    let too_long =
        || Refused(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {most} bytes\n"));
    if body.size_hint().lower() > most as u64 {
        return Err(too_long());
    }
    let work = async {
        let upper = body.size_hint().upper().unwrap_or(most as u64).min(most as u64);
        let kib = u32::try_from(upper.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = match endpoint.is_prompt() || kib == 0 {
            true => None,
            false => agent.bodies.clone().acquire_many_owned(kib).await.ok(),
        };
        let read = Limited::new(body, most).collect().await;
        let bytes = read.map(|body| body.to_bytes().to_vec()).map_err(|error| {
            if error.is::<LengthLimitError>() {
                too_long()
            } else {
                Refused(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}\n"))
            }
        })?;
        Ok((bytes, room))
    };
    let late = |_| Refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n".to_owned());
    timeout(agent.limits.request, work).await.map_err(late)?
}

fn respond(status: StatusCode, kind: HeaderValue, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
