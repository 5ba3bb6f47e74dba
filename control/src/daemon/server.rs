//! HTTP/1 on the control socket ([`crate::rest`]) and for `/metrics`.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::{ConnectInfo, Request, State, connect_info::Connected},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::map_request,
    response::{IntoResponse, Response},
    routing::get,
    serve::IncomingStream,
};
use nix::unistd::{Uid, User};
use prometheus::TEXT_FORMAT;
use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};
use tracing::error;

use super::{place::Place, rest::Desk, shared::Shared, zstack::Agents};
use crate::rest::{self, Caller};

/// Largest request body, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// Longest time for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Who is at the other end of the socket.
#[derive(Clone, Copy, Debug)]
struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

impl Peer {
    /// The name of the user, or their number.
    fn name(self) -> String {
        let Some(uid) = self.0 else { return "unknown".to_owned() };
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        user.map_or_else(|| format!("uid {uid}"), |user| user.name)
    }
}

/// Serves the control socket and the metrics, on tasks of the present runtime.
pub(super) fn start(
    shared: &Arc<Shared>,
    agents: &Agents,
    place: &Place,
    file: &Path,
) -> Result<Vec<JoinHandle<()>>> {
    let socket = UnixListener::from_std(place.control.try_clone().context("the control socket")?)?;
    let desk = Desk { shared: shared.clone(), agents: agents.clone(), file: file.into() };
    let control = rest::router(Arc::new(desk)).layer(map_request(caller));
    let control = limited(control).into_make_service_with_connect_info::<Peer>();
    let mut servers = vec![tokio::spawn(async move {
        if let Err(error) = axum::serve(socket, control).await {
            error!("the control socket failed: {error}");
        }
    })];
    if let Some(listener) = &place.metrics {
        let listener = TcpListener::from_std(listener.try_clone().context("the metrics address")?)?;
        let scrape = scrape_router(shared.clone());
        servers.push(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, scrape).await {
                error!("the metrics server failed: {error}");
            }
        }));
    }
    Ok(servers)
}

async fn caller(ConnectInfo(peer): ConnectInfo<Peer>, mut request: Request) -> Request {
    request.extensions_mut().insert(Caller { name: peer.name() });
    request
}

fn limited<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIMEOUT))
}

fn scrape_router(shared: Arc<Shared>) -> Router {
    let routes = Router::new().route("/metrics", get(scrape));
    limited(routes.layer(RequestBodyLimitLayer::new(BODY_MAX))).with_state(shared)
}

async fn scrape(State(shared): State<Arc<Shared>>) -> Response {
    ([(CONTENT_TYPE, TEXT_FORMAT)], shared.metrics().await).into_response()
}
