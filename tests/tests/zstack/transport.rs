//! Chapter 1 of the sheet: synchronous and asynchronous commands, retries, errors.

use tidegate_tests::zstack::send;

use super::*;

#[tokio::test]
async fn synchronous_commands_answer_in_place() {
    let bench = Bench::start(limits()).await;
    for body in ["", "\"\""] {
        let (status, text) = send(bench.at, "/echo", &[], body).await.unwrap();
        assert_eq!((status, text.as_str()), (200, r#"{"success":true,"error":""}"#));
    }
    let (status, text) = send(bench.at, "/type", &[], r#"{"uuid":"u"}"#).await.unwrap();
    let reply: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &reply["isVyos"]), (200, &json!(true)));
}

#[tokio::test]
async fn what_lacks_a_header_or_a_path_is_told_so_in_text() {
    let bench = Bench::start(limits()).await;
    let url = bench.manager.callback_url.clone();
    for (path, headers, status, says) in [
        ("/nothing", vec![], 404, "no plugin registered the path /nothing"),
        ("/init/", vec![], 404, "no plugin registered"),
        ("/init", vec![("taskuuid", "t")], 400, "callbackurl is missing"),
        ("/init", vec![("callbackurl", url.as_str())], 400, "taskuuid is missing"),
        ("/init", vec![("taskuuid", "t"), ("callbackurl", "https://127.0.0.1/")], 400, "http://"),
    ] {
        let (got, text) = send(bench.at, path, &headers, "{}").await.unwrap();
        assert_eq!(got, status, "{path} {headers:?}");
        assert!(text.contains(says), "{text}");
    }
    assert_eq!(bench.manager.callbacks(), 0);
}

#[tokio::test]
async fn malformed_json_is_accepted_and_fails_by_callback() {
    let bench = Bench::start(limits()).await;
    let result = bench.manager.result(bench.at, "/createvip", r#"{"vips":["#).await;
    assert_eq!((&result.body["success"], result.trigger.as_str()), (&json!(false), "/createvip"));
    assert!(result.body["error"].as_str().unwrap().contains("no JSON"));
    let result = bench.manager.result(bench.at, "/createvip", r#"{"vips":7}"#).await;
    assert_eq!(result.body["success"], false);
}

#[tokio::test]
async fn a_result_is_tried_again_until_it_is_taken() {
    let bench = Bench::start(limits()).await;
    for (status, tries) in [(500, 4), (503, 2), (302, 3)] {
        let before = bench.manager.callbacks();
        bench.manager.refuse(status, tries);
        bench.ok("/init", json!({ "uuid": ROUTER })).await;
        assert_eq!(bench.manager.callbacks() - before, tries + 1, "{status}");
    }
}

#[tokio::test]
async fn not_found_ends_the_tries() {
    let bench = Bench::start(limits()).await;
    // Nobody waits for this task: the manager answers 404.
    let headers = [("taskuuid", "unknown"), ("callbackurl", bench.manager.callback_url.as_str())];
    send(bench.at, "/configurentp", &headers, "{}").await.unwrap();
    // A second result says that the first one came before it, if it came.
    while bench.manager.callbacks() == 0 {
        tokio::task::yield_now().await;
    }
    let before = bench.manager.callbacks();
    bench.ok("/init", json!({ "uuid": ROUTER })).await;
    bench.ok("/ping", json!({ "uuid": ROUTER })).await;
    assert_eq!(bench.manager.callbacks(), before + 2, "no second try of the first one");
}

#[tokio::test]
async fn a_ping_waits_for_nobody() {
    let bench = Bench::start(limits()).await;
    bench.ok("/init", json!({ "uuid": ROUTER })).await;
    let closed = bench.site.gate.forget_permits(usize::MAX);
    let stuck = bench.ok("/configurenic", guest_nic());
    let pings = async {
        for _ in 0..3 {
            assert_eq!(bench.manager.ping(bench.at, ROUTER).await, Ok(true));
        }
        assert_eq!(send(bench.at, "/echo", &[], "").await.unwrap().0, 200);
        assert_eq!(bench.agent.objects().len(), 2, "the NIC is not there yet");
        bench.site.gate.add_permits(closed);
    };
    tokio::join!(stuck, pings);
    assert_eq!(bench.agent.objects().len(), 3);
}

#[tokio::test]
async fn what_the_site_refuses_fails_and_changes_nothing() {
    let bench = Bench::start(limits()).await;
    bench.ok("/configurenic", guest_nic()).await;
    // The VNI is outside the pool's range, which only the operator's side knows.
    let mut nic = guest_nic();
    nic["nics"][0]["vni"] = 7.into();
    let failed = bench.manager.call(bench.at, "/configurenic", nic).await.unwrap_err();
    assert!(failed.0.contains("is outside the range 3000-3999"), "{failed:?}");
    let documents = bench.site.all();
    let network = documents.iter().find(|((kind, _), _)| kind.section() == "vpc_networks").unwrap();
    assert_eq!(network.1["vxlan"]["vni"], 3101);
    bench.ok("/configurenic", guest_nic()).await;
}

#[tokio::test]
async fn commands_may_overlap() {
    let bench = Bench::start(limits()).await;
    let rule = |i: u32| {
        json!({ "rules": [{ "uuid": format!("pf{i}"), "vipPortStart": 1000 + i, "vipPortEnd": 1000 + i,
        "privatePortStart": 80, "privatePortEnd": 80, "protocolType": "UDP", "vipIp": "203.0.113.30", "publicMac": PUBLIC,
        "privateIp": "192.0.2.141", "privateMac": GUEST }] })
    };
    bench.ok("/configurenic", guest_nic()).await;
    bench.ok("/createvip", json!({ "vips": [vip("203.0.113.30")] })).await;
    let all = (0..100).map(|i| bench.manager.call(bench.at, "/createportforwarding", rule(i)));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let documents = bench.site.all();
    assert_eq!(documents.keys().filter(|(kind, _)| kind.section() == "port_forwards").count(), 100);
}
