//! Changes of many objects at once, and the generations that they make.

use axum::{Extension, Json, body::Body, extract::State, http::Request, response::IntoResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Api, Caller, EndedWith, How, Outcome, Refusal, Shown, Why, Wish,
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
) -> Result<impl IntoResponse, Refusal> {
    let Applying { dry_run, confirm_within_s, merge, strict } = applying;
    let bytes = read::bytes(&api, request, usize::MAX).await?;
    let text = String::from_utf8(bytes.into()).map_err(|error| {
        Refusal::new(Why::Malformed, format!("the body is no UTF-8: {error}; send YAML or JSON"))
    })?;
    let wish = Wish::File { text, merge, strict };
    Ok(ended(api.backend.change(wish, How { dry_run, confirm_within_s }, caller.who()).await?))
}

pub(super) async fn transact(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Asked(how): Asked<How>,
    request: Request<Body>,
) -> Result<impl IntoResponse, Refusal> {
    let transaction: Transaction = read::json(&api, request, &["application/json"], usize::MAX).await?;
    Ok(ended(api.backend.change(Wish::Steps(transaction), how, caller.who()).await?))
}

pub(super) async fn roll_back(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named(to): Named<u64>,
    Asked(how): Asked<How>,
) -> Result<impl IntoResponse, Refusal> {
    Ok(ended(api.backend.change(Wish::Generation(to), how, caller.who()).await?))
}

fn ended(outcome: Outcome) -> impl IntoResponse {
    (Extension(EndedWith(outcome.generation)), Json(outcome))
}

pub(super) async fn confirm(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<impl IntoResponse, Refusal> {
    let confirmed = api.backend.confirm(caller.who()).await?;
    let none = || Refusal::new(Why::Missing, "no generation waits to be confirmed; it may have fallen back");
    let generation = confirmed.ok_or_else(none)?;
    Ok((Extension(EndedWith(generation)), Json(Confirmed { generation })))
}

pub(super) async fn reload(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<impl IntoResponse, Refusal> {
    let reloaded = api.backend.reload(caller.who()).await?;
    Ok((Extension(EndedWith(reloaded.generation)), Json(reloaded)))
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
