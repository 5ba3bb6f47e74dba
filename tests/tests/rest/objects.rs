//! Objects, one by one and several at once.

use serde_json::{Value, json};

use super::served;

const ANY: (&str, &str) = ("if-match", "*");
const NONE: (&str, &str) = ("", "");

#[tokio::test]
async fn an_object_from_its_first_word_to_its_last() {
    let (_site, client) = served();
    let app = json!({ "network": "red-1", "address": "10.1.1.11" });
    let made = client.send("PUT", "/v1/nics/app", NONE, &app).await;
    assert_eq!((made.status.as_u16(), made.header("location")), (201, "/v1/nics/app"), "{made:?}");
    assert_eq!((&made.body["generation"], &made.body["live"]), (&json!(2), &json!(true)));
    let read = client.get("/v1/nics/app").await;
    assert_eq!(read.body, json!({ "id": "app", "network": "red-1", "address": "10.1.1.11" }));
    let etag = read.header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", made.body["etag"].as_str().unwrap()));
    assert_eq!(client.ask("GET", "/v1/nics/app", &[("if-none-match", &etag)], "").await.status, 304);

    let patch = json!({ "address": "10.1.1.12" });
    let patched = client.send("PATCH", "/v1/nics/app", ("if-match", &etag), &patch).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    assert_eq!(patched.body["changes"][0]["after"]["address"], "10.1.1.12");
    let late = client.send("PATCH", "/v1/nics/app", ("if-match", &etag), &patch).await;
    assert_eq!((late.status.as_u16(), late.problem()), (412, "changed"), "{late:?}");
    let blind = client.send("PUT", "/v1/nics/app", NONE, &app).await;
    assert_eq!((blind.status.as_u16(), blind.problem()), (428, "unconditional"));
    let is_new = client.send("PUT", "/v1/nics/app", ("if-none-match", "*"), &app).await;
    assert_eq!((is_new.status.as_u16(), is_new.problem()), (412, "changed"));
    let back = client.send("PUT", "/v1/nics/app", ANY, &app).await;
    assert_eq!(
        (back.status.as_u16(), &back.body["changes"][0]["before"]["address"]),
        (200, &json!("10.1.1.12"))
    );
    let same = client.send("PUT", "/v1/nics/app", ANY, &app).await;
    assert_eq!(
        (&same.body["generation"], &same.body["etag"]),
        (&back.body["generation"], &back.body["etag"])
    );

    let gone = client.ask("DELETE", "/v1/nics/app", &[ANY], "").await;
    assert_eq!((gone.status.as_u16(), &gone.body["etag"]), (200, &Value::Null));
    let (get, delete) =
        (client.get("/v1/nics/app").await, client.ask("DELETE", "/v1/nics/app", &[ANY], "").await);
    assert_eq!((get.problem(), delete.problem()), ("missing", "missing"));
}

#[tokio::test]
async fn what_waits_says_for_what() {
    let (_site, client) = served();
    let eip = json!({ "vip": "vip", "nic": "later" });
    let made = client.send("PUT", "/v1/eips/eip", NONE, &eip).await;
    assert_eq!(made.body["warnings"], json!(["eips/eip is pending: nic: there is no nics/later"]));
    let status = client.get("/v1/status/eips/eip").await;
    assert_eq!(
        (&status.body["state"], &status.body["reason"]),
        (&json!("pending"), &json!("nic: there is no nics/later"))
    );
    let pending = client.get("/v1/status?state=pending").await;
    assert_eq!(pending.body["items"].as_array().map(Vec::len), Some(1), "{pending:?}");
    let nic = json!({ "network": "red-1", "address": "10.1.1.20" });
    client.send("PUT", "/v1/nics/later", NONE, &nic).await;
    assert_eq!(client.get("/v1/status/eips/eip").await.body["state"], "active");
    let strict = json!({ "vip": "vip", "nic": "nobody" });
    let refused = client.send("PUT", "/v1/eips/eip?strict=true", ANY, &strict).await;
    assert_eq!(refused.problem(), "invalid", "{refused:?}");
}

#[tokio::test]
async fn lists_come_in_pages_and_by_what_objects_say() {
    let (_site, client) = served();
    let nics = (0..25).map(|n| {
        let network = if n % 5 == 0 { "blue-1" } else { "red-1" };
        json!({ "id": format!("n-{n:02}"), "network": network, "address": format!("10.1.1.{}", 100 + n) })
    });
    let file = json!({ "nics": nics.collect::<Vec<_>>() });
    assert_eq!(client.send("POST", "/v1/apply?merge=true", NONE, &file).await.status, 200);
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let (mut all, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = client.get(&format!("/v1/nics?limit=10{after}")).await.body;
        all.extend(ids(&page));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!((pages, all.len(), all.is_sorted()), (3, 26, true));
    let blue = client.get("/v1/nics?network=blue-1").await.body;
    assert_eq!(ids(&blue), ["n-00", "n-05", "n-10", "n-15", "n-20"]);
    assert_eq!(blue["items"][1]["body"]["address"], "10.1.1.105");
    let of_all = client.get("/v1/status?limit=3&after=nics/n-23").await.body;
    assert_eq!(
        (ids(&of_all), &of_all["next"]),
        (vec!["n-24".into(), "web".into(), "vip".into()], &Value::Null)
    );
    for wrong in ["limit=0", "limit=10001", "limit=x", "state=lost", "colour=red", "vlan=1"] {
        assert_eq!(client.get(&format!("/v1/nics?{wrong}")).await.problem(), "malformed", "{wrong}");
    }
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing_and_its_generations_stay() {
    let (_site, client) = served();
    let steps = json!({ "steps": [
        { "do": "put", "kind": "nics", "body": { "id": "a", "network": "red-1", "address": "10.1.1.30" }, "etag": "" },
        { "do": "patch", "kind": "nics", "id": "web", "patch": { "address": "10.1.1.31" } },
        { "do": "delete", "kind": "vips", "id": "vip" },
    ], "expect": 1 });
    let dry = client.send("POST", "/v1/transactions?dry_run=true", NONE, &steps).await;
    assert_eq!((dry.body["changes"].as_array().map(Vec::len), &dry.body["generation"]), (Some(3), &json!(1)));
    let done = client.send("POST", "/v1/transactions?confirm_within_s=60", NONE, &steps).await;
    assert_eq!(
        (&done.body["generation"], &done.body["confirm_within_s"]),
        (&json!(2), &json!(60)),
        "{done:?}"
    );
    let stale = client.send("POST", "/v1/transactions", NONE, &steps).await;
    assert_eq!((stale.status.as_u16(), stale.problem()), (409, "stale"));
    let other = json!({ "steps": [{ "do": "delete", "kind": "nics", "id": "a" }] });
    assert_eq!(client.send("POST", "/v1/transactions", NONE, &other).await.problem(), "unconfirmed");
    assert_eq!(client.ask("POST", "/v1/confirm", &[], "").await.body, json!({ "generation": 2 }));
    assert_eq!(client.ask("POST", "/v1/confirm", &[], "").await.problem(), "missing");
    let history = client.get("/v1/history").await.body;
    assert_eq!(
        (&history[1]["who"], &history[1]["added"], &history[1]["removed"]),
        (&json!("anonymous"), &json!(1), &json!(1))
    );
    assert_eq!((&history[1]["source"], &history[1]["from"]), (&json!("api"), &json!("127.0.0.1")));
    assert_eq!(client.get("/v1/history/2").await.body.as_array().map(Vec::len), Some(3));
    let back = client.ask("POST", "/v1/rollback/1", &[], "").await;
    assert_eq!((back.status.as_u16(), client.get("/v1/vips/vip").await.status.as_u16()), (200, 200));
    for missing in ["/v1/rollback/99", "/v1/rollback/x"] {
        assert_eq!(client.ask("POST", missing, &[], "").await.problem(), "missing", "{missing}");
    }
}

#[tokio::test]
async fn a_refusal_names_object_field_and_way_out() {
    let (site, client) = served();
    let wrong = json!({ "network": ["red-1"], "address": "10.1.1", "colour": "red" });
    let refused = client.send("PUT", "/v1/nics/bad", NONE, &wrong).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (422, "invalid"), "{refused:?}");
    let problems = refused.body["problems"].as_array().unwrap();
    let paths: Vec<_> = problems.iter().filter_map(|problem| problem["path"].as_str()).collect();
    // Keys, types and values at once.
    let expected = ["nics/bad.colour", "nics/bad.network", "nics/bad.address"];
    assert!(paths.len() == 3 && expected.iter().all(|path| paths.contains(path)), "{refused:?}");
    assert!(problems.iter().all(|problem| !problem["way_out"].as_str().unwrap().is_empty()));
    let address =
        client.send("PUT", "/v1/nics/bad", NONE, &json!({ "network": "red-1", "address": "10.1.1" })).await;
    let detail = address.body["detail"].as_str().unwrap();
    assert!(detail.starts_with("nics/bad.address: 10.1.1 is no"), "{detail}");
    let taken = client
        .send("PUT", "/v1/vips/two", NONE, &json!({ "public_network": "public", "address": "203.0.113.9" }))
        .await;
    assert!(taken.body["detail"].as_str().unwrap().contains("vips/vip"), "{taken:?}");

    let json = ("content-type", "application/json");
    for (method, path, headers, body, status, problem) in [
        ("GET", "/v1/nothing", vec![], "", 404, "missing"),
        ("GET", "/other", vec![], "", 404, "missing"),
        ("GET", "/v1/nics/%ff", vec![], "", 404, "missing"),
        ("POST", "/v1/nics", vec![json], "{}", 405, "method"),
        ("PUT", "/v1/nics/-", vec![json], "{}", 400, "malformed"),
        ("PUT", "/v1/nics/x", vec![json], "{\"network\":", 400, "malformed"),
        ("PUT", "/v1/nics/x", vec![json], "[]", 422, "invalid"),
        ("PUT", "/v1/nics/x", vec![json], "{\"id\": \"y\"}", 422, "invalid"),
        ("PUT", "/v1/nics/x", vec![], "{}", 415, "media-type"),
        ("PUT", "/v1/nics/x?drrun=true", vec![json], "{}", 400, "malformed"),
        ("PATCH", "/v1/nics/web", vec![json, ANY], "[1]", 422, "invalid"),
        ("PATCH", "/v1/nics/web", vec![json, ANY], "{\"id\": \"y\"}", 422, "invalid"),
        ("PATCH", "/v1/nics/web", vec![json, ("if-match", "x")], "{}", 400, "malformed"),
        ("POST", "/v1/transactions", vec![json], "{\"steps\": [{\"do\": \"dance\"}]}", 400, "malformed"),
        ("POST", "/v1/transactions", vec![json], &"[".repeat(1000), 400, "malformed"),
        ("POST", "/v1/apply", vec![], "a: [", 422, "invalid"),
    ] {
        let said = client.ask(method, path, &headers, body).await;
        assert_eq!(
            (said.status.as_u16(), said.problem()),
            (status, problem),
            "{method} {path} {body:.40}: {said:?}"
        );
        assert!(!said.body["detail"].as_str().unwrap().is_empty());
    }
    use tidegate_control::rest::Backend as _;
    assert_eq!(site.desk.basis().generation, 1, "nothing has changed");
}
