//! What the gateway does, and what managers pushed to it.

use axum::{
    Json,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};

use super::{
    Api, CUT, PushedRow, Refusal, Why,
    read::{Asked, Named},
};
use crate::show::{Filter, Rows, Table};

const JSON: &str = "application/json";

pub(super) async fn table(
    State(api): State<Api>,
    Named(table): Named<String>,
    Asked(filter): Asked<Filter>,
) -> Result<Response, Refusal> {
    let table: Table = table.parse().map_err(|why: String| Refusal::new(Why::Missing, why))?;
    let rows = api.backend.show(table, &filter).await;
    let Rows { json, cut } = rows.map_err(|why| Refusal::new(Why::Malformed, why))?;
    let kind = [(CONTENT_TYPE, JSON)];
    Ok(if cut { (kind, [(CUT, "true")], json).into_response() } else { (kind, json).into_response() })
}

pub(super) async fn pushed(State(api): State<Api>) -> Json<Vec<PushedRow>> {
    Json(api.backend.pushed())
}
