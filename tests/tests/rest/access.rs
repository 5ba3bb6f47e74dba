//! Who comes in, what they may do, and what is written down of it.

use std::{fs, os::unix::fs::MetadataExt as _};

use serde_json::json;
use tidegate_control::{
    config::Role,
    rest::{self, Limit},
};
use tidegate_tests::rest::{Client, Settings, Site, TOKENS};

use super::SITE;

const ANY: (&str, &str) = ("if-match", "*");

fn guarded() -> Site {
    Site::start(SITE, Settings { tls: true, ..Settings::default() })
}

/// The statuses of a look and of a change.
async fn may(client: &Client) -> (u16, u16) {
    let look = client.get("/v1/nics").await;
    let change =
        client.send("PUT", "/v1/nics/web", ANY, &json!({ "network": "red-1", "address": "10.1.1.10" })).await;
    (look.status.as_u16(), change.status.as_u16())
}

#[tokio::test]
async fn roles_go_by_token_and_by_certificate() {
    let site = guarded();
    let [ops, eye] = TOKENS.map(|token| site.stranger().with_token(token));
    assert_eq!((may(&ops).await, may(&eye).await), ((200, 200), (200, 403)));
    assert_eq!(
        (may(&site.holder("manager")).await, may(&site.holder("viewer")).await),
        ((200, 200), (200, 403))
    );
    // The token that is shown counts, not the certificate.
    assert_eq!(may(&site.holder("manager").with_token(TOKENS[1])).await, (200, 403));
    assert_eq!(may(&site.user()).await, (200, 200), "whoever may open the control socket");
    assert_eq!(site.met(Limit::Forbidden), 3);
}

#[tokio::test]
async fn who_is_not_known_learns_nothing() {
    let site = guarded();
    for nobody in [
        site.stranger(),
        site.stranger().with_token("secret-of-op"),
        site.stranger().with_token(""),
        site.holder("nobody"),
        site.holder("manager").with_token("wrong"),
    ] {
        for path in ["/v1/nics", "/v1/openapi.json", "/nothing"] {
            let said = nobody.get(path).await;
            assert_eq!((said.status.as_u16(), said.problem()), (401, "unknown"), "{path}");
            assert_eq!(said.header("www-authenticate"), "Bearer");
        }
    }
    let basic = site.stranger().ask("GET", "/v1/nics", &[("authorization", "Basic b3BzOng=")], "").await;
    assert_eq!(basic.problem(), "unknown");
    assert_eq!(site.met(Limit::Unknown), 16);
    // Signed by another CA, though of a name that is known: no handshake, and no answer.
    assert!(site.holder("foreign").try_ask("GET", "/v1/nics", &[], "").await.is_err());
    assert!(Client::new(site.address).try_ask("GET", "/v1/nics", &[], "").await.is_err(), "without TLS");
    site.wait_met(Limit::Tls, 2).await;
    assert_eq!(may(&site.stranger().with_token(TOKENS[0])).await, (200, 200));
}

#[tokio::test]
async fn a_token_that_is_added_works_and_one_that_goes_does_not() {
    let site = guarded();
    let (late, ops) = (site.stranger().with_token("late"), site.stranger().with_token(TOKENS[0]));
    assert_eq!(late.get("/v1/nics").await.status, 401);
    fs::write(site.path("tokens"), "what is this").unwrap();
    let before = fs::metadata(site.path("tokens")).unwrap().ino();
    fs::write(site.path("new"), rest::line("late", Role::Read, "late")).unwrap();
    fs::rename(site.path("new"), site.path("tokens")).unwrap();
    assert_ne!(fs::metadata(site.path("tokens")).unwrap().ino(), before);
    while late.get("/v1/nics").await.status != 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ops.get("/v1/nics").await.status, 401);
}

#[tokio::test]
async fn who_did_what_is_written_down() {
    let site = guarded();
    let [ops, eye] = TOKENS.map(|token| site.stranger().with_token(token));
    let nic = json!({ "network": "red-1", "address": "10.1.1.40" });
    ops.send("PUT", "/v1/nics/new?dry_run=true", ("", ""), &nic).await;
    site.holder("manager").send("PUT", "/v1/nics/new", ("", ""), &nic).await;
    ops.get("/v1/nics").await;
    eye.send("DELETE", "/v1/nics/new", ANY, &json!({})).await;
    site.stranger().get("/v1/nics").await;
    site.user().send("PUT", "/v1/nics/new", ("", ""), &nic).await;
    let lines = site.audit();
    let said: Vec<_> = lines
        .iter()
        .map(|line| {
            let [who, from, method, path] =
                ["who", "from", "method", "path"].map(|key| line[key].as_str().unwrap_or("-"));
            format!(
                "{who}|{from}|{method} {path}|{} {} {}",
                line["status"], line["generation"], line["problem"]
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "token ops|127.0.0.1|PUT /v1/nics/new?dry_run=true|200 1 null",
            "certificate manager|127.0.0.1|PUT /v1/nics/new|201 2 null",
            "token eye|127.0.0.1|DELETE /v1/nics/new|403 null \"forbidden\"",
            "-|127.0.0.1|GET /v1/nics|401 null \"unknown\"",
            "root|socket|PUT /v1/nics/new|428 null \"unconditional\"",
        ]
    );
    let text = fs::read_to_string(site.path(rest::AUDIT)).unwrap();
    assert!(TOKENS.iter().all(|token| !text.contains(token)));
    let history = ops.get("/v1/history").await.body;
    assert_eq!(history[1]["who"], "certificate manager");
}
