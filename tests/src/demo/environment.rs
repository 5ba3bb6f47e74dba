//! The demo's environment in words that a file, the REST API and a ZStack manager all have, so that three ways can lead to the same.
//!
//! | the demo says | here | because at a ZStack manager |
//! |---|---|---|
//! | a VM by VPC and address | by its NIC | services follow NICs |
//! | SNAT of the VPC router | of each of its networks | SNAT is a network's |
//! | two listeners of a load balancer, one without a check | a load balancer for each; the check is that of port 80, where all three VMs serve | every listener is checked |
//! | a limit of UDP port 5201, below that of its VIP | of port 5201, beside that of its VIP | limits know no protocol and no other limit |
//! | a route without priority | of priority 1 | a route has a distance |
//!
//! What a manager has no word for is written by the operator for all three ways: ports, the VXLAN pool, the public network; for a ZStack
//! manager the VPC routers, too, of which one has `distributed_routing`.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};
use tidegate_control::{
    config::{self, Config},
    desired::Kind,
};

use crate::rest::Client;

/// VMs that services name.
pub(super) const NICS: [(&str, &str, &str); 3] = [
    ("web", "vpc-1-1", "192.168.20.154"),
    ("app", "vpc-1-2", "192.168.21.10"),
    ("db", "vpc-1-3", "192.168.22.10"),
];

/// What every check says.
const CHECK: [(&str, u64); 4] = [("interval_s", 1), ("timeout_s", 1), ("healthy", 1), ("unhealthy", 1)];

/// Objects with their kinds.
pub type Objects = Vec<(Kind, Value)>;

/// The whole configuration.
pub fn environment(keys: &Path) -> Value {
    let mut config = super::config(keys);
    let nic = |(id, network, address)| json!({ "id": id, "network": network, "address": address });
    config["nics"] = NICS.map(nic).into();
    let snat = |(id, network, _)| json!({ "id": id, "network": network, "vips": ["shared"] });
    config["snats"] = NICS.map(snat).into();
    for section in ["eips", "port_forwards"] {
        config[section].as_array_mut().into_iter().flatten().for_each(by_nic);
    }
    let listeners = config["load_balancers"][0]["listeners"].take();
    let balancer = |mut listener: Value| {
        listener["backends"].as_array_mut().into_iter().flatten().for_each(by_nic);
        let check = CHECK.map(|(key, value)| (key.to_owned(), value.into()));
        listener["health_check"] = Map::from_iter(check).into();
        (listener["health_check"]["kind"], listener["health_check"]["port"]) = ("tcp".into(), 80.into());
        (listener["max_connections"], listener["idle_timeout_s"]) = (200_000.into(), 60.into());
        json!({ "id": listener["id"], "vip": "shared", "listeners": [listener] })
    };
    let listeners = listeners.as_array().cloned().unwrap_or_default();
    config["load_balancers"] = listeners.into_iter().map(balancer).collect();
    config["qos"][1] =
        json!({ "id": "port", "vip": "shared", "port": "5201", "independent": true, "inbound": "10Mbit/s" });
    (config["routes"][0]["id"], config["routes"][0]["priority"]) = ("blackhole".into(), 1.into());
    config
}

/// An object that names a VM by its NIC and not by its address.
fn by_nic(body: &mut Value) {
    let Some(keys) = body.as_object_mut() else { return };
    keys.remove("vpc");
    let address = keys.remove("address").unwrap_or_default();
    let nic = NICS.iter().find(|(.., known)| address == *known).map(|(id, ..)| *id);
    keys.insert("nic".to_owned(), nic.into());
}

/// The objects of a configuration.
pub fn objects(config: &Value) -> Objects {
    let of = |kind: &Kind| {
        let list = config[kind.section()].as_array().cloned().unwrap_or_default();
        list.into_iter().map(move |body| (*kind, body)).collect::<Objects>()
    };
    Kind::ALL.iter().flat_map(of).collect()
}

/// A configuration without these kinds of objects.
pub fn without(mut config: Value, is_left_out: impl Fn(Kind) -> bool) -> Value {
    for kind in Kind::ALL.iter().filter(|kind| is_left_out(**kind)) {
        config[kind.section()] = json!([]);
    }
    config
}

/// The objects that a gateway has.
///
/// # Panics
/// When it does not say.
pub async fn present(client: &Client) -> Objects {
    let mut all = Objects::new();
    for kind in Kind::ALL {
        let said = client.get(&format!("/v1/{kind}?limit=10000")).await;
        let rows = said.body["items"].as_array().expect("a list");
        all.extend(rows.iter().map(|row| (*kind, row["body"].clone())));
    }
    all
}

/// What objects mean on this host, whoever named them: checked, with all defaults, and each called after what it is.
///
/// # Panics
/// When they do not hold.
pub fn meaning(gateway: &Value, objects: &Objects) -> Config {
    let mut gateway = gateway.clone();
    // Who drives it is no part of what comes of that.
    gateway.as_object_mut().map(|keys| keys.remove("zstack"));
    let mut file = json!({ "gateway": gateway });
    let mut names = BTreeMap::new();
    for kind in Kind::ALL {
        let mut section = Vec::new();
        for (_, body) in objects.iter().filter(|(of, _)| of == kind) {
            let mut body = body.clone();
            rename(&mut body, &names);
            let name = name(*kind, &body);
            names.insert((*kind, body["id"].as_str().unwrap_or_default().to_owned()), name.clone());
            body["id"] = name.into();
            section.push(body);
        }
        file[kind.section()] = section.into();
    }
    // The folder of a run is not one yet.
    let text = file.to_string().replace("{dir}", "/run");
    config::parse(&text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What an object is called after.
fn name(kind: Kind, body: &Value) -> String {
    let keys: &[&str] = match kind {
        Kind::VpcNetwork => &["/vpc", "/cidr"],
        Kind::Nic => &["/network", "/address"],
        Kind::Vip => &["/address"],
        Kind::Route => &["/vpc", "/destination"],
        Kind::Snat => &["/network"],
        Kind::Eip => &["/vip"],
        Kind::PortForward => &["/vip", "/protocol", "/ports"],
        Kind::LoadBalancer => &["/listeners/0/id"],
        Kind::Qos => &["/vip", "/port"],
        Kind::VxlanPool | Kind::PublicNetwork | Kind::Certificate | Kind::VpcRouter => &["/id"],
    };
    let word = |key: &&str| match body.pointer(key) {
        Some(Value::String(text)) => text.replace('/', "-"),
        Some(other) => other.to_string(),
        None => "all".to_owned(),
    };
    keys.iter().map(word).collect::<Vec<_>>().join(".")
}

/// Gives objects that a body names their names.
fn rename(body: &mut Value, names: &BTreeMap<(Kind, String), String>) {
    let is_of = |key: &str| match key {
        "network" => Some(Kind::VpcNetwork),
        "nic" => Some(Kind::Nic),
        "vip" | "vips" => Some(Kind::Vip),
        _ => None,
    };
    let named = |kind, value: &mut Value| {
        let known = value.as_str().and_then(|id| names.get(&(kind, id.to_owned())));
        if let Some(name) = known {
            *value = name.clone().into();
        }
    };
    match body {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        Value::Object(keys) => {
            for (key, value) in keys {
                match (is_of(key), value) {
                    (Some(kind), Value::Array(ids)) => ids.iter_mut().for_each(|id| named(kind, id)),
                    (Some(kind), value) => named(kind, value),
                    (None, value) => rename(value, names),
                }
            }
        }
        _ => {}
    }
}
