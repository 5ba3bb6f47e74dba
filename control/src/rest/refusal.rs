//! Why a request is not done, as a problem document (RFC 9457).

use std::fmt;

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Failed;
use crate::{
    config::{Cause, Problem, Problems},
    desired::Refused,
};

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

macro_rules! whys {
    ($($(#[doc = $title:literal])+ $why:ident = $slug:literal, $status:ident;)*) => {
        /// Kinds of refusals.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Why { $($(#[doc = $title])+ $why,)* }

        impl Why {
            /// All of them.
            pub const ALL: &'static [Why] = &[$(Why::$why,)*];

            /// The end of its type: `urn:tidegate:problem:SLUG`.
            pub const fn slug(self) -> &'static str {
                match self { $(Why::$why => $slug,)* }
            }

            /// What it is called, for people.
            pub fn title(self) -> &'static str {
                match self { $(Why::$why => concat!($($title),+).trim_ascii(),)* }
            }

            /// The status that it comes with.
            pub const fn status(self) -> StatusCode {
                match self { $(Why::$why => StatusCode::$status,)* }
            }
        }
    };
}

whys! {
    /// The request cannot be read
    Malformed = "malformed", BAD_REQUEST;
    /// Nobody knows who asks
    Unknown = "unknown", UNAUTHORIZED;
    /// That is for others to do
    Forbidden = "forbidden", FORBIDDEN;
    /// There is no such thing
    Missing = "missing", NOT_FOUND;
    /// That cannot be done with it
    Method = "method", METHOD_NOT_ALLOWED;
    /// The request did not come in time
    Late = "late", REQUEST_TIMEOUT;
    /// Somebody was faster
    Stale = "stale", CONFLICT;
    /// A generation waits to be confirmed
    Unconfirmed = "unconfirmed", CONFLICT;
    /// The object is not as the request says
    Changed = "changed", PRECONDITION_FAILED;
    /// The body is too large
    TooLarge = "too-large", PAYLOAD_TOO_LARGE;
    /// The body is of another type
    MediaType = "media-type", UNSUPPORTED_MEDIA_TYPE;
    /// The document does not hold
    Invalid = "invalid", UNPROCESSABLE_ENTITY;
    /// The request must say which object it means to change
    Unconditional = "unconditional", PRECONDITION_REQUIRED;
    /// There are too many requests
    TooMany = "too-many", TOO_MANY_REQUESTS;
    /// Too many clients watch
    TooManyWatch = "too-many-watch", SERVICE_UNAVAILABLE;
    /// It cannot be kept on disk
    Unkept = "unkept", SERVICE_UNAVAILABLE;
    /// The gateway stops, or its control thread failed
    Gone = "gone", SERVICE_UNAVAILABLE;
}

/// A request that is not done; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind.
    pub why: Why,
    /// What is wrong, and the way out.
    pub detail: String,
    /// Each mistake of the document that was sent.
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// A refusal that concerns the request as a whole.
    pub(super) fn new(why: Why, detail: impl Into<String>) -> Refusal {
        Refusal { why, detail: detail.into(), problems: Vec::new() }
    }

    /// As it is written.
    pub fn document(&self) -> ProblemDocument {
        ProblemDocument {
            r#type: format!("urn:tidegate:problem:{}", self.why.slug()),
            title: self.why.title().to_owned(),
            status: self.why.status().as_u16(),
            detail: self.detail.clone(),
            problems: self.problems.iter().cloned().map(Mistake::from).collect(),
        }
    }
}

/// What a refused request is answered (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProblemDocument {
    /// Names the kind of refusal: `urn:tidegate:problem:…`.
    pub r#type: String,
    /// The same for people.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong, and the way out.
    pub detail: String,
    /// Every mistake of the document that was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Mistake>,
}

/// One mistake of a document.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Mistake {
    /// The object and the field: `nics/web-1.address`, or as in the file: `nics[0].address`.
    pub path: String,
    /// The id of the object, where it has one.
    pub id: Option<String>,
    /// The value that is wrong.
    pub value: Option<String>,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub way_out: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Problem::from(self.clone()).fmt(f)
    }
}

impl From<Problem> for Mistake {
    fn from(Problem { path, id, value, what, way_out, cause: _ }: Problem) -> Mistake {
        Mistake { path, id, value, what, way_out }
    }
}

impl From<Mistake> for Problem {
    fn from(Mistake { path, id, value, what, way_out }: Mistake) -> Problem {
        Problem { path, id, value, what, way_out, cause: Cause::Itself }
    }
}

impl From<Problems> for Refusal {
    fn from(Problems(problems): Problems) -> Refusal {
        let detail = match &problems[..] {
            [one] => one.to_string(),
            many => format!("{} problems; nothing has changed", many.len()),
        };
        Refusal { why: Why::Invalid, detail, problems }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        let why = match refused {
            Refused::Problems(problems) => return problems.into(),
            Refused::Stale { .. } | Refused::Changed { .. } => Why::Stale,
            Refused::Unconfirmed { .. } => Why::Unconfirmed,
            Refused::Missing { .. } | Refused::NoGeneration(_) => Why::Missing,
            Refused::Unkept(_) => Why::Unkept,
        };
        Refusal::new(why, refused.to_string())
    }
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Refusal {
        match failed {
            Failed::Refused(why) => why.into(),
            Failed::Unreadable(why) => Refusal::new(Why::Invalid, why),
            Failed::Gone(why) => Refusal::new(Why::Gone, why),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer =
            (self.why.status(), [(CONTENT_TYPE, MEDIA_TYPE)], Json(self.document())).into_response();
        let more = match self.why {
            Why::Unknown => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Why::TooMany | Why::TooManyWatch => Some((RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => None,
        };
        answer.headers_mut().extend(more);
        // For whoever counts it.
        answer.extensions_mut().insert(self.why);
        answer
    }
}
