//! Changes of everything that one VPC has, the same in every run: objects of all kinds come, become others and go, and it is known what
//! there must be after each. Whoever else is on the gateway must not notice.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_control::desired::{Kind, Step};

use crate::rest::Client;

/// The VPC that changes. Its networks are in 10.9.0.0/16, its public addresses above 203.0.113.150 on the public network `public`.
pub const VPC: &str = "green";

/// Objects of each kind. That of one number only names others of this range, so many of them wait at times.
const EACH: u64 = 10;
/// How many bodies an object has, one after the other.
const TURNS: u64 = 4;

/// Writes the body of an object: its number, its turn, a number that is drawn; the VXLAN pool.
type Draft = fn(u64, u64, u64, &str) -> Value;

/// What comes and goes.
const KINDS: [(Kind, &str, Draft); 11] = [
    (Kind::VpcNetwork, "g", network),
    (Kind::Nic, "k", nic),
    (Kind::Vip, "w", vip),
    (Kind::Vip, "x", whole_vip),
    (Kind::Route, "r", route),
    (Kind::Snat, "s", snat),
    (Kind::Eip, "e", eip),
    (Kind::PortForward, "t", tcp_forward),
    (Kind::PortForward, "u", udp_forward),
    (Kind::LoadBalancer, "l", balancer),
    (Kind::Qos, "q", qos),
];

/// Objects by kind and id.
pub type Objects = BTreeMap<(Kind, String), Value>;

/// Changes, and what there is after them.
#[derive(Clone, Debug)]
pub struct Churn {
    pool: String,
    drawn: u64,
    objects: Objects,
}

impl Churn {
    /// Nothing but the router is there. Networks get VNIs from 2000 on, of this pool.
    pub fn new(pool: &str) -> Churn {
        Churn { pool: pool.to_owned(), drawn: 1, objects: Objects::new() }
    }

    /// Writes the VPC router, once.
    pub fn router() -> Step {
        Step::Put { kind: Kind::VpcRouter, body: json!({ "id": VPC }), etag: None }
    }

    /// So many changes, each of another object.
    ///
    /// # Panics
    /// When there are not so many objects.
    pub fn next(&mut self, changes: usize) -> Vec<Step> {
        let all = KINDS.len() as u64 * EACH;
        assert!(changes as u64 <= all, "{changes} changes of {all} objects");
        let first = self.draw(all);
        // Far apart: the step and the number of objects have no divisor in common.
        (0..changes as u64).map(|i| self.change((first + 17 * i) % all)).collect()
    }

    /// What there is, but for the router.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The same as a gateway has it; objects of others are left out.
    ///
    /// # Panics
    /// When the gateway does not say.
    pub async fn of_gateway(client: &Client) -> Objects {
        let mut found = Objects::new();
        for kind in Kind::ALL {
            let said = client.get(&format!("/v1/{kind}?limit=10000")).await;
            for row in said.body["items"].as_array().expect("a list") {
                let id = row["id"].as_str().expect("an id").to_owned();
                if is_own(*kind, &id) {
                    found.insert((*kind, id), row["body"].clone());
                }
            }
        }
        found
    }

    fn change(&mut self, at: u64) -> Step {
        let (kind, prefix, draft) = KINDS[(at / EACH) as usize];
        let n = at % EACH;
        let key = (kind, format!("{prefix}{n}"));
        if self.objects.contains_key(&key) && self.draw(3) == 0 {
            self.objects.remove(&key);
            return Step::Delete { kind, id: key.1, etag: None };
        }
        loop {
            let (turn, other) = (self.draw(TURNS), self.draw(EACH));
            let mut body = draft(n, turn, other, &self.pool);
            body["id"] = key.1.clone().into();
            if self.objects.get(&key) != Some(&body) {
                self.objects.insert(key, body.clone());
                return Step::Put { kind, body, etag: None };
            }
        }
    }

    /// The upper bits of the generator of PCG.
    fn draw(&mut self, below: u64) -> u64 {
        self.drawn =
            self.drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.drawn >> 33) % below
    }
}

/// Whether an object is one of these: a letter of its kind and a number.
fn is_own(kind: Kind, id: &str) -> bool {
    let number = |prefix| id.strip_prefix(prefix).and_then(|n| n.parse::<u64>().ok());
    KINDS.iter().any(|(own, prefix, _)| *own == kind && number(*prefix).is_some_and(|n| n < EACH))
}

fn network(n: u64, turn: u64, _: u64, pool: &str) -> Value {
    json!({ "vpc": VPC, "cidr": format!("10.9.{n}.0/24"), "gateway": format!("10.9.{n}.1"), "mtu": 1400 + turn,
            "vxlan": { "pool": pool, "vni": 2000 + n } })
}

fn nic(n: u64, turn: u64, _: u64, _: &str) -> Value {
    json!({ "network": format!("g{n}"), "address": format!("10.9.{n}.{}", 50 + turn) })
}

/// Of the services, which share it.
fn vip(n: u64, turn: u64, _: u64, _: &str) -> Value {
    json!({ "public_network": "public", "address": format!("203.0.113.{}", 150 + EACH * turn + n) })
}

/// Of one EIP.
fn whole_vip(n: u64, turn: u64, _: u64, _: &str) -> Value {
    json!({ "public_network": "public", "address": format!("203.0.113.{}", 200 + EACH * turn + n) })
}

fn route(n: u64, turn: u64, other: u64, _: &str) -> Value {
    json!({ "vpc": VPC, "destination": format!("172.20.{n}.0/24"), "next_hop": format!("10.9.{other}.{}", 100 + turn) })
}

fn snat(n: u64, _: u64, other: u64, _: &str) -> Value {
    json!({ "network": format!("g{n}"), "vips": [format!("w{other}")] })
}

fn eip(n: u64, turn: u64, _: u64, _: &str) -> Value {
    json!({ "vip": format!("x{n}"), "vpc": VPC, "address": format!("10.9.{n}.{}", 60 + turn) })
}

fn tcp_forward(n: u64, turn: u64, other: u64, _: &str) -> Value {
    json!({ "vip": format!("w{other}"), "protocol": "tcp", "ports": (3000 + n).to_string(), "vpc": VPC,
            "address": format!("10.9.{n}.{}", 20 + turn) })
}

fn udp_forward(n: u64, _: u64, other: u64, _: &str) -> Value {
    json!({ "vip": format!("w{other}"), "protocol": "udp", "ports": (4000 + n).to_string(), "nic": format!("k{n}") })
}

fn balancer(n: u64, turn: u64, other: u64, _: &str) -> Value {
    let backend = |last: u64| json!({ "vpc": VPC, "address": format!("10.9.{other}.{last}") });
    let backends: Vec<Value> = (20..=20 + turn).map(backend).collect();
    let listener =
        json!({ "id": format!("on-{n}"), "protocol": "tcp", "port": 8000 + n, "backends": backends });
    json!({ "vip": format!("w{n}"), "listeners": [listener] })
}

fn qos(n: u64, turn: u64, _: u64, _: &str) -> Value {
    let rate = format!("{}Mbit/s", 1 + turn);
    json!({ "vip": format!("w{n}"), "inbound": rate, "outbound": rate })
}
