//! The REST API: desired state, its history and what the gateway does, over HTTP/1. One router for the control socket and for every
//! address of `gateway.api`; the tools are clients of it like any other.
//!
//! [`endpoint`] is the table of requests: the router and the manual are made from it. What a request does
//! with the gateway goes through a [`Backend`]; nothing here knows how a change comes into force.

mod access;
mod audit;
mod backend;
mod change;
mod condition;
mod count;
mod endpoint;
mod guard;
mod object;
pub mod openapi;
mod read;
mod refusal;
mod server;
mod show;
mod tls;
mod watch;

use std::sync::Arc;

use axum::{Router, http::HeaderName, middleware::from_fn_with_state};
use tokio::sync::Semaphore;

use self::guard::Guard;
pub use self::{
    access::{Access, Caller, Peer, line},
    audit::NAME as AUDIT,
    backend::{Answer, Backend, Failed, How, Outcome, PushedRow, Reloaded, Shown, Wish},
    change::{Applying, Confirmed},
    count::{ApiCounts, ApiSample, CLASSES, Limit},
    object::{Page, Row, Written},
    refusal::{Mistake, ProblemDocument, Refusal, Why},
    server::{Doors, Server},
    tls::client,
    watch::{Told, Touched},
};
use crate::config::ApiLimits;

/// Says that there were more rows than the limit.
pub const CUT: HeaderName = HeaderName::from_static("tidegate-cut");
/// Bodies that are read at a time, as multiples of the largest one.
const BODIES: usize = 2;

/// What every request works on.
#[derive(Clone)]
struct Api {
    backend: Arc<dyn Backend>,
    limits: ApiLimits,
    counts: Arc<ApiCounts>,
    /// KiB of bodies that may still be read.
    bodies: Arc<Semaphore>,
    /// Clients that may still watch.
    watchers: Arc<Semaphore>,
}

impl Api {
    fn new(backend: Arc<dyn Backend>, limits: ApiLimits, counts: Arc<ApiCounts>) -> Api {
        let bodies = Arc::new(Semaphore::new(BODIES * limits.body.div_ceil(1024)));
        Api { backend, limits, counts, bodies, watchers: Arc::new(Semaphore::new(limits.watchers)) }
    }
}

/// The generation that a request ended with, for whoever writes it down.
#[derive(Clone, Copy, Debug)]
struct EndedWith(u64);

/// All requests without connections, guard and audit log: whoever asks is this caller. For programs that have the gateway in themselves.
pub fn direct(backend: Arc<dyn Backend>, caller: Caller) -> Router {
    let api = Api::new(backend, ApiLimits::default(), Arc::default());
    endpoint::router().with_state(api).layer(axum::Extension(caller))
}

/// All requests, behind their guard. Whoever serves them puts a [`Peer`] into the extensions of each request.
fn router(api: Api, guard: &Arc<Guard>) -> Router {
    endpoint::router().with_state(api).layer(from_fn_with_state(Arc::clone(guard), guard::guard))
}
