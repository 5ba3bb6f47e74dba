//! The [environment](super::environment) as a ZStack manager says it.

use serde_json::{Value, json};

use super::environment::NICS;
use crate::{
    lab::site::{OWN, SHARED},
    zstack::{Environment, Failed, Manager},
};

const PUBLIC: &str = "00:00:5e:00:53:01";

/// Router agents in the gateway's namespace, and the VPC router of each.
pub const AGENTS: [(&str, &str, &str); 2] =
    [("r1", "vpc-1", "127.0.0.1:7272"), ("r2", "vpc-2", "127.0.0.1:7273")];

/// Has the gateway of a configuration take these agents for its routers.
pub fn allow(config: &mut Value) {
    let agent = |(id, vpc, listen)| json!({ "id": id, "vpc": vpc, "listen": listen, "vxlan_pool": "vxlan-pool", "public_networks": ["public"] });
    config["gateway"]["zstack"] = json!({ "agents": AGENTS.map(agent) });
}

/// Says everything, in the order of a manager that makes two routers and their services.
///
/// # Errors
/// What an agent refused.
///
/// # Panics
/// When it does not speak as documented.
pub async fn bring_up(manager: &Manager) -> Result<(), Failed> {
    let [one, two] = AGENTS.map(|(.., listen)| listen.parse().expect("an address"));
    let public = json!({ "mac": PUBLIC, "ip": SHARED, "netmask": "255.255.255.0", "gateway": "203.0.113.1",
        "category": "Public", "l2type": "L2NoVlanNetwork", "isDefaultRoute": true, "physicalInterface": "eth0" });
    let nics = [private(20, 222), private(21, 223), private(22, 224), public];
    manager.call(one, "/configurenic", json!({ "nics": nics })).await?;
    manager.reconnect(one, &of_vpc_1()).await?;
    manager
        .call(one, "/setvipqos", json!({ "vipQosSettings": [limit(0, 40, 40), limit(5201, 10, 0)] }))
        .await?;
    manager.call(two, "/configurenic", json!({ "nics": [private(20, 300), private(21, 301)] })).await?;
    manager.reconnect(two, &Environment { uuid: "2".repeat(32), ..Environment::default() }).await
}

fn mac(net: u8) -> String {
    format!("00:00:5e:00:53:{net:02x}")
}

fn private(net: u8, vni: u32) -> Value {
    let ip = format!("192.168.{net}.1");
    json!({ "mac": mac(net), "ip": ip, "gateway": ip, "netmask": "255.255.255.0", "category": "Private",
            "l2type": "VxlanNetwork", "vni": vni, "mtu": 1450, "physicalInterface": "eth1" })
}

fn limit(port: u16, inbound_mbit: u64, outbound_mbit: u64) -> Value {
    json!({ "vip": SHARED, "publicNic": PUBLIC, "vipUuid": "v", "port": port, "type": "", "hasVipQos": false,
            "update": false, "inboundBandwidth": inbound_mbit * 1_000_000, "outboundBandwidth": outbound_mbit * 1_000_000 })
}

fn of_vpc_1() -> Environment {
    let snat = |net: u8| {
        json!({ "publicNicMac": PUBLIC, "publicIp": SHARED, "privateNicMac": mac(net), "state": true,
                "privateNicIp": format!("192.168.{net}.1"), "privateGatewayIp": format!("192.168.{net}.1"),
                "snatNetmask": "255.255.255.0" })
    };
    let vip = |ip: &str| {
        json!({ "ip": ip, "netmask": "255.255.255.0", "gateway": "203.0.113.1", "ownerEthernetMac": PUBLIC,
                "vipUuid": "3".repeat(32), "isSystem": ip == SHARED })
    };
    let [web, app, db] = NICS.map(|(.., address)| address);
    let forwards = [
        ("TCP", 2222, 2222, web, 23),
        ("TCP", 2223, 2223, app, 23),
        ("TCP", 2224, 2224, db, 23),
        ("TCP", 8080, 8080, web, 80),
        ("UDP", 7000, 7001, web, 7000),
        ("TCP", 5201, 5201, web, 5201),
        ("UDP", 5201, 5201, web, 5201),
    ];
    let forward = |(n, (protocol, first, last, to, port)): (usize, (&str, u16, u16, &str, u16))| {
        json!({ "uuid": format!("{n:032x}"), "vipPortStart": first, "vipPortEnd": last, "privatePortStart": port,
                "privatePortEnd": port + (last - first), "protocolType": protocol, "vipIp": SHARED,
                "publicMac": PUBLIC, "privateIp": to, "privateMac": mac(20) })
    };
    let listener = |(uuid, port, to): (&str, u16, u16)| {
        let parameters = [
            "healthCheckTarget::tcp:80",
            "healthCheckInterval::1",
            "healthCheckTimeout::1",
            "healthyThreshold::1",
            "unhealthyThreshold::1",
            "balancerAlgorithm::roundrobin",
        ];
        json!({ "lbUuid": "4".repeat(32), "listenerUuid": uuid, "vip": SHARED, "publicNic": PUBLIC,
                "nicIps": [web, app, db], "instancePort": to, "loadBalancerPort": port, "mode": "tcp",
                "parameters": parameters, "serverGroups": [], "redirectRules": [], "enableFullLog": false })
    };
    Environment {
        uuid: "1".repeat(32),
        snats: [20, 21, 22].map(snat).into(),
        vips: [SHARED, OWN].map(vip).into(),
        port_forwards: forwards.into_iter().enumerate().map(forward).collect(),
        eips: vec![json!({ "vipIp": OWN, "guestIp": app, "publicMac": PUBLIC, "privateMac": mac(21) })],
        listeners: [("nc", 2300, 23), ("web", 8000, 80)].map(listener).into(),
        routes: vec![json!({ "destination": "192.168.99.0/24", "target": "", "distance": 1 })],
        ..Environment::default()
    }
}
