//! Requests to the REST API of the site.

use std::sync::Arc;

use axum::{Router, body::Body};
use http_body_util::BodyExt as _;
use hyper::Request;
use serde_json::Value;
use tidegate_control::{
    config::Role,
    rest::{self, Backend as _, Caller, ProblemDocument},
};
use tokio::runtime;
use tower::ServiceExt as _;

use crate::{gateway::SITE, rest::Desk};

/// A request: its first line is method, path and perhaps an etag for `if-match`; the body is what follows. Any bytes are refused with a
/// problem document and change nothing, or are done; what was written can be read and written again, and then changes nothing.
///
/// # Panics
/// When it is not so.
pub fn rest(input: &[u8]) {
    let Some((method, path, etag, body)) = request(input) else { return };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let desk = Desk::in_memory(SITE);
        let caller = Caller { name: "fuzzer".into(), role: Role::Write, from: None };
        let api = rest::direct(Arc::clone(&desk) as _, caller);
        let Some((status, said)) = ask(&api, method, path, etag, body.to_vec()).await else { return };
        assert_ne!(status, 500, "{said:?}");
        if status >= 400 {
            let problem: ProblemDocument = serde_json::from_slice(&said).expect("a problem document");
            assert!(problem.status == status && !problem.detail.is_empty(), "{problem:?}");
            assert_eq!(desk.basis().generation, 1, "what was refused changed something");
        } else if method == "PUT" && !path.contains('?') {
            let (status, object) = ask(&api, "GET", path, None, Vec::new()).await.expect("a path");
            assert_eq!(status, 200, "what was written cannot be read");
            let generation = desk.basis().generation;
            let (status, said) = ask(&api, "PUT", path, Some("*"), object).await.expect("a path");
            let said: Value = serde_json::from_slice(&said).expect("JSON");
            assert_eq!((status, &said["generation"]), (200, &generation.into()), "{said}");
        }
    });
}

/// Method, path, etag and body.
fn request(input: &[u8]) -> Option<(&str, &str, Option<&str>, &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let (line, body) = (std::str::from_utf8(&input[..end]).ok()?, &input[end + 1..]);
    let mut words = line.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    // It would go on for ever.
    (!path.starts_with("/v1/watch")).then_some((method, path, words.next(), body))
}

/// The status and body of an answer; `None` for what is no HTTP.
async fn ask(
    api: &Router,
    method: &str,
    path: &str,
    etag: Option<&str>,
    body: Vec<u8>,
) -> Option<(u16, Vec<u8>)> {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let mut request = Request::builder().method(method).uri(path).header("content-type", kind);
    if let Some(etag) = etag {
        request = request.header("if-match", etag);
    }
    let request = request.body(Body::from(body)).ok()?;
    let answer = api.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    let status = answer.status().as_u16();
    Some((status, answer.into_body().collect().await.expect("a body").to_bytes().to_vec()))
}
