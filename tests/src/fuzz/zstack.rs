//! Commands for a ZStack router agent.

use std::time::Duration;

use serde_json::Value;
use tidegate_control::zstack::{Change, Documents, Endpoint, Memory, Router, Settings, body};

use crate::zstack::settings;

/// Most commands of one input.
const COMMANDS_MAX: usize = 64;
/// How long the manager takes from one command to the next.
const STEP: Duration = Duration::from_secs(20);
/// After so long, what was restored and not pushed again goes.
const QUIET: Duration = Duration::from_secs(60);

/// A line for each command: a path, a blank, the body. An empty line is a restart of the agent. Bodies that are no JSON are refused; a
/// command that fails changes nothing; what has changed is what the difference says; a restart makes the same documents of what
/// was kept; an agent that is left alone comes to an end.
///
/// # Panics
/// When it is not so.
pub fn zstack(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        driven(text);
    }
}

/// The router after these commands.
fn driven(text: &str) -> Router {
    let settings = settings(QUIET);
    let mut router = Router::new(settings.clone(), Memory::default());
    let mut documents = router.documents().clone();
    let mut now = Duration::ZERO;
    for line in text.lines().take(COMMANDS_MAX) {
        now += STEP;
        let changes = router.tick(now);
        follow(&mut documents, changes, &router);
        if line.is_empty() {
            router = restarted(&settings, &router);
            assert_eq!(*router.documents(), documents, "a restart changes nothing");
        } else if let Some((path, body)) = line.split_once(' ') {
            command(&mut router, &mut documents, path, body, now);
        }
    }
    let changes = router.tick(now + 2 * QUIET);
    follow(&mut documents, changes, &router);
    assert_eq!(router.due(), None);
    router
}

fn command(router: &mut Router, documents: &mut Documents, path: &str, body: &str, now: Duration) {
    let Some(endpoint) = Endpoint::of_path(path) else { return };
    let Ok(body) = body::parse(body.as_bytes()) else { return };
    let before = router.clone();
    let answer = router.handle(endpoint, &body, now);
    assert!(matches!(answer.reply, Value::Object(_) | Value::String(_)), "{}", answer.reply);
    if body::is_failure(&answer.reply) {
        assert!(answer.reply["error"].as_str().is_some_and(|why| !why.is_empty()), "failed without a reason");
        assert!(answer.changes.is_empty() && router.remembers_the_same_as(&before));
    }
    follow(documents, answer.changes, router);
}

/// Makes the changes, and compares with what is to be there.
fn follow(documents: &mut Documents, changes: Vec<Change>, router: &Router) {
    for change in changes {
        match change {
            Change::Put { kind, id, body } => _ = documents.insert((kind, id), body),
            Change::Delete { kind, id } => {
                assert!(documents.remove(&(kind, id)).is_some(), "what is not there is taken away");
            }
        }
    }
    assert_eq!(documents, router.documents());
}

/// The agent after a restart, with what it kept as it is in the file.
fn restarted(settings: &Settings, router: &Router) -> Router {
    let kept = serde_json::to_vec(&router.memory()).unwrap_or_else(|why| panic!("{why}"));
    let memory = serde_json::from_slice(&kept).unwrap_or_else(|why| panic!("{why}"));
    Router::new(settings.clone(), memory)
}

/// What a fuzzer begins with: how a manager connects, restarts in between, oddities, and ends of everything.
pub fn seeds() -> Vec<String> {
    const NIC: &str = r#"/configurenic {"nics":[{"ip":"192.0.2.129","mac":"00:00:5e:00:53:02","gateway":"192.0.2.129","netmask":"255.255.255.192","isDefaultRoute":false,"category":"Private","physicalInterface":"eth1","l2type":"VxlanNetwork","vni":3101,"mtu":1450}]}"#;
    const INIT: &str = r#"/init {"uuid":"11111111111111111111111111111111"}"#;
    const SNAT: &str = r#"/syncsnat {"snats":[{"publicNicMac":"00:00:5e:00:53:01","publicIp":"203.0.113.10","privateNicMac":"00:00:5e:00:53:02","privateNicIp":"192.0.2.129","privateGatewayIp":"192.0.2.129","snatNetmask":"255.255.255.192","state":true}],"enable":true}"#;
    const VIP: &str = r#"/createvip {"syncVip":true,"vips":[{"ip":"203.0.113.20","netmask":"255.255.255.0","gateway":"203.0.113.1","ownerEthernetMac":"00:00:5e:00:53:01","vipUuid":"3"},{"ip":"203.0.113.30","netmask":"255.255.255.0","gateway":"203.0.113.1","ownerEthernetMac":"00:00:5e:00:53:01","vipUuid":"4"}],"nicIps":[]}"#;
    const FORWARD: &str = r#"/createportforwarding {"rules":[{"uuid":"5","vipPortStart":8000,"vipPortEnd":8009,"privatePortStart":9000,"privatePortEnd":9009,"protocolType":"TCP","vipIp":"203.0.113.30","publicMac":"00:00:5e:00:53:01","privateIp":"192.0.2.141","privateMac":"00:00:5e:00:53:02","allowedCidr":"198.51.100.0/24","snatInboundTraffic":false}]}"#;
    const EIP: &str = r#"/createeip {"eip":{"vipIp":"203.0.113.20","privateMac":"00:00:5e:00:53:02","publicMac":"00:00:5e:00:53:01","guestIp":"192.0.2.140","snatInboundTraffic":false}}"#;
    const QOS: &str = r#"/setvipqos {"vipQosSettings":[{"vip":"203.0.113.30","vipUuid":"4","port":8000,"inboundBandwidth":1000000,"outboundBandwidth":2000000}]}"#;
    const LISTENER: &str = r#"/lb/refresh {"lbs":[{"lbUuid":"7","listenerUuid":"8","vip":"203.0.113.30","instancePort":80,"loadBalancerPort":80,"mode":"tcp","nicIps":["192.0.2.141"],"publicNic":"00:00:5e:00:53:01","parameters":["balancerAlgorithm::roundrobin","healthCheckTarget::tcp:default","healthyThreshold::2","unhealthyThreshold::2","healthCheckInterval::5","maxConnection::5000"]}],"enableHaproxyLog":false}"#;
    const ROUTE: &str = r#"/syncroutes {"routes":[{"destination":"10.9.0.0/16","target":"192.0.2.140","distance":20},{"destination":"10.8.0.0/16","target":null,"distance":20}]}"#;
    let all = [NIC, INIT, SNAT, VIP, FORWARD, EIP, QOS, LISTENER, ROUTE];
    vec![
        all.join("\n"),
        [&all[..], &["", INIT, SNAT, VIP, "/ping {\"uuid\":\"1\"}", "/getroutes {}", "/echo \"\""]]
            .concat()
            .join("\n"),
        [
            &all[..],
            &[
                r#"/syncsnat {"snats":[],"enable":false}"#,
                r#"/syncportforwarding {"rules":[]}"#,
                r#"/synceip {"eips":[]}"#,
                r#"/lb/delete {"lbs":[{"lbUuid":"7","listenerUuid":"8"}]}"#,
                r#"/removevip {"vips":[{"ip":"203.0.113.30"},{"ip":"203.0.113.20"}]}"#,
                r#"/syncroutes {"routes":[]}"#,
                r#"/removenic {"nics":[{"mac":"00:00:5e:00:53:02"}]}"#,
            ],
        ]
        .concat()
        .join("\n"),
        [
            FORWARD,
            EIP,
            SNAT,
            INIT,
            "",
            "",
            VIP,
            NIC,
            "/createvip null",
            "/init []",
            "/adddhcp {\"dhcpEntries\":[{}]}",
        ]
        .join("\n"),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The kinds of documents that a router makes of a seed.
    fn kinds(seed: &str) -> BTreeSet<&'static str> {
        driven(seed).documents().keys().map(|(kind, _)| kind.section()).collect()
    }

    #[test]
    fn the_seeds_lead_to_every_kind_and_back() {
        let [connected, restarted, ended, _] = <[String; 4]>::try_from(seeds()).expect("four");
        let all = [
            "eips",
            "load_balancers",
            "nics",
            "port_forwards",
            "qos",
            "routes",
            "snats",
            "vips",
            "vpc_networks",
        ];
        assert_eq!(kinds(&connected), BTreeSet::from(all));
        assert_eq!(kinds(&restarted), BTreeSet::from(["snats", "vips", "vpc_networks"]));
        assert!(kinds(&ended).is_subset(&BTreeSet::from(["vips"])), "{:?}", kinds(&ended));
    }
}
