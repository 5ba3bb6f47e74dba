//! `/metrics`, over HTTP/1. Requests are small, answers come in bounded time.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::TEXT_FORMAT;
use tokio::{net::TcpListener, task::JoinHandle};
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};
use tracing::error;

use super::{place::Place, shared::Shared};

/// Largest request body, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// Longest time for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Serves the metrics, on a task of the present runtime.
pub(super) fn start(shared: &Arc<Shared>, place: &Place) -> Result<Vec<JoinHandle<()>>> {
    let Some(listener) = &place.metrics else { return Ok(Vec::new()) };
    let listener = TcpListener::from_std(listener.try_clone().context("the metrics address")?)?;
    let router = Router::new()
        .route("/metrics", get(scrape))
        .layer(RequestBodyLimitLayer::new(BODY_MAX))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIMEOUT))
        .with_state(Arc::clone(shared));
    Ok(vec![tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            error!("the metrics server failed: {error}");
        }
    })])
}

async fn scrape(State(shared): State<Arc<Shared>>) -> Response {
    ([(CONTENT_TYPE, TEXT_FORMAT)], shared.metrics().await).into_response()
}
