//! Collections and their objects: `/v1/nics`, `/v1/nics/web-1`, and what became of them: `/v1/status`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{
        HeaderMap, Request, StatusCode,
        header::{CONTENT_TYPE, ETAG, LOCATION},
    },
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::{
    Api, Caller, EndedWith, Failed, How, Outcome, Refusal, Why, Wish,
    condition::Condition,
    read::{self, Asked, Named},
};
use crate::{
    config,
    desired::{Basis, Document, Key, Kind, Refused, Status, Step, Transaction},
};

/// Rows of a page unless fewer or more are asked for.
const LIMIT_DEFAULT: usize = 1000;
/// Most rows of a page.
const LIMIT_MAX: usize = 10_000;
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// An object, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// Its section in the file.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Changes whenever its body does.
    pub etag: String,
    /// `active`, `pending` or `failed`.
    pub state: String,
    /// Why it is not, or not all of it, active.
    pub reason: String,
    /// What was written; not in `/v1/status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// Some of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// The generation that it shows.
    pub generation: u64,
    /// By kind and id.
    pub items: Vec<Row>,
    /// What `after` must be for those that follow; `null` where there are none.
    pub next: Option<String>,
}

/// Which objects of a collection. Any other key is one of the body and must have this value: `network=net-1`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Which {
    /// Only objects in this state: `active`, `pending` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<String>,
    /// At most so many, 1 to 10000; 1000 where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<usize>,
    /// Only those behind this one: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
}

/// How an object is changed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Manner {
    /// Say what it would bring, and change nothing.
    pub(super) dry_run: bool,
    /// Fall back unless it is confirmed within so many seconds.
    pub(super) confirm_within_s: Option<u64>,
    /// Refuse what would not be active.
    pub(super) strict: bool,
}

/// What became of a change of one object.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// The object's etag now, to be given as `if-match` with the next change; `null` where it is gone, or has changed again.
    pub etag: Option<String>,
    /// All that the change brought.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Rows as they are wanted.
struct Select {
    kind: Option<Kind>,
    state: Option<String>,
    limit: usize,
    /// As a key is written: `nics/web-1`.
    after: Option<(Kind, String)>,
    /// Keys of the body and what they must be.
    fields: Vec<(String, String)>,
    with_body: bool,
}

impl Select {
    fn new(kind: Option<Kind>, which: Which) -> Result<Select, Refusal> {
        let bad = |detail: String| Refusal::new(Why::Malformed, detail);
        if let Some(state) = which.state.as_deref().filter(|state| !Status::NAMES.contains(state)) {
            let states = Status::NAMES.join(", ");
            return Err(bad(format!("the query: state: there is no state `{state}`; give one of {states}")));
        }
        let limit = which.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(bad(format!("the query: limit: {limit} rows; give 1 to {LIMIT_MAX}")));
        }
        let after = which.after.map(|after| match (kind, after.split_once('/')) {
            (Some(kind), None) => Ok((kind, after)),
            (None, Some((kind, id))) => kind.parse().map(|kind| (kind, id.to_owned())).map_err(bad),
            _ => Err(bad(format!("the query: after: `{after}` is no `next` of a page before"))),
        });
        let after = after.transpose()?;
        Ok(Select { kind, state: which.state, limit, after, fields: Vec::new(), with_body: kind.is_some() })
    }

    /// From the query of a collection.
    fn of(kind: Kind, query: Vec<(String, String)>) -> Result<Select, Refusal> {
        let (mut which, mut fields) = (Vec::new(), Vec::new());
        for (key, value) in query {
            if ["state", "limit", "after"].contains(&key.as_str()) {
                which.push((key, value));
            } else if scalar_keys(kind).any(|known| known == key) {
                fields.push((key, value));
            } else {
                let keys = scalar_keys(kind).collect::<Vec<_>>().join(", ");
                let detail =
                    format!("the query: `{key}` is no key of {kind}; give state, limit, after, {keys}");
                return Err(Refusal::new(Why::Malformed, detail));
            }
        }
        let bad = |error: &dyn std::fmt::Display| Refusal::new(Why::Malformed, format!("the query: {error}"));
        let text = serde_urlencoded::to_string(which).map_err(|error| bad(&error))?;
        let which = serde_urlencoded::from_str(&text).map_err(|error| bad(&error))?;
        Ok(Select { fields, ..Select::new(Some(kind), which)? })
    }

    fn page(&self, basis: &Basis) -> Page {
        let is_behind = |key: &Key| {
            self.after.as_ref().is_none_or(|(kind, id)| (key.kind, key.id.as_str()) > (*kind, id.as_str()))
        };
        let of_kind = |key: &Key| self.kind.is_none_or(|kind| key.kind == kind);
        let all =
            basis.documents.iter().filter(|document| of_kind(&document.key) && is_behind(&document.key));
        let mut rows = all.filter_map(|document| self.row(basis, document));
        let items: Vec<Row> = rows.by_ref().take(self.limit).collect();
        let last = |row: &Row| match self.kind {
            Some(_) => row.id.clone(),
            None => format!("{}/{}", row.kind, row.id),
        };
        let next = rows.next().and(items.last()).map(last);
        Page { generation: basis.generation, items, next }
    }

    fn row(&self, basis: &Basis, document: &Document) -> Option<Row> {
        let status = basis.settled.status(&document.key);
        if self.state.as_deref().is_some_and(|state| state != status.name()) {
            return None;
        }
        let is = |value: &Value, wanted: &str| {
            let said = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            said == wanted
        };
        let body = (self.with_body || !self.fields.is_empty()).then(|| document.body());
        let fits =
            |(key, wanted): &(String, String)| body.as_ref().is_some_and(|body| is(&body[key], wanted));
        self.fields.iter().all(fits).then(|| Row { body, ..row(document, status) })
    }
}

fn row(document: &Document, status: &Status) -> Row {
    Row {
        kind: document.key.kind.to_string(),
        id: document.key.id.to_string(),
        etag: document.etag(),
        state: status.name().to_owned(),
        reason: status.reason().to_owned(),
        body: None,
    }
}

/// Keys of a kind's body with one value each.
pub(super) fn scalar_keys(kind: Kind) -> impl Iterator<Item = &'static str> {
    let keys = config::schema()["properties"][kind.section()]["items"]["properties"].as_object();
    let is_scalar = |schema: &Value| {
        let types = &schema["type"];
        let is =
            |name| types == name || types.as_array().is_some_and(|types| types.iter().any(|one| one == name));
        is("string") || is("integer") || is("boolean")
    };
    keys.into_iter().flatten().filter(move |(_, schema)| is_scalar(schema)).map(|(key, _)| key.as_str())
}

fn kind(collection: &str) -> Result<Kind, Refusal> {
    collection.parse().map_err(|why: String| Refusal::new(Why::Missing, why))
}

fn find(basis: &Basis, collection: &str, id: &str) -> Result<Arc<Document>, Refusal> {
    let kind = kind(collection)?;
    let found = Key::new(kind, id).and_then(|key| basis.documents.get(&key).cloned());
    found.ok_or_else(|| Refused::Missing { kind, id: id.to_owned() }.into())
}

/// Lists may be long: others are answered meanwhile.
async fn pages(api: &Api, select: Select) -> Result<Json<Page>, Refusal> {
    let basis = api.backend.basis();
    let page = spawn_blocking(move || select.page(&basis)).await;
    page.map(Json).map_err(|_| Refusal::new(Why::Gone, "the list could not be made; see the log"))
}

pub(super) async fn list(
    State(api): State<Api>,
    Named(collection): Named<String>,
    Asked(query): Asked<Vec<(String, String)>>,
) -> Result<Json<Page>, Refusal> {
    pages(&api, Select::of(kind(&collection)?, query)?).await
}

pub(super) async fn status(
    State(api): State<Api>,
    Asked(which): Asked<Which>,
) -> Result<Json<Page>, Refusal> {
    pages(&api, Select::new(None, which)?).await
}

pub(super) async fn status_of(
    State(api): State<Api>,
    Named((collection, id)): Named<(String, String)>,
) -> Result<Json<Row>, Refusal> {
    let basis = api.backend.basis();
    let document = find(&basis, &collection, &id)?;
    Ok(Json(row(&document, basis.settled.status(&document.key))))
}

pub(super) async fn get(
    State(api): State<Api>,
    Named((collection, id)): Named<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let document = find(&api.backend.basis(), &collection, &id)?;
    let tag = [(ETAG, format!("\"{}\"", document.etag()))];
    if Condition::of(&headers)?.has(&document.etag()) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, [(CONTENT_TYPE, JSON)], document.text.to_string()).into_response())
}

pub(super) async fn put(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named((collection, id)): Named<(String, String)>,
    Asked(manner): Asked<Manner>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let kind = kind(&collection)?;
    let key = Key::new(kind, &id).ok_or_else(|| {
        let detail = format!(
            "`{id}` is no id; give 1 to 64 letters, digits, `.`, `_` and `-`, the first a letter or digit"
        );
        Refusal::new(Why::Malformed, detail)
    })?;
    let condition = Condition::of(request.headers())?;
    let mut body: Value = read::json(&api, request, &[JSON], read::OBJECT_MAX).await?;
    if let Some(object) = body.as_object_mut() {
        let said = object.entry("id").or_insert_with(|| id.clone().into());
        if said != &id {
            let detail = format!("{key}.id: {said} is another id than that of the path; leave it out");
            return Err(Refusal::new(Why::Invalid, detail));
        }
    }
    let present = api.backend.basis().documents.get(&key).map(|document| document.etag());
    let etag = condition.to_put(&key, present.as_deref())?;
    write(&api, caller, key, manner, Step::Put { kind, body, etag }).await
}

pub(super) async fn patch(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named((collection, id)): Named<(String, String)>,
    Asked(manner): Asked<Manner>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let key = find(&api.backend.basis(), &collection, &id)?.key.clone();
    let condition = Condition::of(request.headers())?;
    let patch: Value = read::json(&api, request, &[MERGE_PATCH, JSON], read::OBJECT_MAX).await?;
    let etag = condition.to_change(&key, &find(&api.backend.basis(), &collection, &id)?.etag())?;
    let step = Step::Patch { kind: key.kind, id, patch, etag };
    write(&api, caller, key, manner, step).await
}

pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Named((collection, id)): Named<(String, String)>,
    Asked(manner): Asked<Manner>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let document = find(&api.backend.basis(), &collection, &id)?;
    let etag = Condition::of(&headers)?.to_change(&document.key, &document.etag())?;
    let step = Step::Delete { kind: document.key.kind, id, etag };
    write(&api, caller, document.key.clone(), manner, step).await
}

async fn write(api: &Api, caller: Caller, key: Key, manner: Manner, step: Step) -> Result<Response, Refusal> {
    let Manner { dry_run, confirm_within_s, strict } = manner;
    let wish = Wish::Steps(Transaction { steps: vec![step], expect: None, strict });
    let how = How { dry_run, confirm_within_s };
    let outcome =
        api.backend.change(wish, how, caller.who()).await.map_err(|failed| refusal(failed, &key))?;
    let is_new = outcome.changes.iter().any(|change| change.before.is_null() && !outcome.dry_run);
    let etag = match outcome.changes.first() {
        Some(change) => change.etag.clone(),
        // As it was, unless somebody else has changed it since.
        None => {
            let basis = api.backend.basis();
            let same = basis.generation == outcome.generation;
            basis.documents.get(&key).filter(|_| same).map(|document| document.etag())
        }
    };
    let answer = (Extension(EndedWith(outcome.generation)), Json(Written { etag, outcome }));
    if is_new {
        let location = [(LOCATION, format!("/v1/{key}"))];
        return Ok((StatusCode::CREATED, location, answer).into_response());
    }
    Ok(answer.into_response())
}

/// What is wrong with one object, which was checked as a list of one.
fn refusal(failed: Failed, key: &Key) -> Refusal {
    if let Failed::Refused(why @ Refused::Changed { .. }) = &failed {
        return Refusal::new(Why::Changed, why.to_string());
    }
    let mut refusal = Refusal::from(failed);
    let only = format!("{}[0]", key.kind);
    for problem in &mut refusal.problems {
        if let Some(rest) = problem.path.strip_prefix(&only) {
            problem.path = format!("{key}{rest}");
            problem.id = None;
        }
    }
    if let [one] = &refusal.problems[..] {
        refusal.detail = one.to_string();
    }
    refusal
}
