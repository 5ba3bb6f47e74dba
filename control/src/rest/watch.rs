//! `GET /v1/watch`: generations as they come, by server-sent events.
//!
//! A watcher is a place in the history and nothing else: the next event is made when the client has taken the one before. So nobody's
//! events pile up here. A client that falls behind the history is told to begin anew; one that does not read is cut off, as any
//! client is.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, watch::Receiver},
    task::spawn_blocking,
};

use super::{Api, Backend, Refusal, Why, count::Held, read::Asked};
use crate::desired::{Change, Head, Source};

/// Most objects that one event names.
const OBJECTS_MAX: usize = 1000;
/// Between two lines that say nothing, by which both ends see that the other one is there.
const ALIVE: Duration = Duration::from_secs(15);

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct From {
    /// The generation that the client knows; the present one where it is left out. The header `last-event-id` comes first.
    after: Option<u64>,
}

/// An event `generation`: one that came into force.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// Its number.
    pub generation: u64,
    /// When it was stored, in milliseconds since 1970.
    pub when_ms: u64,
    /// Who wanted it.
    pub who: String,
    /// By what way it came.
    pub source: Source,
    /// Their address, where they came over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// What it changed, at most 1000 objects.
    pub objects: Vec<Touched>,
    /// How many more it changed.
    pub more: usize,
}

/// An object that changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Touched {
    /// Its section in the file.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its etag since then; `null` where it went.
    pub etag: Option<String>,
}

pub(super) async fn watch(
    State(api): State<Api>,
    Asked(From { after }): Asked<From>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refusal> {
    let last = headers.get("last-event-id").map(|last| {
        let number = last.to_str().ok().and_then(|last| last.trim().parse().ok());
        number.ok_or_else(|| Refusal::new(Why::Malformed, "last-event-id is no generation; leave it out"))
    });
    let after: Option<u64> = last.transpose()?.or(after);
    let full = |_| {
        let detail = "as many clients watch as gateway.api.limits.watchers allows; try again later";
        Refusal::new(Why::TooManyWatch, detail)
    };
    let permit = Arc::clone(&api.watchers).try_acquire_owned().map_err(full)?;
    let held = api.counts.watcher();
    let coming = api.backend.generations();
    let watcher = Watcher { backend: api.backend, coming, at: after, _permit: permit, _held: held };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

/// Somebody who watches.
struct Watcher {
    backend: Arc<dyn Backend>,
    /// Says that there may be something new.
    coming: Receiver<u64>,
    /// The generation that they know; `None` before they know one.
    at: Option<u64>,
    _permit: OwnedSemaphorePermit,
    _held: Held,
}

impl Watcher {
    /// Waits for it; `None` when the gateway ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            self.coming.borrow_and_update();
            let heads = self.backend.heads();
            let present = heads.last().map_or(0, |head| head.generation);
            let Some(at) = self.at else {
                self.at = Some(present);
                return Some(event("present", present, &serde_json::json!({ "generation": present })));
            };
            match following(&heads, at) {
                Following::This(head) => {
                    self.at = Some(head.generation);
                    return Some(match self.changes(head.generation).await {
                        Some(changes) => event("generation", head.generation, &told(head, &changes)),
                        None => self.anew(present),
                    });
                }
                Following::Unknown => return Some(self.anew(present)),
                Following::Nothing => self.coming.changed().await.ok()?,
            }
        }
    }

    async fn changes(&self, generation: u64) -> Option<Vec<Change>> {
        let backend = Arc::clone(&self.backend);
        spawn_blocking(move || backend.changes_of(generation)).await.ok()?.ok()
    }

    /// What the client knows is too old: it reads everything again.
    fn anew(&mut self, present: u64) -> Event {
        self.at = Some(present);
        event("resync", present, &serde_json::json!({ "generation": present }))
    }
}

/// What comes after a generation.
enum Following<'a> {
    This(&'a Head),
    Nothing,
    /// It is not in the history any more, or never was.
    Unknown,
}

fn following(heads: &[Head], at: u64) -> Following<'_> {
    match heads.iter().position(|head| head.generation == at) {
        Some(place) => heads.get(place + 1).map_or(Following::Nothing, Following::This),
        None => Following::Unknown,
    }
}

fn told(head: &Head, changes: &[Change]) -> Told {
    let touched = |change: &Change| Touched {
        kind: change.key.kind.to_string(),
        id: change.key.id.to_string(),
        etag: change.after.as_ref().map(|document| document.etag()),
    };
    Told {
        generation: head.generation,
        when_ms: head.when_ms,
        who: head.who.clone(),
        source: head.source,
        from: head.from,
        objects: changes.iter().take(OBJECTS_MAX).map(touched).collect(),
        more: changes.len().saturating_sub(OBJECTS_MAX),
    }
}

fn event(name: &str, generation: u64, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).unwrap_or_default();
    Event::default().event(name).id(generation.to_string()).data(data)
}
