//! Random changes: what is found after each by looking at what it concerns is what is found by looking at everything.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Objects of no concern, so that no change concerns most of them.
fn ballast() -> Value {
    let certificates = (0..200).map(|n| json!({ "id": format!("cert-{n}"), "file": "/etc/cert.pem" }));
    json!({ "certificates": certificates.collect::<Vec<_>>() })
}

/// Draws from lists by the bytes it was given.
struct Draw<'a>(&'a [u8]);

impl Draw<'_> {
    fn number(&mut self, below: u8) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first % below
    }

    fn of(&mut self, list: &[&str]) -> String {
        list[usize::from(self.number(list.len() as u8))].to_owned()
    }

    fn vip(&mut self) -> String {
        self.of(&["v0", "v1", "v2", "v3"])
    }

    fn nic(&mut self) -> String {
        self.of(&["k0", "k1", "k2", "k3"])
    }

    fn vpc(&mut self) -> String {
        self.of(&["red", "blue"])
    }

    fn address(&mut self) -> String {
        format!("10.1.{}.{}", self.number(4), 10 + self.number(2))
    }

    /// A VM, by NIC or by address.
    fn vm(&mut self, mut body: Value) -> Value {
        if self.number(2) == 0 {
            body["nic"] = self.nic().into();
        } else {
            (body["vpc"], body["address"]) = (self.vpc().into(), self.address().into());
        }
        body
    }

    /// An object of a kind; few ids and few values, so that objects meet.
    fn object(&mut self, kind: Kind) -> Value {
        let n = self.number(4);
        match kind {
            Kind::VxlanPool => json!({
                "id": self.of(&["p0", "p1", "p2"]),
                "vni_range": self.of(&["100-199", "100-150", "150-250"]),
                "vtep_cidr": self.of(&["10.0.0.0/24", "10.0.0.0/24", "10.99.0.0/24"]),
            }),
            Kind::PublicNetwork => json!({
                "id": self.of(&["net-a", "net-b"]), "port": self.of(&["wan", "wan", "gone"]), "vlan": 10 + n,
                "cidr": self.of(&["192.0.2.0/24", "192.0.0.0/16", "198.51.100.0/24"]),
            }),
            Kind::Certificate => json!({ "id": self.of(&["cert-1", "cert-x"]), "file": "/etc/other.pem" }),
            Kind::VpcRouter => json!({ "id": self.vpc(), "flow_tracking": n > 1 }),
            Kind::VpcNetwork => json!({
                "id": format!("n{n}"), "vpc": self.vpc(), "cidr": format!("10.1.{n}.0/{}", 22 + self.number(3)),
                "gateway": format!("10.1.{n}.1"), "vxlan": { "pool": self.of(&["p0", "p1"]), "vni": 140 + 5 * n },
            }),
            Kind::Nic => {
                json!({ "id": self.nic(), "network": format!("n{n}"), "address": self.address() })
            }
            Kind::Vip => json!({
                "id": self.vip(), "public_network": self.of(&["net-a", "net-b"]),
                "address": self.of(&["192.0.2.10", "192.0.2.11", "198.51.100.10", "10.1.1.50"]),
            }),
            Kind::Route => self.route(n),
            Kind::Snat => {
                let whose =
                    if n > 1 { json!({ "vpc": self.vpc() }) } else { json!({ "network": format!("n{n}") }) };
                let mut body = json!({ "id": format!("snat-{n}"), "vips": [self.vip(), self.vip()] });
                body.as_object_mut().unwrap().extend(whose.as_object().unwrap().clone());
                body
            }
            Kind::Eip => {
                let body = json!({ "id": format!("eip-{n}"), "vip": self.vip() });
                self.vm(body)
            }
            Kind::PortForward => {
                let body = json!({
                    "id": format!("f{n}"), "vip": self.vip(), "protocol": "tcp", "ports": self.of(&["1-9", "5", "80"]),
                });
                let mut body = self.vm(body);
                if body["ports"] == "1-9" {
                    body["target_ports"] = "11-19".into();
                }
                body
            }
            Kind::LoadBalancer => {
                let backends = [json!({}), json!({})].map(|body| self.vm(body));
                let mode = self.of(&["dnat", "full_nat"]);
                json!({ "id": format!("lb-{n}"), "vip": self.vip(), "listeners": [
                    { "id": self.of(&["l0", "l1"]), "protocol": "tcp", "port": 80, "mode": mode, "backends": backends },
                ] })
            }
            Kind::Qos => match n {
                0 => json!({ "id": "q0", "nic": self.nic(), "inbound": "1Mbit/s" }),
                1 => json!({ "id": "q1", "vip": self.vip(), "port": "80", "outbound": "1Mbit/s" }),
                _ => json!({ "id": "q2", "vips": [self.vip(), self.vip()], "outbound": "2Mbit/s" }),
            },
        }
    }

    fn route(&mut self, n: u8) -> Value {
        let mut body = json!({ "id": format!("r{n}"), "destination": self.of(&["0.0.0.0/0", "10.1.0.0/16", "172.16.0.0/12"]) });
        let public = self.number(3) == 0;
        if public {
            body["public_network"] = self.of(&["net-a", "net-b"]).into();
        } else {
            body["vpc"] = self.vpc().into();
        }
        match self.number(4) {
            0 if public => body["via_vpc"] = self.vpc().into(),
            0 => body["via_public"] = self.of(&["net-a", "net-b"]).into(),
            1 => body["blackhole"] = true.into(),
            _ => body["next_hop"] = self.of(&["10.1.1.99", "10.1.2.99", "192.0.2.10", "172.16.1.1"]).into(),
        }
        body
    }

    /// Writes an object, or removes one.
    fn step(&mut self) -> Step {
        let kind = Kind::ALL[usize::from(self.number(Kind::COUNT as u8))];
        let gone = self.number(5) == 0;
        let body = self.object(kind);
        match body["id"].as_str().filter(|_| gone) {
            Some(id) => Step::Delete { kind, id: id.to_owned(), etag: None },
            None => Step::Put { kind, body, etag: None },
        }
    }
}

static START: LazyLock<Basis> = LazyLock::new(start);

/// Transactions of one to three steps each.
fn transactions() -> impl Strategy<Value = Vec<Transaction>> {
    let steps = prop::collection::vec(prop::collection::vec(any::<u8>(), 16), 1..=3);
    let transaction = steps.prop_map(|steps| Transaction {
        steps: steps.iter().map(|bytes| Draw(bytes).step()).collect(),
        ..Transaction::default()
    });
    prop::collection::vec(transaction, 1..80)
}

/// A site among objects of no concern.
fn start() -> Basis {
    let basis = step(&empty(), Step::Merge { file: ballast() }).unwrap();
    let everything = (0..=255u8).cycle().step_by(37).take(16 * 120).collect::<Vec<_>>();
    everything.chunks(16).fold(basis, |basis, bytes| {
        let step_of = Draw(bytes).step();
        step(&basis, step_of).unwrap_or(basis)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn what_a_change_concerns_is_all_that_it_changes(transactions in transactions()) {
        let mut basis = START.clone();
        for transaction in &transactions {
            // Refused ones change nothing.
            let Ok(plan) = basis.plan(transaction) else { continue };
            let whole = settle(&plan.host, &plan.documents).unwrap();
            prop_assert_eq!(&*plan.settled, &whole, "{:?}\n{:?}", transaction, idle(&basis));
            basis = plan.basis(basis.generation + 1);
        }
        let fresh = Documents::from_iter(basis.documents.iter().map(|document| (**document).clone()));
        prop_assert_eq!(fresh.ties(), basis.documents.ties());
        prop_assert_eq!(fresh.claims(), basis.documents.claims());
    }
}
