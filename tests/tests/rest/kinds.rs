//! Each kind of object, from its first word to its last.

use serde_json::{Value, json};
use tidegate_control::desired::Kind;

use super::served;

/// An object of a kind, and a part of it that changes. A kind that is new does not compile before it is here.
fn drafts(kind: Kind) -> (Value, Value) {
    let listener =
        |port: u16| json!([{ "id": "on", "protocol": "tcp", "port": port, "backends": [{ "nic": "web" }] }]);
    match kind {
        Kind::VxlanPool => {
            (json!({ "vni_range": "100-199", "vtep_cidr": "10.0.0.0/24" }), json!({ "vni_range": "100-150" }))
        }
        Kind::PublicNetwork => {
            (json!({ "port": "lan", "vlan": 9, "cidr": "192.0.2.0/24" }), json!({ "gateway": "192.0.2.1" }))
        }
        Kind::Certificate => (json!({ "file": "/etc/one.pem" }), json!({ "file": "/etc/other.pem" })),
        Kind::VpcRouter => (json!({ "account": "one" }), json!({ "account": "other" })),
        Kind::VpcNetwork => (
            json!({ "vpc": "red", "cidr": "10.1.2.0/24", "gateway": "10.1.2.1", "vlan": { "port": "lan", "id": 103 } }),
            json!({ "vlan": { "id": 104 } }),
        ),
        Kind::Nic => {
            (json!({ "network": "red-1", "address": "10.1.1.20" }), json!({ "address": "10.1.1.21" }))
        }
        Kind::Vip => (
            json!({ "public_network": "public", "address": "203.0.113.10" }),
            json!({ "address": "203.0.113.11" }),
        ),
        Kind::Route => (
            json!({ "vpc": "red", "destination": "172.16.0.0/12", "blackhole": true }),
            json!({ "priority": 5 }),
        ),
        Kind::Snat => (json!({ "vpc": "red", "vips": ["vip"] }), json!({ "vpc": "blue" })),
        Kind::Eip => (
            json!({ "vip": "vip", "nic": "web" }),
            json!({ "nic": null, "vpc": "red", "address": "10.1.1.12" }),
        ),
        Kind::PortForward => (
            json!({ "vip": "vip", "protocol": "tcp", "ports": "80", "nic": "web" }),
            json!({ "ports": "81" }),
        ),
        Kind::LoadBalancer => {
            (json!({ "vip": "vip", "listeners": listener(80) }), json!({ "listeners": listener(81) }))
        }
        Kind::Qos => (json!({ "vip": "vip", "inbound": "1Mbit/s" }), json!({ "outbound": "2Mbit/s" })),
    }
}

#[tokio::test]
async fn every_kind_is_written_read_patched_listed_and_deleted() {
    let (_site, client) = served();
    for kind in Kind::ALL {
        let (mut body, patch) = drafts(*kind);
        let path = format!("/v1/{kind}/of-test");
        let made = client.send("PUT", &path, ("", ""), &body).await;
        assert_eq!((made.status.as_u16(), made.header("location")), (201, path.as_str()), "{made:?}");
        body["id"] = "of-test".into();
        let read = client.get(&path).await;
        assert_eq!((read.status.as_u16(), &read.body), (200, &body), "{path}");

        let etag = read.header("etag").to_owned();
        let patched = client.send("PATCH", &path, ("if-match", &etag), &patch).await;
        assert_eq!(patched.status, 200, "{patched:?}");
        json_patch::merge(&mut body, &patch);
        let listed = client.get(&format!("/v1/{kind}")).await;
        let rows = listed.body["items"].as_array().unwrap();
        let row = rows.iter().find(|row| row["id"] == "of-test").unwrap();
        assert_eq!((&row["body"], &row["etag"]), (&body, &patched.body["etag"]), "{path}");
        let status = client.get(&format!("/v1/status/{kind}/of-test")).await;
        // No port of this host is in the pool.
        let state = if *kind == Kind::VxlanPool { "pending" } else { "active" };
        assert_eq!(status.body["state"], state, "{status:?}");

        let gone = client.ask("DELETE", &path, &[("if-match", "*")], "").await;
        assert_eq!((gone.status.as_u16(), client.get(&path).await.problem()), (200, "missing"), "{gone:?}");
    }
}
