//! Reading requests: queries and bodies, with a limit on everything and an answer that names what is wrong.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, Path},
    http::{HeaderMap, Request, header::CONTENT_TYPE, request::Parts},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio::{task::spawn_blocking, time::timeout};

use super::{Api, Refusal, Why};

/// Largest body of one object, in bytes.
pub(super) const OBJECT_MAX: usize = 1 << 20;
/// What is larger is read on another thread, so that others are answered meanwhile.
const HERE_MAX: usize = 64 << 10;

/// The part of the address after `?`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked<T>, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        let asked = serde_urlencoded::from_str(query);
        asked.map(Asked).map_err(|error| Refusal::new(Why::Malformed, format!("the query: {error}")))
    }
}

/// The variable parts of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named<T>, Refusal> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(named)| Named(named)).map_err(|error| {
            Refusal::new(Why::Missing, format!("there is no {}: {}", parts.uri.path(), error.body_text()))
        })
    }
}

/// A body of at most `most` bytes, and no more than is allowed. One that says that it is longer is refused before any of it is read, and there is
/// room for so many bytes of bodies only; others wait for it.
pub(super) async fn bytes(api: &Api, request: Request<Body>, most: usize) -> Result<Bytes, Refusal> {
    let (body, most, time) = (request.into_body(), most.min(api.limits.body), api.limits.timeout);
    let too_large =
        || Refusal::new(Why::TooLarge, format!("the body is longer than {most} bytes; send less at a time"));
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let upper = body.size_hint().upper().unwrap_or(u64::MAX).min(most as u64);
    let late = |_| Refusal::new(Why::Late, format!("the body did not come within {} s", time.as_secs()));
    let work = async {
        let kib = u32::try_from(upper.div_ceil(1024)).unwrap_or(u32::MAX);
        let _room = api.bodies.acquire_many(kib).await.ok();
        Limited::new(body, most).collect().await
    };
    let read = timeout(time, work).await.map_err(late)?;
    read.map(|body| body.to_bytes()).map_err(|error| {
        if error.is::<LengthLimitError>() {
            too_large()
        } else {
            Refusal::new(Why::Malformed, format!("the body broke off: {error}"))
        }
    })
}

/// A body of JSON.
pub(super) async fn json<T: DeserializeOwned + Send + 'static>(
    api: &Api,
    request: Request<Body>,
    types: &[&str],
    most: usize,
) -> Result<T, Refusal> {
    is_one_of(request.headers(), types)?;
    let bytes = bytes(api, request, most).await?;
    let size = bytes.len();
    let read = move || {
        serde_json::from_slice(&bytes).map_err(|error| {
            Refusal::new(Why::Malformed, format!("the body: {error}; send JSON as docs/api.md says"))
        })
    };
    aside(read, size).await
}

/// Does what takes longer than others should wait on another thread.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    size: usize,
) -> Result<T, Refusal> {
    if size <= HERE_MAX {
        return work();
    }
    let failed = |_| Refusal::new(Why::Gone, "the body could not be read; see the log");
    spawn_blocking(work).await.map_err(failed)?
}

fn is_one_of(headers: &HeaderMap, types: &[&str]) -> Result<(), Refusal> {
    let is = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = is.split(';').next().unwrap_or_default().trim();
    if types.iter().any(|one| plain.eq_ignore_ascii_case(one)) {
        return Ok(());
    }
    let given = if plain.is_empty() { "nothing" } else { plain };
    let detail = format!("content-type says {given}; send {}", types.join(" or "));
    Err(Refusal::new(Why::MediaType, detail))
}
