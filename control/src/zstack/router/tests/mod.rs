//! A router told what the manager tells it: replies, documents, and what the configuration check says of them.

mod balance;
mod corrections;
mod order;
mod restart;
mod sheet;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use super::*;
use crate::zstack::Kind;
use crate::{
    config::{self, Id},
    zstack::PublicNetwork,
};

pub(super) const PUBLIC: &str = "00:00:5e:00:53:01";
pub(super) const GUEST: &str = "00:00:5e:00:53:02";
pub(super) const SECOND: &str = "00:00:5e:00:53:03";

/// A gateway as an operator would write it: what the manager does not own.
const SITE: &str = "
gateway:
  workers: [1]
  zsnp: { keys: /etc/tidegate/zsnp.keys }
  ports:
    - { id: underlay, device: net_null0, mtu: 1600, addresses: [172.31.0.1/16] }
    - { id: wan, device: net_null1 }
    - { id: lan, device: net_null2 }
vxlan_pools:
  - { id: pool, vni_range: 3000-3999, vtep_cidr: 172.31.0.0/16, udp_port: 8472 }
public_networks:
  - { id: internet, port: wan, cidr: 203.0.113.0/24, gateway: 203.0.113.1 }
vpc_routers:
  - { id: red }
";

pub(super) fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub(super) fn settings() -> Settings {
    let bootstrap = json!([
        { "mac": "00:00:5e:00:53:00", "ip": "192.0.2.10", "netmask": "255.255.255.192", "category": "System" },
        { "mac": PUBLIC, "ip": "203.0.113.10", "netmask": "255.255.255.0", "gateway": "203.0.113.1",
          "category": "Public", "isDefaultRoute": true },
    ]);
    Settings {
        id: id("r1"),
        vpc: id("red"),
        pool: Some(id("pool")),
        ports: BTreeMap::from([("eth7".to_owned(), id("lan"))]),
        public_networks: vec![PublicNetwork {
            id: id("internet"),
            cidr: "203.0.113.0/24".parse().unwrap(),
            gateway: Some("203.0.113.1".parse().unwrap()),
        }],
        nics: serde_json::from_value(bootstrap).unwrap(),
        version: "5.2.0.0".into(),
        certificates: "/var/lib/tidegate/certificates".into(),
        has_zsnp: true,
        quiet: Duration::from_secs(60),
    }
}

/// A router and a clock.
pub(super) struct Bench {
    pub(super) router: Router,
    pub(super) now: Duration,
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench { router: Router::new(settings(), Memory::default()), now: Duration::ZERO }
    }

    /// A router with one private network, 192.0.2.128/26 on VNI 3101.
    pub(super) fn with_network() -> Bench {
        let mut bench = Bench::new();
        bench.ok("/configurenic", json!({ "nics": [nic(GUEST, "192.0.2.129", 3101)] }));
        bench
    }

    pub(super) fn send(&mut self, path: &str, body: Value) -> Answer {
        let endpoint = Endpoint::of_path(path).unwrap_or_else(|| panic!("there is no {path}"));
        let body = body::parse(body.to_string().as_bytes()).unwrap();
        self.router.handle(endpoint, &body, self.now)
    }

    pub(super) fn ok(&mut self, path: &str, body: Value) -> Vec<Change> {
        let answer = self.send(path, body);
        assert_ne!(answer.reply["success"], false, "{path}: {}", answer.reply);
        answer.changes
    }

    pub(super) fn refused(&mut self, path: &str, body: Value) -> String {
        let before = self.router.clone();
        let answer = self.send(path, body);
        assert_eq!(answer.reply["success"], false, "{path}: {}", answer.reply);
        assert_eq!(answer.changes, []);
        assert!(self.router.remembers_the_same_as(&before), "{path} was refused and changed something");
        answer.reply["error"].as_str().unwrap().to_owned()
    }

    /// The router after a restart, with what it keeps.
    pub(super) fn restarted(self) -> Bench {
        let kept = serde_json::to_string(&self.router.memory()).unwrap();
        Bench { router: Router::new(settings(), serde_json::from_str(&kept).unwrap()), now: self.now }
    }

    pub(super) fn ids(&self, kind: Kind) -> Vec<&str> {
        let documents = self.router.documents().keys();
        documents.filter(|(of, _)| *of == kind).map(|(_, id)| id.as_str()).collect()
    }

    pub(super) fn document(&self, kind: Kind, id: &str) -> &Value {
        let found = self.router.documents().get(&(kind, id.to_owned()));
        found.unwrap_or_else(|| panic!("no {id} in {:#?}", self.router.documents()))
    }

    /// Why an object waits.
    pub(super) fn waits(&self, service: Service, key: &str) -> String {
        let objects = self.router.objects();
        let object = objects.iter().find(|object| object.service == service && object.key == key);
        match &object.unwrap_or_else(|| panic!("no {key}")).status {
            Status::Waiting(why) => why.clone(),
            Status::Written => panic!("{key} does not wait"),
        }
    }

    /// What the configuration check says of the site with the router's documents.
    pub(super) fn check(&self) -> Result<config::Config, config::Problems> {
        let mut site: Value = serde_saphyr::from_str(SITE).unwrap();
        for ((kind, _), body) in self.router.documents() {
            let site = site.as_object_mut().unwrap();
            let list = site.entry(kind.section()).or_insert_with(|| json!([]));
            list.as_array_mut().unwrap().push(body.clone());
        }
        config::parse(&site.to_string())
    }

    pub(super) fn holds(&self) -> config::Config {
        self.check().unwrap_or_else(|problems| panic!("{problems}"))
    }
}

pub(super) fn nic(mac: &str, ip: &str, vni: u32) -> Value {
    json!({
        "mac": mac, "ip": ip, "gateway": ip, "netmask": "255.255.255.192", "isDefaultRoute": false,
        "category": "Private", "physicalInterface": "eth1", "l2type": "VxlanNetwork", "vni": vni,
        "firewallDefaultAction": "reject", "mtu": 1450,
    })
}

pub(super) fn vip(ip: &str) -> Value {
    json!({ "ip": ip, "netmask": "255.255.255.0", "gateway": "203.0.113.1", "prefixLength": 0, "isSystem": false,
            "ownerEthernetMac": PUBLIC, "vipUuid": "33333333333333333333333333333333" })
}

pub(super) fn vips(all: &[&str]) -> Value {
    json!({ "syncVip": false, "vips": all.iter().map(|ip| vip(ip)).collect::<Vec<_>>() })
}

pub(super) fn snat() -> Value {
    json!({ "publicNicMac": PUBLIC, "publicIp": "203.0.113.10", "privateNicMac": GUEST, "privateNicIp": "192.0.2.129",
            "privateGatewayIp": "192.0.2.129", "snatNetmask": "255.255.255.192", "state": true })
}

pub(super) fn forward(uuid: &str, port: u16) -> Value {
    json!({ "uuid": uuid, "vipPortStart": port, "vipPortEnd": port, "privatePortStart": 80, "privatePortEnd": 80,
            "protocolType": "TCP", "vipIp": "203.0.113.30", "publicMac": PUBLIC, "privateIp": "192.0.2.141",
            "privateMac": GUEST, "allowedCidr": "", "snatInboundTraffic": false })
}

pub(super) fn eip(vip: &str, guest: &str) -> Value {
    json!({ "vipIp": vip, "privateMac": GUEST, "publicMac": PUBLIC, "guestIp": guest, "snatInboundTraffic": false,
            "needCleanGuestIp": true })
}

pub(super) fn limit(vip: &str, port: u16, inbound: u64, outbound: u64) -> Value {
    json!({ "vipQosSettings": [{ "vip": vip, "publicNic": PUBLIC, "vipUuid": "v", "port": port,
            "inboundBandwidth": inbound, "outboundBandwidth": outbound, "type": "", "hasVipQos": false, "update": false }] })
}

pub(super) fn listener(uuid: &str, extra: Value) -> Value {
    let mut listener = json!({
        "lbUuid": "lb", "listenerUuid": uuid, "vip": "203.0.113.30", "publicNic": PUBLIC, "nicIps": ["192.0.2.150"],
        "instancePort": 8080, "loadBalancerPort": 80, "mode": "tcp", "parameters": [], "serverGroups": [],
        "redirectRules": [], "enableFullLog": false,
    });
    let extra: Map<String, Value> = serde_json::from_value(extra).unwrap();
    extra.into_iter().for_each(|(key, value)| listener[key] = value);
    listener
}

pub(super) fn refresh(listener: Value) -> Value {
    json!({ "enableHaproxyLog": false, "lbs": [listener] })
}
