//! Desired state on the control socket.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/objects?kind=&id=&state=` | 200 with a list of `{"kind", "id", "etag", "state", "reason", "body"}` |
//! | `POST /v1/apply?dry_run=&merge=&strict=&confirm_within_s=` with a file (YAML or JSON) | 200 with `{"generation", "live", "changes", "warnings", …}` |
//! | `POST /v1/transactions?dry_run=&confirm_within_s=` with `{"steps", "expect", "strict"}` | the same |
//! | `POST /v1/rollback/N?dry_run=&confirm_within_s=` | the same |
//! | `POST /v1/confirm` | 200 with `{"generation"}`; 404 where none waits for it |
//! | `GET /v1/history`, `GET /v1/history/N` | 200 with a list of generations, or of the changes of one |
//! | `POST /v1/reload` | 200 with `{"generation", "live"}` |
//!
//! What is refused is 422 with `{"error", "problems"}`, 409 where somebody was faster, 404 where there is no such thing, 503 where
//! it cannot be kept; nothing has changed then.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State, connect_info::Connected},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::IncomingStream,
};
use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tower_http::limit::RequestBodyLimitLayer;

use super::{
    change::{self, How, Outcome, Shown},
    reload::ReloadError,
    shared::Shared,
};
use crate::desired::{Key, Kind, Refused, Transaction};

/// Largest file or transaction, in bytes.
const BODY_MAX: usize = 32 << 20;

/// Who is at the other end of the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(Option<u32>);

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

/// Who asks; of a request that came over the socket.
type Who = ConnectInfo<Peer>;

/// Which objects.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Which {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
}

/// An object as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ObjectRow {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) etag: String,
    /// `active`, `pending` or `failed`.
    pub(crate) state: String,
    /// Why it is not, or not all of it, active.
    pub(crate) reason: String,
    pub(crate) body: Value,
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/apply", post(apply))
        .route("/v1/transactions", post(transact))
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(BODY_MAX))
        .route("/v1/objects", get(objects))
        .route("/v1/rollback/{generation}", post(roll_back))
        .route("/v1/confirm", post(confirm))
        .route("/v1/history", get(history))
        .route("/v1/history/{generation}", get(generation))
        .route("/v1/reload", post(reload))
}

async fn objects(State(shared): State<Arc<Shared>>, Query(which): Query<Which>) -> Response {
    let basis = shared.store().basis().clone();
    let row = |key: &Key| {
        let document = basis.documents.get(key)?;
        let status = basis.settled.status(key);
        which.state.as_deref().is_none_or(|only| only == status.name()).then(|| ObjectRow {
            kind: key.kind.to_string(),
            id: key.id.to_string(),
            etag: document.etag(),
            state: status.name().to_owned(),
            reason: status.reason().to_owned(),
            body: document.body(),
        })
    };
    let rows: Vec<ObjectRow> = match (which.kind, &which.id) {
        (Some(kind), Some(id)) => {
            let key = Key::new(kind, id).filter(|key| basis.documents.get(key).is_some());
            let Some(key) = key else {
                return refused(&Refused::Missing { kind, id: id.clone() });
            };
            row(&key).into_iter().collect()
        }
        (kind, id) => {
            let keys = basis.documents.iter().map(|document| &document.key);
            let keys = keys.filter(|key| kind.is_none_or(|kind| key.kind == kind));
            keys.filter(|key| id.as_deref().is_none_or(|id| key.id.as_str() == id)).filter_map(row).collect()
        }
    };
    Json(rows).into_response()
}

async fn apply(
    State(shared): State<Arc<Shared>>,
    Query(how): Query<How>,
    ConnectInfo(who): Who,
    text: String,
) -> Response {
    outcome(change::apply(&shared, text, how, who.name()).await)
}

async fn transact(
    State(shared): State<Arc<Shared>>,
    Query(how): Query<How>,
    ConnectInfo(who): Who,
    Json(transaction): Json<Transaction>,
) -> Response {
    outcome(change::transact(&shared, transaction, how, who.name()).await)
}

async fn roll_back(
    State(shared): State<Arc<Shared>>,
    Query(how): Query<How>,
    ConnectInfo(who): Who,
    Path(to): Path<u64>,
) -> Response {
    outcome(change::roll_back(&shared, to, how, who.name()).await)
}

async fn confirm(State(shared): State<Arc<Shared>>, ConnectInfo(who): Who) -> Response {
    match change::confirm(&shared, &who.name()).await {
        Ok(Some(generation)) => Json(json!({ "generation": generation })).into_response(),
        Ok(None) => error(StatusCode::NOT_FOUND, "no generation waits to be confirmed"),
        Err(why) => refused(&why),
    }
}

async fn history(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.store().heads()).into_response()
}

async fn generation(State(shared): State<Arc<Shared>>, Path(generation): Path<u64>) -> Response {
    let changes = shared.store().changes_of(generation);
    match changes {
        Ok(changes) => Json(changes.iter().map(Shown::of).collect::<Vec<_>>()).into_response(),
        Err(why) => refused(&why),
    }
}

async fn reload(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(who): Who,
    Extension(file): Extension<Arc<std::path::Path>>,
) -> Response {
    match change::reload(&shared, &file, who.name()).await {
        Ok(reloaded) => Json(reloaded).into_response(),
        Err(why) => failed(&why),
    }
}

fn outcome(result: Result<Outcome, ReloadError>) -> Response {
    match result {
        Ok(outcome) => Json(outcome).into_response(),
        Err(why) => failed(&why),
    }
}

fn failed(why: &ReloadError) -> Response {
    match why {
        ReloadError::Refused(why) => refused(why),
        ReloadError::Read { .. } => {
            let body = json!({ "error": why.to_string(), "problems": [] });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
        ReloadError::Gone(why) => error(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

fn refused(why: &Refused) -> Response {
    let status = match why {
        Refused::Problems(problems) => {
            let body = json!({ "error": why.to_string(), "problems": problems });
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response();
        }
        Refused::Stale { .. } | Refused::Changed { .. } | Refused::Unconfirmed { .. } => StatusCode::CONFLICT,
        Refused::Missing { .. } | Refused::NoGeneration(_) => StatusCode::NOT_FOUND,
        Refused::Unkept(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    error(status, &why.to_string())
}

fn error(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
