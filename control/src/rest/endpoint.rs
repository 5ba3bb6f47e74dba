//! Every request there is. The router and the manual are both made from this table.

use axum::{
    Router,
    handler::Handler,
    http::{Method, Uri},
    routing::{MethodFilter, MethodRouter, on},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    Api, How, Outcome, Refusal, Reloaded, Shown, Why,
    change::{self, Applying, Confirmed},
    object::{self, Manner, Page, Row, Which, Written},
    openapi, show,
    watch::{self, Told},
};
use crate::{
    desired::{Head, Transaction},
    show::Filter,
};

/// Where the objects of a kind are.
pub(super) const COLLECTION: &str = "/v1/{collection}";
/// Where one of them is.
pub(super) const OBJECT: &str = "/v1/{collection}/{id}";
/// How every request may be refused.
pub(super) const ALWAYS: &[Why] = &[Why::Unknown, Why::Forbidden, Why::TooMany];

/// Makes the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One request.
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// With `{name}` where something varies; `{collection}` is a section of the file.
    pub(super) path: &'static str,
    /// What it does.
    pub(super) about: &'static str,
    /// What may stand behind `?`.
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<Sent>,
    /// What it is answered where it is done.
    pub(super) answer: Sent,
    /// How it may be refused, beside [`ALWAYS`].
    pub(super) refusals: &'static [Why],
    handler: MethodRouter<Api>,
}

/// A body, either way.
#[derive(Clone, Copy)]
pub(super) enum Sent {
    /// JSON of a type.
    Json(SchemaOf),
    /// One object of the collection.
    Object,
    /// A change of one, by RFC 7396.
    MergePatch,
    /// A file with objects, YAML or JSON.
    File,
    /// Server-sent events; the data of those called `generation` is of this type.
    Events(SchemaOf),
}

impl Endpoint {
    fn new<H, T>(
        method: Method,
        path: &'static str,
        handler: H,
        about: &'static str,
        answer: Sent,
    ) -> Endpoint
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        Endpoint {
            method,
            path,
            about,
            query: None,
            body: None,
            answer,
            refusals: &[],
            handler: on(filter, handler),
        }
    }

    /// Headers by which a request says which state of an object it means.
    pub(super) fn conditions(&self) -> &'static [&'static str] {
        match (self.path, self.method.as_str()) {
            (OBJECT, "PUT") => &["if-match", "if-none-match"],
            (OBJECT, "PATCH" | "DELETE") => &["if-match"],
            (OBJECT, "GET") => &["if-none-match"],
            _ => &[],
        }
    }

    fn asks<T: JsonSchema>(self) -> Endpoint {
        Endpoint { query: Some(|generator| T::json_schema(generator)), ..self }
    }

    fn takes(self, body: Sent) -> Endpoint {
        Endpoint { body: Some(body), ..self }
    }

    fn refuses(self, refusals: &'static [Why]) -> Endpoint {
        Endpoint { refusals, ..self }
    }
}

/// A list of rows; what is in them depends on the table.
const ROWS: Sent = Sent::Json(|_| json_schema!({ "type": "array", "items": { "type": "object" } }));

fn json<T: JsonSchema>() -> Sent {
    Sent::Json(|generator| generator.subschema_for::<T>())
}

/// How a change of desired state may be refused.
const CHANGE: &[Why] = &[
    Why::Malformed,
    Why::Missing,
    Why::Stale,
    Why::Unconfirmed,
    Why::TooLarge,
    Why::MediaType,
    Why::Invalid,
    Why::Unkept,
    Why::Gone,
];
/// How a change of one object may be.
const WRITE: &[Why] = &[
    Why::Malformed,
    Why::Missing,
    Why::Unconfirmed,
    Why::Changed,
    Why::TooLarge,
    Why::MediaType,
    Why::Invalid,
    Why::Unconditional,
    Why::Unkept,
    Why::Gone,
];

/// All of them, in the order of the manual.
pub(super) fn all() -> Vec<Endpoint> {
    let (get, put, patch, post, delete) =
        (Method::GET, Method::PUT, Method::PATCH, Method::POST, Method::DELETE);
    vec![
        Endpoint::new(get.clone(), COLLECTION, object::list, "List objects of a kind", json::<Page>())
            .asks::<Which>()
            .refuses(&[Why::Malformed, Why::Missing]),
        Endpoint::new(get.clone(), OBJECT, object::get, "Read an object, with its etag", Sent::Object)
            .refuses(&[Why::Malformed, Why::Missing]),
        Endpoint::new(
            put,
            OBJECT,
            object::put,
            "Write an object, new or in place of the one of its id",
            json::<Written>(),
        )
        .asks::<Manner>()
        .takes(Sent::Object)
        .refuses(WRITE),
        Endpoint::new(
            patch,
            OBJECT,
            object::patch,
            "Change parts of an object (RFC 7396)",
            json::<Written>(),
        )
        .asks::<Manner>()
        .takes(Sent::MergePatch)
        .refuses(WRITE),
        Endpoint::new(
            delete,
            OBJECT,
            object::delete,
            "Take an object away; what names it waits",
            json::<Written>(),
        )
        .asks::<Manner>()
        .refuses(WRITE),
        Endpoint::new(
            get.clone(),
            "/v1/status",
            object::status,
            "List objects of all kinds with their state",
            json::<Page>(),
        )
        .asks::<Which>()
        .refuses(&[Why::Malformed]),
        Endpoint::new(
            get.clone(),
            "/v1/status/{collection}/{id}",
            object::status_of,
            "Say whether an object is active, and if not, why",
            json::<Row>(),
        )
        .refuses(&[Why::Missing]),
        Endpoint::new(
            post.clone(),
            "/v1/transactions",
            change::transact,
            "Do several steps at once: all of them or none",
            json::<Outcome>(),
        )
        .asks::<How>()
        .takes(json::<Transaction>())
        .refuses(CHANGE),
        Endpoint::new(
            post.clone(),
            "/v1/apply",
            change::apply,
            "Put the objects of a file into force",
            json::<Outcome>(),
        )
        .asks::<Applying>()
        .takes(Sent::File)
        .refuses(CHANGE),
        Endpoint::new(
            get.clone(),
            "/v1/history",
            change::history,
            "List the generations",
            json::<Vec<Head>>(),
        ),
        Endpoint::new(
            get.clone(),
            "/v1/history/{generation}",
            change::generation,
            "Say what a generation changed",
            json::<Vec<Shown>>(),
        )
        .refuses(&[Why::Missing, Why::Unkept]),
        Endpoint::new(
            get.clone(),
            "/v1/watch",
            watch::watch,
            "Hear of each generation as it comes (server-sent events)",
            Sent::Events(|generator| generator.subschema_for::<Told>()),
        )
        .asks::<watch::From>()
        .refuses(&[Why::Malformed, Why::TooManyWatch]),
        Endpoint::new(
            post.clone(),
            "/v1/rollback/{generation}",
            change::roll_back,
            "Go back to an earlier generation, as a new one",
            json::<Outcome>(),
        )
        .asks::<How>()
        .refuses(CHANGE),
        Endpoint::new(
            post.clone(),
            "/v1/confirm",
            change::confirm,
            "Let the present generation stay",
            json::<Confirmed>(),
        )
        .refuses(&[Why::Missing, Why::Unkept]),
        Endpoint::new(
            post,
            "/v1/reload",
            change::reload,
            "Have the host's own file read again",
            json::<Reloaded>(),
        )
        .refuses(&[Why::Invalid, Why::Unconfirmed, Why::Unkept, Why::Gone]),
        Endpoint::new(get.clone(), "/v1/show/{*table}", show::table, "Show what the gateway does", ROWS)
            .asks::<Filter>()
            .refuses(&[Why::Malformed, Why::Missing]),
        Endpoint::new(
            get.clone(),
            "/v1/agents",
            show::pushed,
            "List what ZStack managers pushed to router agents",
            ROWS,
        ),
        Endpoint::new(
            get,
            "/v1/openapi.json",
            openapi::serve,
            "Read what there is, as an OpenAPI document",
            Sent::Json(|_| json_schema!({ "type": "object" })),
        ),
    ]
}

/// What answers them.
pub(super) fn router() -> Router<Api> {
    let routes = all()
        .into_iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path, endpoint.handler));
    routes.fallback(missing).method_not_allowed_fallback(method)
}

async fn missing(uri: Uri) -> Refusal {
    Refusal::new(
        Why::Missing,
        format!("there is no {}; GET /v1/openapi.json lists what there is", uri.path()),
    )
}

async fn method(method: Method, uri: Uri) -> Refusal {
    let detail =
        format!("{} does not take {method}; GET /v1/openapi.json lists what it does take", uri.path());
    Refusal::new(Why::Method, detail)
}
