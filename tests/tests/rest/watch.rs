//! Who watches hears of each generation, and nobody's events pile up.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_control::{config::ApiLimits, rest::Limit};
use tidegate_tests::rest::{Client, Settings, Site, Stream};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};

use super::{SITE, served};

/// Somebody who watches.
struct Watcher(Lines<BufReader<Box<dyn Stream>>>);

/// Name, id and data of an event.
type Event = (String, String, Value);

impl Watcher {
    async fn start(client: &Client, path: &str, header: &str) -> Watcher {
        let mut stream = client.connect().await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Watcher(BufReader::new(stream).lines())
    }

    async fn next(&mut self) -> Event {
        let (mut name, mut id) = (String::new(), String::new());
        loop {
            let line = self.0.next_line().await.unwrap().expect("another line");
            if let Some(text) = line.strip_prefix("event: ") {
                name = text.to_owned();
            } else if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                return (name, id, serde_json::from_str(text).unwrap());
            }
        }
    }
}

async fn put(client: &Client, id: &str, last: u8) -> Value {
    let nic = json!({ "network": "red-1", "address": format!("10.1.1.{last}") });
    client.send("PUT", &format!("/v1/nics/{id}"), ("", ""), &nic).await.body
}

#[tokio::test]
async fn a_watcher_hears_of_each_generation_and_goes_on_where_it_was() {
    let (site, client) = served();
    let mut watcher = Watcher::start(&client, "/v1/watch", "").await;
    assert_eq!(watcher.next().await, ("present".into(), "1".into(), json!({ "generation": 1 })));
    assert_eq!(site.counts().watchers, 1);
    let made = put(&client, "a", 50).await;
    let (name, id, told) = watcher.next().await;
    assert_eq!((name.as_str(), id.as_str(), &told["who"]), ("generation", "2", &json!("anonymous")));
    assert_eq!(told["objects"], json!([{ "kind": "nics", "id": "a", "etag": made["etag"] }]));
    drop(watcher);
    put(&client, "b", 51).await;
    client.ask("DELETE", "/v1/nics/a", &[("if-match", "*")], "").await;
    for (path, header) in [("/v1/watch", "last-event-id: 2\r\n"), ("/v1/watch?after=2", "")] {
        let mut again = Watcher::start(&client, path, header).await;
        let (first, second) = (again.next().await, again.next().await);
        assert_eq!((first.1.as_str(), &first.2["objects"][0]["id"]), ("3", &json!("b")));
        assert_eq!(
            (second.1.as_str(), &second.2["objects"]),
            ("4", &json!([{ "kind": "nics", "id": "a", "etag": null }]))
        );
    }
    while site.counts().watchers > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_has_been_away_for_too_long_begins_anew() {
    let (_site, client) = served();
    for n in 0..70 {
        put(&client, &format!("n-{n}"), 100 + n).await;
    }
    for at in ["1", "99"] {
        let mut watcher = Watcher::start(&client, "/v1/watch", &format!("last-event-id: {at}\r\n")).await;
        assert_eq!(watcher.next().await, ("resync".into(), "71".into(), json!({ "generation": 71 })));
    }
    assert_eq!(client.ask("GET", "/v1/watch", &[("last-event-id", "x")], "").await.problem(), "malformed");
}

#[tokio::test]
async fn no_more_watch_than_there_may_be() {
    let limits = ApiLimits { watchers: 2, ..Settings::default().limits };
    let site = Site::start(SITE, Settings { limits, ..Settings::default() });
    let client = site.stranger();
    let mut two =
        [Watcher::start(&client, "/v1/watch", "").await, Watcher::start(&client, "/v1/watch", "").await];
    for watcher in &mut two {
        watcher.next().await;
    }
    let third = client.get("/v1/watch").await;
    assert_eq!(
        (third.status.as_u16(), third.problem(), site.met(Limit::Watchers)),
        (503, "too-many-watch", 1)
    );
}

#[tokio::test]
async fn a_watcher_who_does_not_read_is_cut_off_and_nobody_waits_for_them() {
    let limits = ApiLimits { timeout: Duration::from_millis(300), ..Settings::default().limits };
    let site = Site::start(SITE, Settings { limits, ..Settings::default() });
    let client = site.stranger();
    let mut reader = Watcher::start(&client, "/v1/watch", "").await;
    assert_eq!(reader.next().await.0, "present");
    let _silent = Watcher::start(&client, "/v1/watch", "").await;
    for round in 0.. {
        if site.met(Limit::Unread) > 0 {
            break;
        }
        // An event names a thousand objects.
        let router = |n| json!({ "id": format!("r-{n}"), "account": format!("of round {round}") });
        let file = json!({ "vpc_routers": (0..1000).map(router).collect::<Vec<_>>() });
        let said = client.send("POST", "/v1/apply?merge=true", ("", ""), &file).await;
        assert_eq!(said.status, 200, "{said:?}");
        let (name, _, told) = reader.next().await;
        assert_eq!((name.as_str(), told["objects"].as_array().map(Vec::len)), ("generation", Some(1000)));
    }
    while site.counts().watchers > 1 {
        tokio::task::yield_now().await;
    }
}
