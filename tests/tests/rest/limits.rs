//! Clients that are slow, large or many: they are turned away and counted, and others are served.

use std::time::Duration;

use serde_json::json;
use tidegate_control::{config::ApiLimits, rest::Limit};
use tidegate_tests::rest::{Client, Settings, Site, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::SITE;

fn with(limits: impl FnOnce(&mut ApiLimits)) -> Site {
    let mut settings = Settings::default();
    limits(&mut settings.limits);
    Site::start(SITE, settings)
}

/// Reads until the other end closes.
async fn read_all(mut stream: Box<dyn Stream>) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.ok();
    String::from_utf8_lossy(&text).into_owned()
}

/// A connection on which something was said.
async fn begun(client: &Client, text: &str) -> Box<dyn Stream> {
    let mut stream = client.connect().await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn slow_clients_are_cut_off_while_a_good_one_is_served() {
    let site = with(|limits| limits.timeout = Duration::from_millis(300));
    let client = site.stranger();
    let mut slow = Vec::new();
    for n in 0..200 {
        let text = match n % 4 {
            0 => "",
            1 => "GET /v1/nics HTTP/1.1\r\nhost: a\r\nx: ",
            2 => "GET /v1/status HTTP/1.1\r\nhost: a\r\n\r\n",
            _ => {
                "PUT /v1/nics/x HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
            }
        };
        slow.push((n, begun(&client, text).await));
    }
    let mut served = 0;
    while site.met(Limit::Idle) < 150 || site.met(Limit::Late) < 50 {
        assert_eq!(client.get("/v1/nics/web").await.status, 200);
        served += 1;
    }
    assert!(served > 1);
    for (n, stream) in slow {
        let said = read_all(stream).await;
        match n % 4 {
            2 => assert!(said.starts_with("HTTP/1.1 200 "), "{said}"),
            3 => assert!(said.starts_with("HTTP/1.1 408 "), "{said}"),
            _ => assert!(!said.contains(" 200 "), "{said}"),
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let site = with(|limits| limits.body = 4096);
    let client = site.stranger();
    let head = "POST /v1/transactions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let large = begun(&client, &format!("{head}content-length: 104857600\r\n\r\n")).await;
    assert!(read_all(large).await.starts_with("HTTP/1.1 413 "));
    let mut chunked = begun(&client, &format!("{head}transfer-encoding: chunked\r\n\r\n")).await;
    let chunk = [b"400\r\n".as_slice(), &[b' '; 1024], b"\r\n"].concat();
    for _ in 0..100 {
        if chunked.write_all(&chunk).await.is_err() {
            break;
        }
    }
    site.wait_met(Limit::Body, 2).await;
    let fits = format!("{{\"steps\": []{}}}", " ".repeat(4096 - 13));
    let json = [("content-type", "application/json")];
    assert_eq!(
        client.ask("POST", "/v1/transactions", &json, &fits).await.status,
        200,
        "as large as it may be"
    );
    assert_eq!(client.ask("POST", "/v1/transactions", &json, &(fits + " ")).await.problem(), "too-large");
    assert_eq!(site.met(Limit::Body), 3);
}

#[tokio::test]
async fn more_connections_than_there_may_be_are_closed_at_once() {
    let site = with(|limits| (limits.connections, limits.connections_per_client) = (100, 20));
    let client = site.stranger();
    let mut kept = Vec::new();
    for _ in 0..20 {
        kept.push(begun(&client, "").await);
    }
    for _ in 0..2000 {
        drop(client.connect().await);
    }
    site.wait_met(Limit::ConnectionsPerClient, 2000).await;
    assert_eq!(site.counts().connections, 20);
    assert_eq!(site.user().get("/v1/nics/web").await.status, 200, "the control socket has places of its own");
    kept.truncate(10);
    while client.try_ask("GET", "/v1/nics/web", &[], "").await.is_err() {
        tokio::task::yield_now().await;
    }
    let all = with(|limits| (limits.connections, limits.connections_per_client) = (3, 3));
    let _held =
        [all.stranger().connect().await, all.stranger().connect().await, all.stranger().connect().await];
    assert!(all.stranger().try_ask("GET", "/v1/nics", &[], "").await.is_err());
    all.wait_met(Limit::Connections, 1).await;
}

#[tokio::test]
async fn more_requests_per_second_than_there_may_be_are_refused() {
    let site = with(|limits| limits.requests_per_second = 10);
    let mut stream = begun(&site.stranger(), "").await;
    let request = "GET /v1/nics/web HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(request.repeat(30).as_bytes()).await.unwrap();
    let said = read_all(stream).await;
    let (done, refused) = (said.matches("HTTP/1.1 200 ").count(), said.matches("HTTP/1.1 429 ").count());
    assert!((9..20).contains(&done) && refused == 1, "{done} {refused}: who is refused is closed");
    assert!(said.contains("retry-after: 1") && said.contains("urn:tidegate:problem:too-many"), "{said}");
    assert!(site.met(Limit::Rate) >= 1);
    assert_eq!(site.user().get("/v1/nics/web").await.status, 200, "the control socket has no such limit");
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    let site = with(|limits| limits.timeout = Duration::from_millis(300));
    let client = site.stranger();
    let router = |n| json!({ "id": format!("r-{n}"), "account": "x".repeat(60) });
    let file = json!({ "vpc_routers": (0..3000).map(router).collect::<Vec<_>>() });
    assert_eq!(client.send("POST", "/v1/apply?merge=true", ("", ""), &file).await.status, 200);
    let request = "GET /v1/vpc_routers?limit=10000 HTTP/1.1\r\nhost: a\r\n\r\n".repeat(20);
    let _unread = begun(&client, &request).await;
    while site.met(Limit::Unread) < 1 {
        assert_eq!(client.get("/v1/nics/web").await.status, 200);
    }
}
