//! Changes of many objects at once, and the generations that they make.

use axum::{Extension, Json, body::Body, extract::State, http::Request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Api, Caller, How, Outcome, Refusal, Reloaded, Shown, Why, Wish,
    read::{self, Asked, Named},
};
use crate::desired::{Head, Transaction};

/// How a file is applied.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Applying {
    /// Say what it would bring, and change nothing.
    pub dry_run: bool,
    /// Fall back unless it is confirmed within so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u64>,
    /// Keep objects that the file does not have.
    pub merge: bool,
    /// Refuse what would not be active.
    pub strict: bool,
}

/// The generation that stays.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Confirmed {
    /// Its number.
    pub generation: u64,
}

pub(super) async fn apply(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Asked(applying): Asked<Applying>,
    request: Request<Body>,
) -> Result<Json<Outcome>, Refusal> {
    let Applying { dry_run, confirm_within_s, merge, strict } = applying;
    let bytes = read::bytes(request, read::FILE_MAX).await?;
    let text = String::from_utf8(bytes.into()).map_err(|error| {
        Refusal::new(Why::Malformed, format!("the body is no UTF-8: {error}; send YAML or JSON"))
    })?;
    let wish = Wish::File { text, merge, strict };
    Ok(Json(api.backend.change(wish, How { dry_run, confirm_within_s }, caller.name).await?))
}

pub(super) async fn transact(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Asked(how): Asked<How>,
    request: Request<Body>,
) -> Result<Json<Outcome>, Refusal> {
    let transaction: Transaction = read::json(request, &["application/json"], read::FILE_MAX).await?;
    Ok(Json(api.backend.change(Wish::Steps(transaction), how, caller.name).await?))
}

pub(super) async fn roll_back(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(to): Named<u64>,
    Asked(how): Asked<How>,
) -> Result<Json<Outcome>, Refusal> {
    Ok(Json(api.backend.change(Wish::Generation(to), how, caller.name).await?))
}

pub(super) async fn confirm(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Confirmed>, Refusal> {
    let confirmed = api.backend.confirm(caller.name).await?;
    let none = || Refusal::new(Why::Missing, "no generation waits to be confirmed; it may have fallen back");
    Ok(Json(Confirmed { generation: confirmed.ok_or_else(none)? }))
}

pub(super) async fn reload(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Reloaded>, Refusal> {
    Ok(Json(api.backend.reload(caller.name).await?))
}

pub(super) async fn history(State(api): State<Api>) -> Json<Vec<Head>> {
    Json(api.backend.heads())
}

pub(super) async fn generation(
    State(api): State<Api>,
    Named(generation): Named<u64>,
) -> Result<Json<Vec<Shown>>, Refusal> {
    let changes = api.backend.changes_of(generation)?;
    Ok(Json(changes.iter().map(Shown::of).collect()))
}
