//! Bodies of requests and replies, as the manager writes them: lower-camel keys, unknown keys ignored, `null` the same as absent,
//! what is absent empty, 0 or false. Addresses stay text here; what they mean is checked by the router's room.

mod balance;
mod network;
mod service;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use thiserror::Error;

pub use self::{
    balance::{
        BackendServer, Certificate, Certificates, Listener, Listeners, LogLevel, RedirectRule, ServerGroup,
    },
    network::{
        ChangeDefaultNic, DhcpEntries, DhcpEntry, DhcpServer, DhcpServers, Dns, DnsServer, Nic, Nics, Route,
        Routes, VpcDns,
    },
    service::{
        Eip, Eips, OneEip, OneSnat, PortForward, PortForwards, RemovedSnats, Snat, SnatServiceState,
        SyncSnats, Vip, VipQos, VipQosSettings, Vips,
    },
};

/// Keys whose own keys are names that the manager chose, and stay as they are.
const MAPS: [&str; 2] = ["certs", "parms"];

/// A body that cannot be read: told to the operator of the manager.
#[derive(Debug, Error)]
pub enum BadBody {
    /// No JSON at all.
    #[error("the body is no JSON: {0}")]
    Json(serde_json::Error),
    /// JSON of another shape.
    #[error("the body does not fit: {0}")]
    Shape(serde_json::Error),
}

/// Reads a body. An empty one, `null` and the empty string (the manager's `/echo`) count as `{}`.
///
/// # Errors
/// [`BadBody`] for what is no JSON.
pub fn parse(bytes: &[u8]) -> Result<Value, BadBody> {
    if bytes.trim_ascii().is_empty() {
        return Ok(json!({}));
    }
    let mut value: Value = serde_json::from_slice(bytes).map_err(BadBody::Json)?;
    tidy(&mut value);
    Ok(match value {
        Value::Null => json!({}),
        Value::String(text) if text.is_empty() => json!({}),
        other => other,
    })
}

/// The body of one command.
///
/// # Errors
/// [`BadBody`] where a key has a value of another type.
pub fn read<T: DeserializeOwned>(body: &Value) -> Result<T, BadBody> {
    T::deserialize(body).map_err(BadBody::Shape)
}

/// Drops what is `null` and gives every key its lower-camel spelling: the stock agent reads `Mac` as `mac`. Where both are there the
/// lower-camel one counts.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(tidy);
        }
        Value::Object(keys) => {
            let mut kept = Map::new();
            for (key, mut value) in std::mem::take(keys) {
                if value.is_null() {
                    continue;
                }
                if !MAPS.contains(&key.as_str()) {
                    tidy(&mut value);
                }
                let lower = lower_camel(&key);
                if lower == key || !kept.contains_key(&lower) {
                    kept.insert(lower, value);
                }
            }
            *keys = kept;
        }
        _ => {}
    }
}

fn lower_camel(key: &str) -> String {
    let mut chars = key.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

/// `/init`. What is absent keeps its earlier value in the stock agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Init {
    /// The router's uuid, which `/ping` answers from then on.
    pub uuid: String,
}

/// The reply to `/init`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitReply<'a> {
    /// As it came.
    pub uuid: &'a str,
    /// The agent's version: four dotted numbers.
    pub zvr_version: &'a str,
    /// Of the stock router's operating system.
    pub vyos_version: &'a str,
    /// Of its kernel; the manager refuses services to old ones.
    pub kernel_version: &'a str,
    /// Of its IKE daemon.
    pub ipsec_current_version: &'a str,
    /// The newest one that it could run.
    pub ipsec_latest_version: &'a str,
}

/// The reply to `/ping`. It has no `success`, whose absence means true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PingReply<'a> {
    /// From the last `/init` since start; empty before it.
    pub uuid: &'a str,
    /// The agent's version.
    pub version: &'a str,
    /// Always `NoHa`.
    pub ha_status: &'a str,
    /// Whether nothing is known that an operator must look at.
    pub healthy: bool,
    /// What that is.
    pub health_detail: &'a str,
    /// Connections of IPsec, which is not built yet: none.
    pub service_health_list: Value,
}

/// `/zsn/dr`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DistributedRouting {
    /// Whether hosts shall learn direct paths.
    pub enabled: bool,
}

/// The reply to a command that was carried out and has nothing to say.
pub fn success() -> Value {
    json!({ "success": true, "error": "" })
}

/// The reply to a command that was not.
pub fn failure(error: &str) -> Value {
    json!({ "success": false, "error": error })
}

/// Whether a reply says that a command was not carried out. A reply that does not say says success.
pub fn is_failure(reply: &Value) -> bool {
    reply.get("success") == Some(&Value::Bool(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_absent_and_what_is_absent_is_empty() {
        let body =
            parse(br#"{"nics":[null,{"mac":"00:00:5e:00:53:02","ip":null,"vni":null}],"unknown":{"a":1}}"#)
                .unwrap();
        let nics: Nics = read(&body).unwrap();
        assert_eq!(nics.nics, [Nic { mac: "00:00:5e:00:53:02".into(), ..Nic::default() }]);
        assert_eq!(read::<Nics>(&parse(b"{}").unwrap()).unwrap(), Nics::default());
    }

    #[test]
    fn both_spellings_of_a_key_are_read_and_lower_camel_wins() {
        for body in [
            r#"{"Nics":[{"Mac":"a","PrefixLength":64,"Gateway6":"g","AddressMode":"SLAAC","Ip6":"i"}]}"#,
            r#"{"nics":[{"mac":"a","Mac":"z","PrefixLength":1,"prefixLength":64,"gateway6":"g","addressMode":"SLAAC","ip6":"i"}]}"#,
        ] {
            let nics: Nics = read(&parse(body.as_bytes()).unwrap()).unwrap();
            let Nic { mac, prefix_length, gateway6, address_mode, ip6, .. } = &nics.nics[0];
            assert_eq!((mac.as_str(), *prefix_length, gateway6.as_str()), ("a", 64, "g"));
            assert_eq!((address_mode.as_str(), ip6.as_str()), ("SLAAC", "i"));
        }
    }

    #[test]
    fn names_in_maps_keep_their_spelling() {
        let body = parse(br#"{"certs":{"Abc":"pem"}}"#).unwrap();
        assert_eq!(read::<Certificates>(&body).unwrap().certs.keys().collect::<Vec<_>>(), ["Abc"]);
    }

    #[test]
    fn an_echo_may_be_empty_or_the_empty_string() {
        for body in [&b""[..], b"\"\"", b"null", b" \n"] {
            assert_eq!(parse(body).unwrap(), json!({}));
        }
        assert!(matches!(parse(b"{"), Err(BadBody::Json(_))));
        assert!(matches!(read::<Nics>(&parse(br#"{"nics":7}"#).unwrap()), Err(BadBody::Shape(_))));
    }

    #[test]
    fn no_body_is_too_deep_to_be_refused() {
        let deep = "[".repeat(100_000);
        assert!(matches!(parse(deep.as_bytes()), Err(BadBody::Json(_))));
    }
}
