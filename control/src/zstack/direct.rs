//! What `/zsn/status` and `/zsn/connections` say of direct paths. How the stock agent writes these texts is not public; ours are JSON
//! objects of our own, `{}` where there is nothing to say.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::show::ShortcutRow;

/// The one state of the stock protocol that is public: packets go direct.
const DIRECT: &str = "ZSNP_DST_SUCC";
/// Most connections that are told.
pub(super) const CONNECTIONS_MAX: usize = 10_000;

/// The reply to `/zsn/status`: whether the switch is on, and how many pairs (host, network, destination) are in each state.
pub(super) fn status(switched_on: bool, rows: &[ShortcutRow]) -> Value {
    let mut status = Map::new();
    if switched_on || !rows.is_empty() {
        status.insert("DistributedRouting".into(), switched_on.to_string().into());
    }
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *states.entry(&row.state).or_default() += 1;
    }
    if !states.is_empty() {
        status.insert("pairs".into(), json!(states));
    }
    json!({ "rawStatus": Value::Object(status).to_string() })
}

/// The reply to `/zsn/connections`: those pairs whose packets go direct.
pub(super) fn connections(rows: &[ShortcutRow]) -> Value {
    let direct = rows.iter().filter(|row| row.to.is_some()).map(|row| {
        let ShortcutRow { network, host, destination, to, since_ms, packets, bytes, .. } = row;
        let what = json!({
            "network": network, "sourceHost": host, "destination": destination, "destinationHost": to,
            "seconds": since_ms / 1_000, "packets": packets, "bytes": bytes, "status": DIRECT,
        });
        (format!("{network}@{host}-{destination}"), what)
    });
    let connections: Map<String, Value> = direct.collect();
    json!({ "rawConnections": Value::Object(connections).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(destination: [u8; 4], state: &str) -> ShortcutRow {
        ShortcutRow {
            vpc: "red".into(),
            network: "r1.net-1".into(),
            host: [172, 31, 1, 1].into(),
            destination: destination.into(),
            state: state.into(),
            why: None,
            since_ms: 5_500,
            to: (state == "active").then_some([172, 31, 2, 1].into()),
            packets: 7,
            bytes: 700,
            rtt_us: None,
            loss_permille: None,
        }
    }

    #[test]
    fn nothing_is_an_empty_object() {
        assert_eq!(status(false, &[]), json!({ "rawStatus": "{}" }));
        assert_eq!(connections(&[]), json!({ "rawConnections": "{}" }));
        assert_eq!(connections(&[row([10, 0, 0, 1], "held")]), json!({ "rawConnections": "{}" }));
    }

    #[test]
    fn what_goes_direct_is_told_with_the_public_name_of_its_state() {
        let rows = [row([10, 0, 0, 1], "active"), row([10, 0, 0, 2], "idle"), row([10, 0, 0, 3], "active")];
        let text = |reply: Value, key: &str| -> Value {
            serde_json::from_str(reply[key].as_str().unwrap()).unwrap()
        };
        let told = json!({ "DistributedRouting": "true", "pairs": { "active": 2, "idle": 1 } });
        assert_eq!(text(status(true, &rows), "rawStatus"), told);
        let told = text(connections(&rows), "rawConnections");
        assert_eq!(told.as_object().unwrap().len(), 2);
        let one = json!({
            "network": "r1.net-1", "sourceHost": "172.31.1.1", "destination": "10.0.0.3",
            "destinationHost": "172.31.2.1", "seconds": 5, "packets": 7, "bytes": 700, "status": "ZSNP_DST_SUCC",
        });
        assert_eq!(told["r1.net-1@172.31.1.1-10.0.0.3"], one);
    }
}
