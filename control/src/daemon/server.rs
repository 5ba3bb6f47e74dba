//! HTTP/1: the control socket (`/v1/...`) and `/metrics`. Requests are small, answers are typed, everything has a limit.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/show/TABLE?vpc=&network=&limit=` | 200 with a list of rows, and the header `tidegate-cut: true` where there were more; 404 no such table; 400 with `{"error"}` |
//! | `POST /v1/reload` | 200 with `{"generation", "live"}`; 422 with `{"error", "problems"}` |

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderName, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus::TEXT_FORMAT;
use serde_json::json;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::oneshot,
    task::JoinHandle,
};
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};
use tracing::error;

use super::{
    place::Place,
    reload::ReloadError,
    shared::{Command, Shared},
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
pub(super) fn start(shared: &Arc<Shared>, place: &Place) -> Result<Vec<JoinHandle<()>>> {
    let socket = UnixListener::from_std(place.control.try_clone().context("the control socket")?)?;
    let control = router(shared.clone());
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
    router
        .layer(RequestBodyLimitLayer::new(BODY_MAX))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIMEOUT))
}

fn router(shared: Arc<Shared>) -> Router {
    let routes = Router::new().route("/v1/show/{*table}", get(show)).route("/v1/reload", post(reload));
    limited(routes).with_state(shared)
}

fn scrape_router(shared: Arc<Shared>) -> Router {
    limited(Router::new().route("/metrics", get(scrape))).with_state(shared)
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

async fn reload(State(shared): State<Arc<Shared>>) -> Response {
    let (reply, answer) = oneshot::channel();
    let sent = shared.commands.send(Command::Reload(reply)).await.is_ok();
    match answer.await {
        Ok(Ok(reloaded)) => Json(reloaded).into_response(),
        Ok(Err(error)) => {
            let problems = match &error {
                ReloadError::Problems(problems) => json!(problems),
                ReloadError::Read { .. } => json!([]),
            };
            let body = json!({ "error": error.to_string(), "problems": problems });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
        Err(_) if sent => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the reload failed; see the log"),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping"),
    }
}

async fn scrape(State(shared): State<Arc<Shared>>) -> Response {
    ([(CONTENT_TYPE, TEXT_FORMAT)], shared.metrics().await).into_response()
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
