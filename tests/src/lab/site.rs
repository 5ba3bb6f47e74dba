//! The site that the demo and most lab tests stand on: two compute hosts, two VPCs with the same addresses, a public
//! network with a router upstream, and the gateway between them; after the environment of the seed article.
//!
//! ```text
//!  vpc-1 (VNI 222 223 224)                      vpc-2 (VNI 300 301), the same addresses
//!    web 192.168.20.154   on host1                web2 192.168.20.154   on host2
//!    app 192.168.21.10    on host2                app2 192.168.21.10    on host1
//!    db  192.168.22.10    on host1
//!
//!   host1 10.172.11.11 --+                     +-- upstream 203.0.113.1 -- 198.51.100.10
//!                        +-- gateway ----------+
//!   host2 10.172.11.12 --+   10.172.11.91      203.0.113.2
//! ```

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidegate_fastpath::counter::Books;

use super::{ComputeHost, Gateway, Lab, Netns, Underlay, Vm, host::plug, probe::ping, wait_for};

/// The gateway's own tunnel end.
pub const GATEWAY_VTEP: &str = "10.172.11.91";

/// An address behind the upstream router.
pub const OUTSIDE: &str = "198.51.100.10";

/// Everything on the picture. The gateway goes first when it is dropped, while its TAPs are still where it finds them.
#[derive(Debug)]
pub struct Site {
    /// The gateway.
    pub gateway: Gateway,
    /// VM 192.168.20.154 of vpc-1, on host1.
    pub web: Vm,
    /// VM 192.168.21.10 of vpc-1, on host2.
    pub app: Vm,
    /// VM 192.168.22.10 of vpc-1, on host1.
    pub db: Vm,
    /// VM 192.168.20.154 of vpc-2, on host2.
    pub web2: Vm,
    /// VM 192.168.21.10 of vpc-2, on host1.
    pub app2: Vm,
    /// 10.172.11.11.
    pub host1: ComputeHost,
    /// 10.172.11.12.
    pub host2: ComputeHost,
    /// The upstream router, and the world behind it.
    pub upstream: Netns,
    /// The underlay switch.
    pub underlay: Underlay,
    /// What made all this.
    pub lab: Lab,
}

/// The configuration of the site as a document that a test may change before it starts the site or reloads.
///
/// # Panics
/// When `site.yaml` is no YAML.
pub fn config() -> Value {
    serde_saphyr::from_str(TEXT).expect("site.yaml is YAML")
}

/// The same with [`SERVICES`] on public addresses instead of routes that say the way out and back.
///
/// # Panics
/// When `nat.yaml` is no YAML.
pub fn config_with_services() -> Value {
    let mut config = config();
    if let Some(routes) = config["routes"].as_array_mut() {
        routes.retain(|route| route["blackhole"] == json!(true));
    }
    let services: Value = serde_saphyr::from_str(SERVICES).expect("nat.yaml is YAML");
    for (kind, list) in services.as_object().expect("nat.yaml has keys") {
        config[kind] = list.clone();
    }
    config
}

/// The services as text.
pub const SERVICES: &str = include_str!("nat.yaml");

/// The public address that SNAT and the port forwards share.
pub const SHARED: &str = "203.0.113.93";

/// The public address that app has to itself.
pub const OWN: &str = "203.0.113.94";

/// The usual configuration as text, for people to read.
pub const TEXT: &str = include_str!("site.yaml");

impl Site {
    /// Builds everything and starts a gateway with `config`.
    ///
    /// # Errors
    /// What `ip` or the gateway said.
    pub fn new(lab: Lab, config: &Value) -> Result<Site> {
        let mtu = config["gateway"]["ports"][0]["mtu"].as_u64().unwrap_or(1500).try_into()?;
        let overlay = config["vpc_networks"][0]["mtu"].as_u64().unwrap_or(u64::from(mtu) - 50).try_into()?;
        let underlay = Underlay::new(&lab, mtu)?;
        let [vtep1, vtep2] = ["10.172.11.11", "10.172.11.12"];
        let host1 = ComputeHost::new(&lab, &underlay, "host1", vtep1, &[GATEWAY_VTEP, vtep2])?;
        let host2 = ComputeHost::new(&lab, &underlay, "host2", vtep2, &[GATEWAY_VTEP, vtep1])?;
        let vm = |host: &ComputeHost, name: &str, vni: u32, net: u8, last: u8| {
            let [address, gateway] = [format!("192.168.{net}.{last}/24"), format!("192.168.{net}.1")];
            host.vm(&lab, name, vni, &address, &gateway, overlay)
        };
        let web = vm(&host1, "web", 222, 20, 154)?;
        let app = vm(&host2, "app", 223, 21, 10)?;
        let db = vm(&host1, "db", 224, 22, 10)?;
        let web2 = vm(&host2, "web2", 300, 20, 154)?;
        let app2 = vm(&host1, "app2", 301, 21, 10)?;
        let upstream = lab.netns("upstream")?;
        let gateway = Gateway::start(&lab, &config.to_string())?;
        let site = Site { gateway, web, app, db, web2, app2, host1, host2, upstream, underlay, lab };
        site.connect(config)?;
        site.meet(config)?;
        Ok(site)
    }

    /// Waits until the gateway knows the hosts and the router upstream. It asked for them before their cables were plugged
    /// in; a packet of theirs tells it at once.
    fn meet(&self, config: &Value) -> Result<()> {
        let first = config["gateway"]["ports"][0]["addresses"][0].as_str().unwrap_or_default();
        let vtep = first.split('/').next().unwrap_or_default();
        for (netns, address) in
            [(self.host1.netns(), vtep), (self.host2.netns(), vtep), (&self.upstream, "203.0.113.2")]
        {
            wait_for(&format!("an answer of {address}"), || {
                ping(netns, address, "-c 1").ok()?.all_answered().then_some(())
            })?;
        }
        let configured = config["vxlan_pools"][0]["remote_vteps"].as_array().map_or(0, Vec::len);
        wait_for("the tunnel ends to be known", || {
            let neighbours = self.gateway.json("neighbors").ok()?;
            let known = |n: &&Value| n["network"] == "underlay" && n["state"] == "reachable";
            (neighbours.as_array()?.iter().filter(known).count() >= configured).then_some(())
        })
    }

    /// Puts the gateway's TAPs where their cables would lead.
    fn connect(&self, config: &Value) -> Result<()> {
        self.underlay.take(self.gateway.netns(), "tg-underlay")?;
        let mtu = config["gateway"]["ports"][1]["mtu"].as_u64().unwrap_or(1500);
        plug(self.gateway.netns(), "tg-public", &self.upstream)?;
        self.upstream.ip(&format!(
            "link set tg-public mtu {mtu}\n\
             address add 203.0.113.1/24 dev tg-public\n\
             address add {OUTSIDE}/32 dev lo\n\
             route add 192.168.20.0/24 via 203.0.113.2"
        ))
    }

    /// The books of all workers together, between two bursts: read until they balance, as a worker in the middle of a
    /// burst has packets in its hands.
    ///
    /// # Errors
    /// See [`Gateway::json`].
    pub fn books(&self) -> Result<Books> {
        let mut last = Books::default();
        for _ in 0..20 {
            last = self.books_now()?;
            if last.balance() {
                break;
            }
        }
        Ok(last)
    }

    fn books_now(&self) -> Result<Books> {
        let workers = self.gateway.json("workers")?;
        let rows = workers.as_array().context("`show workers --json` is a list")?;
        let sum = |key: &str| rows.iter().map(|row| row["books"][key].as_u64()).sum::<Option<u64>>();
        let sum =
            |key: &str| sum(key).with_context(|| format!("`show workers --json` has `{key}`: {workers}"));
        Ok(Books {
            rx: sum("rx")?,
            originated: sum("originated")?,
            tx: sum("tx")?,
            drops: sum("drops")?,
            punts: sum("punts")?,
            held: sum("held")?,
        })
    }

    /// The packets dropped so far for a reason.
    ///
    /// # Errors
    /// See [`Gateway::json`].
    pub fn drops(&self, reason: &str) -> Result<u64> {
        let drops = self.gateway.json("drops")?;
        let rows = drops.as_array().context("`show drops --json` is a list")?;
        let count = |row: &Value| row["packets"].as_u64().filter(|_| row["reason"] == json!(reason));
        Ok(rows.iter().filter_map(count).sum())
    }
}
