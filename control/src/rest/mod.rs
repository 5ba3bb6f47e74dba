//! The REST API: desired state, its history and what the gateway does, over HTTP/1. One router for the control socket and for every
//! address of `gateway.api`; the tools are clients of it like any other.
//!
//! [`endpoint`] is the table of requests: the router and the manual are made from it. What a request does
//! with the gateway goes through a [`Backend`]; nothing here knows how a change comes into force.

mod backend;
mod change;
mod condition;
mod endpoint;
mod object;
pub mod openapi;
mod read;
mod refusal;
mod show;

use std::sync::Arc;

use axum::{Router, http::HeaderName};

pub use self::{
    backend::{Answer, Backend, Failed, How, Outcome, PushedRow, Reloaded, Shown, Wish},
    change::{Applying, Confirmed},
    object::{Page, Row, Written},
    refusal::{Mistake, ProblemDocument, Refusal, Why},
};

/// Says that there were more rows than the limit.
pub const CUT: HeaderName = HeaderName::from_static("tidegate-cut");

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of the user.
    pub name: String,
}

/// What every request works on.
#[derive(Clone)]
struct Api {
    backend: Arc<dyn Backend>,
}

/// All requests. Whoever serves it puts a [`Caller`] into the extensions of each request.
pub fn router(backend: Arc<dyn Backend>) -> Router {
    endpoint::router().with_state(Api { backend })
}
