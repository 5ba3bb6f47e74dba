//! The agent at one moment, for people and for Prometheus.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};
use tidegate_zsnp::Refusal;

use crate::{
    bpf::{Count, Programs, Stat},
    core::{Agent, Health},
    host::Inventory,
};

/// Everything that is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Whether shortcuts are wanted on this host.
    pub enabled: bool,
    /// Shortcuts, by network and destination.
    pub shortcuts: Vec<ShortcutRow>,
    /// Ways to other hosts.
    pub paths: Vec<PathRow>,
    /// Devices of bridges.
    pub devices: Vec<DeviceRow>,
    /// Gateways that were heard, and how many seconds ago.
    pub gateways: BTreeMap<Ipv4Addr, u64>,
    /// Counters by name.
    pub counters: BTreeMap<String, u64>,
}

/// A shortcut.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShortcutRow {
    /// Network that packets come from.
    pub from_vni: u32,
    /// Their destination.
    pub destination: Ipv4Addr,
    /// Its network.
    pub to_vni: u32,
    /// Its tunnel end.
    pub vtep: Ipv4Addr,
    /// `active`, `prolonged` while its gateway is silent, or `waiting` for the host to answer.
    pub state: String,
    /// How long it has been there, in s.
    pub since_s: u64,
    /// How long it lasts without renewal, in s.
    pub left_s: u64,
    /// Round trip to its host, in µs.
    pub rtt_us: Option<u32>,
    /// PROBEs to its host that were lost, per thousand.
    pub loss_permille: Option<u16>,
    /// Packets that took it.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
    /// The gateway that granted it.
    pub gateway: Ipv4Addr,
}

/// The way to a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PathRow {
    /// Its tunnel end.
    pub vtep: Ipv4Addr,
    /// `up`, `down`, or `unknown` before the first answer.
    pub state: String,
    /// Since when, in s.
    pub since_s: u64,
    /// Round trip, in µs.
    pub rtt_us: u32,
    /// Its mean deviation, in µs.
    pub jitter_us: u32,
    /// PROBEs lost, per thousand.
    pub loss_permille: u16,
    /// Shortcuts that lead there.
    pub shortcuts: usize,
}

/// A device of a bridge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceRow {
    /// Its name.
    pub device: String,
    /// Its network.
    pub vni: Option<u32>,
    /// The tunnel end of the network on this host.
    pub vtep: Option<Ipv4Addr>,
    /// The program on it, or why there is none.
    pub program: String,
}

/// Takes one.
pub(super) fn take(agent: &Agent, programs: &Programs, host: &Inventory, unsent: u64, now: u64) -> Snapshot {
    let since = |then: u64| now.saturating_sub(then) / 1_000_000_000;
    Snapshot {
        enabled: agent.is_on(),
        shortcuts: shortcuts(agent, programs, now),
        paths: agent
            .paths()
            .map(|(vtep, path)| {
                let quality = path.quality(vtep);
                PathRow {
                    vtep,
                    state: health(path.health).into(),
                    since_s: since(path.since_ns),
                    rtt_us: quality.rtt_us,
                    jitter_us: quality.jitter_us,
                    loss_permille: quality.loss_permille,
                    shortcuts: agent.table().towards(vtep, None).count(),
                }
            })
            .collect(),
        devices: devices(host),
        gateways: agent.gateways().map(|(vtep, heard)| (vtep, since(heard))).collect(),
        counters: {
            let count = |slot| programs.count(slot).unwrap_or_default();
            counters(agent, count, |stat| programs.stat(stat).unwrap_or_default(), unsent)
        },
    }
}

fn shortcuts(agent: &Agent, programs: &Programs, now: u64) -> Vec<ShortcutRow> {
    let s = |ns: u64| ns / 1_000_000_000;
    let quality: BTreeMap<_, _> = agent.paths().map(|(vtep, path)| (vtep, path.quality(vtep))).collect();
    let mut rows: Vec<ShortcutRow> = agent
        .table()
        .iter()
        .map(|held| {
            let grant = &held.grant;
            let count = programs.count(held.slot).unwrap_or_default();
            let path = quality.get(&grant.action.vtep);
            let prolonged = held.expires_ns > held.granted_ns + grant.lifetime_ns;
            ShortcutRow {
                from_vni: grant.matches.vni.get(),
                destination: grant.matches.destination,
                to_vni: grant.action.vni.get(),
                vtep: grant.action.vtep,
                state: if prolonged { "prolonged" } else { "active" }.into(),
                since_s: s(now.saturating_sub(held.since_ns)),
                left_s: s(held.expires_ns.saturating_sub(now)),
                rtt_us: path.map(|path| path.rtt_us),
                loss_permille: path.map(|path| path.loss_permille),
                packets: count.packets,
                bytes: count.bytes,
                gateway: grant.gateway.vtep,
            }
        })
        .collect();
    rows.sort_by_key(|row| (row.from_vni, row.destination));
    rows
}

fn devices(host: &Inventory) -> Vec<DeviceRow> {
    let name = |index: u32| host.link(index).map_or_else(|| index.to_string(), |link| link.name.clone());
    let wanted = host.wanted().into_iter().map(|(index, (side, port))| DeviceRow {
        device: name(index),
        vni: Some(port.vni.get()),
        vtep: Some(port.vtep),
        program: side.to_string(),
    });
    let ignored = host.networks().1.into_iter().map(|(index, why)| DeviceRow {
        device: name(index),
        vni: None,
        vtep: None,
        program: format!("none: {why}"),
    });
    wanted.chain(ignored).collect()
}

/// What a host would get, before anything is attached.
pub(crate) fn planned(host: &Inventory) -> Vec<DeviceRow> {
    devices(host)
}

/// What the agent, its shortcuts and its programs have counted.
pub(super) fn counters(
    agent: &Agent,
    of_slot: impl Fn(u32) -> Count,
    of_programs: impl Fn(Stat) -> Count,
    unsent: u64,
) -> BTreeMap<String, u64> {
    let totals = agent.totals();
    let mut all: BTreeMap<String, u64> = [
        ("shortcuts_installed", totals.installed),
        ("shortcuts_withdrawn", totals.withdrawn),
        ("shortcuts_expired", totals.expired),
        ("shortcuts_unreachable", totals.unreachable),
        ("shortcuts_prolonged", totals.prolonged),
        ("shortcuts_refused", totals.refused),
        ("shortcuts_table_full", totals.table_full),
        ("here_sent", totals.here),
        ("moved_sent", totals.moved),
        ("zsnp_unexpected", totals.unexpected),
        ("zsnp_unsent", unsent),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into();
    let direct = agent.table().iter().map(|held| of_slot(held.slot));
    let (packets, bytes) = direct
        .fold((totals.past.packets, totals.past.bytes), |(p, b), count| (p + count.packets, b + count.bytes));
    all.insert("direct_sent_packets".into(), packets);
    all.insert("direct_sent_bytes".into(), bytes);
    for stat in Stat::ALL {
        let count = of_programs(stat);
        all.insert(format!("{}_packets", stat.label()), count.packets);
        all.insert(format!("{}_bytes", stat.label()), count.bytes);
    }
    for refusal in Refusal::ALL {
        all.insert(format!("zsnp_refused_{}", refusal.label()), agent.refusals().of(refusal));
    }
    all
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Up => "up",
        Health::Down => "down",
    }
}
