//! `gateway.zstack`: router agents that a ZStack manager drives.

use std::{collections::BTreeMap, collections::HashMap, time::Duration};

use super::{At, Known, Report, gateway::number, text};
use crate::{
    config::{
        Id, Port, ZstackAgent,
        raw::{RawZstackAgent, range as r},
    },
    zstack::Settings,
};

const SECTION: &str = "gateway.zstack.agents";

pub(super) fn agents(raw: &[RawZstackAgent], ports: &Known<Port>, report: &mut Report) -> Vec<ZstackAgent> {
    let mut vpcs = HashMap::new();
    let mut listens = HashMap::new();
    Known::collect(
        SECTION,
        raw,
        |raw| raw.id.as_deref(),
        report,
        |at, id, raw, report| {
            if let Some(id) = id.as_ref().filter(|id| !fits(id)) {
                let way_out = format!("give at most {} characters without a dot", Settings::ID_LEN_MAX);
                report.add(at, "id", id, "begins the ids of the agent's objects", way_out);
            }
            let vpc = report.read(at, "vpc", raw.vpc.as_deref(), text::id);
            let listen = report.read(at, "listen", raw.listen.as_deref(), text::listen);
            once(at, "vpc", vpc.as_ref(), &mut vpcs, report);
            once(at, "listen", listen.as_ref(), &mut listens, report);
            let pool = raw.vxlan_pool.as_deref();
            let pool_read = report.read(at, "vxlan_pool", pool, text::id);
            let public = report.read_all(at, "public_networks", &raw.public_networks, text::id);
            let bootstrap = raw.bootstrap.as_deref();
            let bootstrap_read = report.read(at, "bootstrap", bootstrap, text::path);
            let version = raw.version.as_deref().unwrap_or(r::ZSTACK_VERSION_DEFAULT);
            Some(ZstackAgent {
                id: id?,
                vpc: vpc?,
                listen: listen?,
                vxlan_pool: if pool.is_some() { Some(pool_read?) } else { None },
                public_networks: public.into_iter().collect::<Option<_>>()?,
                interfaces: interfaces(at, raw, ports, report)?,
                bootstrap: if bootstrap.is_some() { Some(bootstrap_read?) } else { None },
                version: report.read(at, "version", Some(version), text::four_numbers)?,
                quiet: Duration::from_secs(number(raw.quiet_s, r::ZSTACK_QUIET_DEFAULT).into()),
            })
        },
    )
    .items()
    .cloned()
    .collect()
}

fn fits(id: &Id) -> bool {
    id.as_str().len() <= Settings::ID_LEN_MAX && !id.as_str().contains('.')
}

/// What agents do not share.
fn once<T: std::hash::Hash + Eq + Clone + std::fmt::Display>(
    at: At<'_>,
    key: &str,
    value: Option<&T>,
    seen: &mut HashMap<T, Option<usize>>,
    report: &mut Report,
) {
    let Some(value) = value else { return };
    match seen.get(value).copied().flatten() {
        Some(first) => {
            let what = format!("is that of {SECTION}[{first}] already");
            report.add(at, key, value, what, "give each agent one of its own");
        }
        None => _ = seen.insert(value.clone(), at.index),
    }
}

fn interfaces(
    at: At<'_>,
    raw: &RawZstackAgent,
    ports: &Known<Port>,
    report: &mut Report,
) -> Option<BTreeMap<String, Id>> {
    let mut all = BTreeMap::new();
    for (i, interface) in raw.interfaces.iter().enumerate() {
        let key = format!("interfaces[{i}].port");
        let port = ports.refer(at, &key, interface.port.as_deref(), "gateway.ports", report)?.id.clone();
        let name = interface.name.clone()?;
        if all.insert(name.clone(), port).is_some() {
            report.add(at, &format!("interfaces[{i}].name"), &name, "is in the list twice", "name each once");
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use crate::config;

    const SITE: &str = "
gateway:
  ports: [{ id: lan, device: net_null0 }]
  zstack:
    agents:
      - { id: r1, vpc: red, listen: 192.0.2.10:7272, interfaces: [{ name: eth1, port: lan }] }
      - { id: r2, vpc: blue, listen: 192.0.2.11:7272, version: 5.3.1.0, quiet_s: 90 }
";

    #[test]
    fn agents_that_hold() {
        let config = config::parse(SITE).unwrap_or_else(|problems| panic!("{problems}"));
        let said: Vec<_> = config.gateway.zstack.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "r1 (vpc red, listen 192.0.2.10:7272, version 5.2.0.0, quiet_s 60, interface eth1 on lan)",
                "r2 (vpc blue, listen 192.0.2.11:7272, version 5.3.1.0, quiet_s 90)",
            ]
        );
    }

    #[test]
    fn agents_that_do_not() {
        for (from, to, expected) in [
            ("id: r2", "id: r1", "zstack.agents[1].id (r1): r1 is the id of"),
            ("id: r2", "id: r.2", "agents[1].id (r.2): r.2 begins the ids of the agent's objects"),
            (
                "id: r2",
                "id: a-name-of-17-chars",
                "agents[1].id (a-name-of-17-chars): a-name-of-17-chars begins",
            ),
            ("vpc: blue", "vpc: red", "agents[1].vpc (r2): red is that of gateway.zstack.agents[0] already"),
            ("192.0.2.11", "192.0.2.10", "agents[1].listen (r2): 192.0.2.10:7272 is that of"),
            ("5.3.1.0", "5.3.1", "agents[1].version (r2): 5.3.1 is no version"),
            ("port: lan", "port: wan", "interfaces[0].port (r1): wan is no id in gateway.ports"),
        ] {
            assert!(SITE.contains(from), "{from}");
            let problems = config::parse(&SITE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
    }
}
