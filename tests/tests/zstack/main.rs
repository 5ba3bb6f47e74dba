//! Router agents, driven by a small management node over real HTTP: transport, life cycle, limits, and packets through the gateway
//! that their documents make.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

mod figures;
mod hostile;
mod packets;
mod transport;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidegate_control::zstack::server::{Agent, AgentEvent, Limits};
use tidegate_tests::zstack::{Environment, Manager, Site, agent};
use tokio::task::JoinHandle;

const ROUTER: &str = "11111111111111111111111111111111";
const PUBLIC: &str = "00:00:5e:00:53:01";
const GUEST: &str = "00:00:5e:00:53:02";

/// What an operator prepares for a router that a manager drives.
const OPERATOR: &str = "
gateway:
  workers: [1]
  zsnp: { keys: /etc/tidegate/zsnp.keys }
  ports:
    - { id: underlay, device: mem0, mtu: 1550, mac: '02:00:00:00:00:01', addresses: [172.31.0.1/16], gateway: 172.31.255.254 }
    - { id: wan, device: mem2, mac: '02:00:00:00:00:03' }
  limits: { flows: 4096, neighbours: 1024, networks: 64, ring: 256 }
vxlan_pools:
  - { id: pool, vni_range: 3000-3999, vtep_cidr: 172.31.0.0/16, udp_port: 8472, remote_vteps: [172.31.1.1, 172.31.2.1] }
public_networks:
  - { id: public, port: wan, cidr: 203.0.113.0/24, gateway: 203.0.113.1, address: 203.0.113.2 }
vpc_routers:
  - { id: red }
";

/// The stock agent's limits, with pauses that a test has time for.
fn limits() -> Limits {
    Limits { callback_pause: Duration::from_millis(5), ..Limits::default() }
}

struct Bench {
    manager: Manager,
    site: Arc<Site>,
    at: SocketAddr,
    agent: Arc<Agent>,
    task: JoinHandle<()>,
}

impl Bench {
    async fn start(limits: Limits) -> Bench {
        let site = Site::new(OPERATOR);
        let (at, agent, task) = agent(&site, Duration::from_secs(60), limits).await;
        Bench { manager: Manager::start().await, site, at, agent, task }
    }

    fn count(&self, event: AgentEvent) -> u64 {
        self.agent.counts()[event.index()]
    }

    async fn ok(&self, path: &str, body: Value) -> Value {
        self.manager.call(self.at, path, body).await.unwrap_or_else(|failed| panic!("{path}: {failed:?}"))
    }

    async fn restart(self, quiet: Duration) -> Bench {
        self.task.abort();
        self.task.await.ok();
        let (at, agent, task) = agent(&self.site, quiet, limits()).await;
        Bench { at, agent, task, ..self }
    }
}

fn guest_nic() -> Value {
    json!({ "nics": [{ "ip": "192.0.2.129", "mac": GUEST, "gateway": "192.0.2.129", "netmask": "255.255.255.192",
        "isDefaultRoute": false, "category": "Private", "physicalInterface": "eth1", "l2type": "VxlanNetwork", "vni": 3101,
        "firewallDefaultAction": "reject", "mtu": 1450 }] })
}

fn vip(ip: &str) -> Value {
    json!({ "ip": ip, "netmask": "255.255.255.0", "gateway": "203.0.113.1", "prefixLength": 0, "ownerEthernetMac": PUBLIC,
            "vipUuid": "33333333333333333333333333333333", "isSystem": ip == "203.0.113.10" })
}

/// A router with SNAT, an EIP and a port forward, as the sheet has them.
fn environment() -> Environment {
    Environment {
        uuid: ROUTER.into(),
        snats: vec![json!({ "publicNicMac": PUBLIC, "publicIp": "203.0.113.10", "privateNicMac": GUEST,
            "privateNicIp": "192.0.2.129", "privateGatewayIp": "192.0.2.129", "snatNetmask": "255.255.255.192", "state": true })],
        vips: ["203.0.113.10", "203.0.113.20", "203.0.113.30"].map(vip).into(),
        port_forwards: vec![
            json!({ "uuid": "44444444444444444444444444444444", "vipPortStart": 8000, "vipPortEnd": 8009,
            "privatePortStart": 9000, "privatePortEnd": 9009, "protocolType": "TCP", "vipIp": "203.0.113.30",
            "publicMac": PUBLIC, "privateIp": "192.0.2.141", "privateMac": GUEST, "allowedCidr": "198.51.100.0/24",
            "snatInboundTraffic": false }),
        ],
        eips: vec![
            json!({ "vipIp": "203.0.113.20", "privateMac": GUEST, "publicMac": PUBLIC, "guestIp": "192.0.2.140",
            "snatInboundTraffic": false, "needCleanGuestIp": true }),
        ],
        ..Environment::default()
    }
}
