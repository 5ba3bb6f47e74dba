//! HTTP/1: the control socket (`/v1/...`) and `/metrics`. Requests are small, answers are typed, everything has a limit.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/show/TABLE?vpc=&network=&limit=` | 200 with a list of rows, and the header `tidegate-cut: true` where there were more; 404 no such table; 400 with `{"error"}` |
//! | `GET /v1/agents` | 200 with a list of `{"agent", "vpc", "service", "key", "provisional", "status", "reason"}`: what managers pushed to router agents |
//! | everything about desired state | [`objects`] |

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Extension, Json, Router,
    extract::{Path, Query, State},
    http::{HeaderName, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::TEXT_FORMAT;
use serde_json::json;
use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};
use tracing::error;

use super::{
    objects::{self, Peer},
    place::Place,
    shared::Shared,
    zstack::Agents,
};
use crate::show::{Filter, Rows, Table};

/// Largest request body, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// Says that there were more rows than the limit.
pub(crate) const CUT: HeaderName = HeaderName::from_static("tidegate-cut");
const JSON: &str = "application/json";
/// Longest time for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Serves the control socket and the metrics, on tasks of the present runtime.
pub(super) fn start(
    shared: &Arc<Shared>,
    agents: &Agents,
    place: &Place,
    file: &std::path::Path,
) -> Result<Vec<JoinHandle<()>>> {
    let socket = UnixListener::from_std(place.control.try_clone().context("the control socket")?)?;
    let control =
        router(shared.clone(), agents.clone(), file.into()).into_make_service_with_connect_info::<Peer>();
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

fn limited<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIMEOUT))
}

fn router(shared: Arc<Shared>, agents: Agents, file: Arc<std::path::Path>) -> Router {
    let routes = Router::new().route("/v1/show/{*table}", get(show)).route("/v1/agents", get(pushed));
    let routes = routes.layer(RequestBodyLimitLayer::new(BODY_MAX));
    limited(routes.merge(objects::routes()).layer(Extension(file)).layer(Extension(agents)))
        .with_state(shared)
}

fn scrape_router(shared: Arc<Shared>) -> Router {
    let routes = Router::new().route("/metrics", get(scrape));
    limited(routes.layer(RequestBodyLimitLayer::new(BODY_MAX))).with_state(shared)
}

async fn show(
    State(shared): State<Arc<Shared>>,
    Path(table): Path<String>,
    Query(filter): Query<Filter>,
) -> Response {
    let table: Table = match table.parse() {
        Ok(table) => table,
        Err(error) => return refuse(StatusCode::NOT_FOUND, &error),
    };
    match shared.show(table, &filter).await {
        Ok(Rows { json, cut: false }) => ([(CONTENT_TYPE, JSON)], json).into_response(),
        Ok(Rows { json, cut: true }) => ([(CONTENT_TYPE, JSON), (CUT, "true")], json).into_response(),
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error),
    }
}

/// What managers pushed to router agents, and what became of it.
async fn pushed(Extension(agents): Extension<Agents>) -> Response {
    Json(agents.pushed()).into_response()
}

async fn scrape(State(shared): State<Arc<Shared>>) -> Response {
    ([(CONTENT_TYPE, TEXT_FORMAT)], shared.metrics().await).into_response()
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
