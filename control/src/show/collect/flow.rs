//! `show flows`.

use tidegate_fastpath::{
    flow::{FlowView, FlowWalk},
    table::neighbour::Reach,
    types::Nanos,
};

use super::{Output, STEP, Scope, Source, net_name};
use crate::{gateway::Gateway, show::FlowRow};

/// One step; returns whether there is more.
pub(super) fn flows(from: &mut Source<'_>, scope: &Scope, walk: &mut FlowWalk, output: &mut Output) -> bool {
    let mut found = Vec::new();
    let more = from.gateway.flows().step(walk, STEP, |flow| found.push(flow));
    let gateway = &*from.gateway;
    let mut wanted = found.iter().filter(|flow| scope.has_net(gateway, flow.key.net()));
    let all = wanted.all(|flow| output.push(&row(gateway, flow, from.now)));
    more && all
}

fn row(gateway: &Gateway, flow: &FlowView, now: Nanos) -> FlowRow {
    let adjacency = match gateway.machine().table().reach(flow.program.next) {
        Reach::Resolved(adjacency) => Some(adjacency),
        Reach::Incomplete | Reach::Failed | Reach::Gone => None,
    };
    FlowRow {
        network: net_name(gateway, flow.key.net()),
        source: flow.key.source(),
        source_port: flow.key.source_port(),
        destination: flow.key.destination(),
        destination_port: flow.key.destination_port(),
        protocol: flow.key.protocol(),
        egress: net_name(gateway, flow.program.egress),
        mac: adjacency.map(|a| a.mac.to_string()),
        vtep: adjacency.and_then(|a| a.tunnel).map(|(vtep, _)| vtep),
        packets: flow.packets,
        bytes: flow.bytes,
        idle_ms: super::ms(now.tick().age_since(flow.last_seen)),
    }
}
