//! What an agent tells of the gateway: metrics with the stock names, and direct paths.

use tidegate_control::show::Table;
use tidegate_tests::{
    gateway::{Gateway, HOST1},
    zstack::send,
};

use super::*;

const NETWORK: &str = "r1.net-00005e005302";

/// The page of metrics, as Prometheus gets it.
async fn page(bench: &Bench) -> String {
    let (status, text) = send(bench.at, "/metrics", &[], "").await.unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

/// What the gateway shows of a table is what the agent is told of it from now on.
fn show(bench: &Bench, gw: &mut Gateway, table: Table) {
    let rows = gw.show(table, &[], None).unwrap();
    bench.site.shown.lock().unwrap().insert(table.name(), rows.json);
}

#[tokio::test]
async fn a_vip_has_counters_from_when_it_was_pushed_on_and_they_count_what_passes() {
    let bench = Bench::start(limits()).await;
    bench.ok("/configurenic", guest_nic()).await;
    let eip = json!({ "vipUuid": "33333333333333333333333333333320" });
    let mut environment = environment();
    environment.vips[1]["vipUuid"] = eip["vipUuid"].clone();
    environment.vips[0]["vipUuid"] = "33333333333333333333333333333310".into();
    bench.manager.reconnect(bench.at, &environment).await.unwrap();
    let mut gw = Gateway::start(&bench.site.text(), 1);
    let (vm, up) = (gw.vm(NETWORK, "192.0.2.140", HOST1), gw.vm("public", "203.0.113.1", HOST1));
    gw.from(&vm, "udp 192.0.2.140:4000 > 198.51.100.9:53 len=72")
        .to(&up, "udp 203.0.113.20:4000 > 198.51.100.9:53 len=72");
    for _ in 0..2 {
        gw.from(&up, "udp 198.51.100.9:53 > 203.0.113.20:4000 len=172")
            .to(&vm, "udp 198.51.100.9:53 > 192.0.2.140:4000 len=172");
    }
    gw.take_moved();
    show(&bench, &mut gw, Table::Vips);
    let page = page(&bench).await;
    for line in [
        "# TYPE zstack_vip_in_bytes gauge",
        r#"zstack_vip_in_bytes{VipUUID="33333333333333333333333333333320"} 400"#,
        r#"zstack_vip_in_packages{VipUUID="33333333333333333333333333333320"} 2"#,
        r#"zstack_vip_out_bytes{VipUUID="33333333333333333333333333333320"} 100"#,
        r#"zstack_vip_out_packages{VipUUID="33333333333333333333333333333320"} 1"#,
        // Nobody has used the router's own address yet.
        r#"zstack_vip_in_bytes{VipUUID="33333333333333333333333333333310"} 0"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(page.contains(r#"vpcMemoryUsage{memory="total"}"#), "{page}");
    // Whoever asks at once again gets the same page; the gateway is not asked.
    bench.site.shown.lock().unwrap().clear();
    assert_eq!(self::page(&bench).await, page);
}

#[tokio::test]
async fn the_manager_switches_direct_paths_and_is_told_of_them() {
    let bench = Bench::start(limits()).await;
    bench.ok("/configurenic", guest_nic()).await;
    let mut second = guest_nic();
    second["nics"][0]["mac"] = "00:00:5e:00:53:03".into();
    second["nics"][0]["vni"] = 3102.into();
    for key in ["ip", "gateway"] {
        second["nics"][0][key] = "192.0.2.193".into();
    }
    bench.ok("/configurenic", second).await;
    assert_eq!(bench.ok("/zsn/status", json!({})).await, json!({ "rawStatus": "{}" }));
    assert_eq!(bench.ok("/zsn/connections", json!({})).await, json!({ "rawConnections": "{}" }));
    let allowed = |gw: &Gateway| gw.allows_direct(NETWORK, [192, 0, 2, 200].into());
    let mut gw = Gateway::start(&bench.site.text(), 1);
    assert!(!allowed(&gw), "off from the start");
    for on in [true, false, true] {
        let reply = bench.ok("/zsn/dr", json!({ "enabled": on })).await;
        assert_eq!(reply, json!({ "enabled": on.to_string() }), "a string");
        gw.reload(&bench.site.text()).ignore();
        assert_eq!(allowed(&gw), on);
        let status = bench.ok("/zsn/status", json!({})).await;
        let expected = if on { r#"{"DistributedRouting":"true"}"# } else { "{}" };
        assert_eq!(status, json!({ "rawStatus": expected }));
    }
    gw.take_moved();
}
