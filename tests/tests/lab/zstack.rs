//! A ZStack manager brings a VPC router up from nothing through the router-agent API, while packets run; then the gateway crashes.

use std::{future::Future, net::SocketAddr};

use serde_json::{Value, json};
use tidegate_tests::{
    lab::{
        Internet, Site, internet,
        probe::ping,
        site::{OWN, SHARED},
        stream::Datagrams,
        wait_for,
    },
    zstack::{Environment, Manager, send},
};

const ROUTER: &str = "11111111111111111111111111111111";
const PUBLIC: &str = "00:00:5e:00:53:01";
/// The VIP of the EIP, as the manager calls it.
const OWN_UUID: &str = "33333333333333333333333333333302";

/// Where the agent listens, in the gateway's namespace.
pub(crate) fn agent() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7272))
}

/// The site, with a router agent in place of all that vpc-1 has.
fn site() -> Option<(Internet, Site)> {
    let site = super::site_with(|config| {
        config["vpc_networks"].as_array_mut().unwrap().retain(|network| network["vpc"] != "vpc-1");
        config["routes"] = json!([]);
        for (at, mac) in ["02:00:00:00:91:00", "02:00:00:00:91:01"].into_iter().enumerate() {
            config["gateway"]["ports"][at]["mac"] = json!(mac);
        }
        config["gateway"]["zstack"] = json!({ "agents": [{ "id": "r1", "vpc": "vpc-1", "listen": agent().to_string(),
            "vxlan_pool": "vxlan-pool", "public_networks": ["public"], "quiet_s": 2 }] });
    })?;
    Some((Internet::behind(&site).unwrap(), site))
}

/// Does something with a manager that is where the agent is.
pub(crate) fn managed<F: Future<Output = T>, T: Send>(
    site: &Site,
    work: impl FnOnce(Manager) -> F + Send,
) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { work(Manager::start().await).await })
    };
    site.gateway.netns().enter(run).unwrap()
}

fn private(net: u8) -> String {
    format!("00:00:5e:00:53:{net:02x}")
}

fn nics() -> Value {
    let guest = |net: u8| {
        let ip = format!("192.168.{net}.1");
        json!({ "mac": private(net), "ip": ip, "gateway": ip, "netmask": "255.255.255.0", "category": "Private",
                "l2type": "VxlanNetwork", "vni": 202 + u32::from(net), "mtu": 1450, "physicalInterface": "eth1" })
    };
    let public = json!({ "mac": PUBLIC, "ip": SHARED, "netmask": "255.255.255.0", "gateway": "203.0.113.1",
        "category": "Public", "l2type": "L2NoVlanNetwork", "isDefaultRoute": true, "physicalInterface": "eth0" });
    json!({ "nics": [guest(20), guest(21), guest(22), public] })
}

/// What the article has: SNAT for all, an address of app alone, a forward to web.
fn environment() -> Environment {
    let snat = |net: u8| {
        json!({ "publicNicMac": PUBLIC, "publicIp": SHARED, "privateNicMac": private(net), "state": true,
                "privateNicIp": format!("192.168.{net}.1"), "privateGatewayIp": format!("192.168.{net}.1"),
                "snatNetmask": "255.255.255.0" })
    };
    let vip = |ip: &str| {
        json!({ "ip": ip, "netmask": "255.255.255.0", "gateway": "203.0.113.1", "ownerEthernetMac": PUBLIC,
                "vipUuid": if ip == OWN { OWN_UUID } else { "33333333333333333333333333333301" }, "isSystem": ip == SHARED })
    };
    Environment {
        uuid: ROUTER.into(),
        snats: [20, 21, 22].map(snat).into(),
        vips: [SHARED, OWN].map(vip).into(),
        port_forwards: vec![
            json!({ "uuid": "44444444444444444444444444444444", "vipPortStart": 2222, "vipPortEnd": 2222,
            "privatePortStart": 23, "privatePortEnd": 23, "protocolType": "TCP", "vipIp": SHARED, "publicMac": PUBLIC,
            "privateIp": "192.168.20.154", "privateMac": private(20) }),
        ],
        eips: vec![
            json!({ "vipIp": OWN, "guestIp": "192.168.21.10", "publicMac": PUBLIC, "privateMac": private(21) }),
        ],
        routes: vec![json!({ "destination": "192.168.99.0/24", "target": "", "distance": 1 })],
        ..Environment::default()
    }
}

#[test]
fn a_manager_brings_a_router_up_and_a_crash_cuts_nothing_and_leaves_nothing_over() {
    let Some((internet, mut site)) = site() else { return };
    let answers = |site: &Site| {
        ping(site.web.netns(), site.app.address(), "-c 1 -W 1").unwrap().all_answered()
            && ping(site.web.netns(), internet::SERVER, "-c 1 -W 1").unwrap().all_answered()
    };
    // Ping is answered for a VIP that nobody uses, too.
    let own_answers = |site: &Site| {
        let stream = Datagrams::start(&internet.server, site.app.netns(), OWN, 200).unwrap();
        let arrived = stream.until_received(5).is_ok();
        stream.stop().unwrap();
        arrived
    };
    assert!(!answers(&site), "there is nothing yet");
    managed(&site, async |manager| {
        assert_eq!(manager.ping(agent(), ROUTER).await, Ok(false));
        manager.call(agent(), "/configurenic", nics()).await.unwrap();
        manager.reconnect(agent(), &environment()).await.unwrap();
        assert_eq!(manager.ping(agent(), ROUTER).await, Ok(true));
        let routes = manager.call(agent(), "/getroutes", json!({})).await.unwrap();
        assert!(routes["rawRoutes"].as_str().unwrap().contains("S>* 192.168.99.0/24 [1/0]"), "{routes}");
    });
    wait_for("the router's networks", || answers(&site).then_some(())).unwrap();
    assert!(own_answers(&site));
    managed(&site, async |manager| {
        let (status, page) = send(agent(), "/metrics", &[], "").await.unwrap();
        assert_eq!(status, 200, "{page}");
        let name = format!("zstack_vip_in_packages{{VipUUID=\"{OWN_UUID}\"}} ");
        let counted =
            page.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{page}"));
        assert!(counted.parse::<u64>().unwrap() >= 5, "what just arrived: {counted}");
        assert!(page.contains("vpcMemoryUsage{memory=\"total\"}"), "{page}");
        // This gateway does not teach hosts.
        let refused = manager.call(agent(), "/zsn/dr", json!({ "enabled": true })).await.unwrap_err();
        assert!(refused.0.contains("gateway.zsnp"), "{refused:?}");
        assert_eq!(
            manager.call(agent(), "/zsn/dr", json!({ "enabled": false })).await.unwrap()["enabled"],
            "false"
        );
        let status = manager.call(agent(), "/zsn/status", json!({})).await.unwrap();
        assert_eq!(status, json!({ "rawStatus": "{}" }));
    });
    assert!(site.gateway.tidegate("history").unwrap().contains("zstack agent r1"));

    // Neither the host's file nor an earlier generation takes away what a manager pushed.
    site.gateway.reload(&std::fs::read_to_string(site.gateway.dir().join("gateway.yaml")).unwrap()).unwrap();
    site.gateway.tidegate("rollback 1").unwrap();
    assert!(answers(&site) && own_answers(&site));

    site.gateway.kill().unwrap();
    site.gateway.start_again(&[]).unwrap();
    super::crash::reconnect(&site.gateway, &site.underlay, &site.upstream).unwrap();
    wait_for("what was pushed before the crash", || answers(&site).then_some(())).unwrap();
    assert!(own_answers(&site));
    let listed = site.gateway.tidegate("agents --provisional").unwrap();
    assert!(listed.contains(OWN) && listed.contains("provisional"), "{listed}");
    // Meanwhile the manager lost its only EIP; it says nothing about lists that are empty.
    managed(&site, async |manager| {
        assert_eq!(manager.ping(agent(), ROUTER).await, Ok(false), "it finds out by the uuid");
        let now = Environment { eips: Vec::new(), ..environment() };
        manager.reconnect(agent(), &now).await.unwrap();
    });
    wait_for("the end of what was not pushed again", || {
        site.gateway.tidegate("get eips").unwrap().lines().nth(1).is_none().then_some(())
    })
    .unwrap();
    assert!(answers(&site) && !own_answers(&site));
    let listed = site.gateway.tidegate("agents --provisional").unwrap();
    assert!(!listed.contains("provisional"), "{listed}");
}
