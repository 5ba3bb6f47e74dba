//! `show nat`: sessions, bindings, pools.

use std::{net::Ipv4Addr, vec::IntoIter};

use ipnet::Ipv4Net;
use tidegate_fastpath::{
    flow::{
        FlowView, FlowWalk,
        session::{TcpSeen, TcpState},
    },
    nat::BlockView,
    stage::translation::{Connection, vip_at},
    table::nat::{BLOCK_PORTS, Inside, Space},
    types::{VipId, VrfId},
    wire::{ipv4::protocol, translate::Side},
};

use super::{Output, STEP, Scope, Source, table_name};
use crate::{
    config::Id,
    gateway::Gateway,
    nat::{Census, Pool, pools, protocol_name, protocol_of, service_name},
    show::{BindingRow, Filter, MappingRow, PoolRow, SessionRow, UserRow},
};

/// Largest users of a VIP that are named.
const LARGEST: usize = 5;
/// VIPs per step.
const VIPS_STEP: usize = 256;
/// The states of [`TcpState::label`].
const STATES: [TcpState; 5] =
    [TcpState::Opening, TcpState::Established, TcpState::HalfClosed, TcpState::Closing, TcpState::Reset];

/// Which rows.
pub(super) struct Wanted {
    vpc: Option<VrfId>,
    inside: End,
    public: End,
    remote: End,
    protocol: Option<u8>,
    state: Option<TcpState>,
}

/// Addresses, and perhaps one port of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    net: Option<Ipv4Net>,
    port: Option<u16>,
}

impl Wanted {
    pub(super) fn new(gateway: &Gateway, filter: &Filter, scope: &Scope) -> Result<Wanted, String> {
        let end = |text: &Option<String>| {
            let read = |text: &String| End::parse(text, |_| None);
            text.as_ref().map(read).transpose().map(Option::unwrap_or_default)
        };
        let vip = |name: &str| {
            let vip = gateway.desired().config().vips.iter().find(|vip| vip.id.as_str() == name)?;
            Some(vip.address)
        };
        let public = filter.public.as_ref().map(|text| End::parse(text, vip));
        let protocol = filter.protocol.as_deref().map(|name| {
            protocol_of(name)
                .ok_or_else(|| format!("`{name}` is no protocol; give tcp, udp, icmp or a number"))
        });
        let state = filter.state.as_deref().map(|name| {
            let names = || STATES.map(TcpState::label).join(", ");
            let found = STATES.into_iter().find(|state| state.label() == name);
            found.ok_or_else(|| format!("`{name}` is no TCP state; give one of {}", names()))
        });
        Ok(Wanted {
            vpc: scope.table,
            inside: end(&filter.inside)?,
            public: public.transpose()?.unwrap_or_default(),
            remote: end(&filter.remote)?,
            protocol: protocol.transpose()?,
            state: state.transpose()?,
        })
    }

    fn has_vpc(&self, vrf: VrfId) -> bool {
        self.vpc.is_none_or(|vpc| vpc == vrf)
    }

    fn has_protocol(&self, protocol: u8) -> bool {
        self.protocol.is_none_or(|p| p == protocol)
    }

    fn has_connection(&self, of: &Connection) -> bool {
        self.has_vpc(of.inside.vrf)
            && self.has_protocol(of.protocol)
            && self.inside.has(of.inside.address, of.inside_port)
            && self.public.has(of.address, of.port)
            && self.remote.has(of.remote, of.remote_port)
    }
}

impl End {
    /// `address`, `address/length`, `address:port`, or a name that `named` knows instead of the address.
    fn parse(text: &str, named: impl Fn(&str) -> Option<Ipv4Addr>) -> Result<End, String> {
        let bad = || format!("`{text}` is no address, subnet or address:port");
        let (addresses, port) = match text.split_once(':') {
            Some((addresses, port)) => (addresses, Some(port.parse().map_err(|_| bad())?)),
            None => (text, None),
        };
        let subnet = || addresses.parse::<Ipv4Net>().ok();
        let address = || addresses.parse().ok().or_else(|| named(addresses)).map(Ipv4Net::from);
        let net = subnet().or_else(address).ok_or_else(bad)?;
        Ok(End { net: Some(net), port })
    }

    fn has_address(&self, address: Ipv4Addr) -> bool {
        self.net.is_none_or(|net| net.contains(&address))
    }

    fn has(&self, address: Ipv4Addr, port: u16) -> bool {
        self.has_address(address) && self.port.is_none_or(|p| p == port)
    }
}

/// One step over the sessions; returns whether there is more. A session is shown by its inward entry, which is the first
/// to come and the last to go.
pub(super) fn sessions(
    from: &mut Source<'_>,
    wanted: &Wanted,
    walk: &mut FlowWalk,
    output: &mut Output,
) -> bool {
    let mut found = Vec::new();
    let more = from.gateway.flows().step(walk, STEP, |flow| {
        let translation = flow.program.translation;
        if translation.is_session() && translation.side() == Side::Destination {
            let connection = Connection::of(&flow.key, &flow.program);
            if wanted.has_connection(&connection) {
                found.push((connection, flow));
            }
        }
    });
    let now = from.now;
    let all = found.into_iter().all(|(connection, inward)| {
        let outward = inward.key.answer(inward.program.egress, inward.program.translation);
        let outward = from.gateway.flows().find(&outward);
        let state = state(&connection, &inward, outward.as_ref());
        if wanted.state.is_some() && wanted.state != state {
            return true;
        }
        let age = |flow: &FlowView| now.tick().age_since(flow.last_seen);
        let idle = outward.as_ref().map_or(u32::MAX, age).min(age(&inward));
        let gateway = &*from.gateway;
        let vip = vip_at(&gateway.compiled().tables, connection.public, connection.address);
        output.push(&SessionRow {
            vpc: table_name(gateway, connection.inside.vrf),
            inside: connection.inside.address,
            inside_port: connection.inside_port,
            vip: vip.and_then(|id| gateway.desired().vip_key(id)).map(Id::to_string),
            public: connection.address,
            public_port: connection.port,
            remote: connection.remote,
            remote_port: connection.remote_port,
            protocol: protocol_name(connection.protocol),
            service: service_name(connection.service).to_owned(),
            state: state.map(|state| state.label().to_owned()),
            packets_out: outward.map_or(0, |flow| flow.packets),
            bytes_out: outward.map_or(0, |flow| flow.bytes),
            packets_in: inward.packets,
            bytes_in: inward.bytes,
            idle_s: super::ms(idle) / 1_000,
        })
    });
    more && all
}

/// The state of a TCP connection.
fn state(of: &Connection, inward: &FlowView, outward: Option<&FlowView>) -> Option<TcpState> {
    let other = outward.map_or_else(TcpSeen::default, |flow| flow.seen);
    (of.protocol == protocol::TCP).then(|| TcpState::of(inward.seen, other))
}

/// One step over the port blocks; returns whether there is more.
pub(super) fn bindings(
    from: &mut Source<'_>,
    wanted: &Wanted,
    next: &mut usize,
    output: &mut Output,
) -> bool {
    let gateway = &*from.gateway;
    let tables = &gateway.compiled().tables;
    let is_wanted = |block: &BlockView| {
        let public = tables.vip(block.vip).map(|vip| vip.address);
        let last = block.first_port + (BLOCK_PORTS - 1);
        let has_inside = |port| block.mappings().any(|(inside, _)| inside == port);
        wanted.has_vpc(block.inside.vrf)
            && wanted.has_protocol(block.space.protocol())
            && wanted.inside.has_address(block.inside.address)
            && wanted.inside.port.is_none_or(has_inside)
            && (wanted.public.net.is_none() || public.is_some_and(|public| wanted.public.has_address(public)))
            && wanted.public.port.is_none_or(|port| (block.first_port..=last).contains(&port))
    };
    let mut blocks = gateway.nat().blocks_among(*next, STEP).filter(is_wanted);
    let all = blocks.all(|block| output.push(&binding(gateway, &block)));
    *next += STEP;
    all && *next < gateway.nat().usage().blocks_max
}

fn binding(gateway: &Gateway, block: &BlockView) -> BindingRow {
    let mapping = |(inside_port, public_port)| MappingRow { inside_port, public_port };
    BindingRow {
        vpc: table_name(gateway, block.inside.vrf),
        inside: block.inside.address,
        vip: gateway.desired().vip_key(block.vip).map(Id::to_string),
        public: gateway.compiled().tables.vip(block.vip).map(|vip| vip.address),
        protocol: protocol_name(block.space.protocol()),
        first_port: block.first_port,
        last_port: block.first_port + (BLOCK_PORTS - 1),
        used: block.used.count_ones(),
        sessions: block.sessions,
        mappings: block.mappings().map(mapping).collect(),
    }
}

/// How far the pools are: counting blocks, then VIPs one by one.
pub(super) struct PoolWalk {
    census: Census,
    /// The VIPs that are left, once all blocks are counted.
    vips: Option<IntoIter<Pool>>,
}

impl Default for PoolWalk {
    fn default() -> PoolWalk {
        PoolWalk { census: Census::with_users(), vips: None }
    }
}

/// One step over the VIPs of SNAT; returns whether there is more.
pub(super) fn vips(from: &mut Source<'_>, wanted: &Wanted, walk: &mut PoolWalk, output: &mut Output) -> bool {
    let gateway = &*from.gateway;
    let Some(vips) = &mut walk.vips else {
        if !walk.census.step(gateway) {
            walk.vips = Some(pools(gateway.desired().config()).into_iter());
        }
        return true;
    };
    let some: Vec<Pool> = vips.take(VIPS_STEP).collect();
    let rows = some.iter().flat_map(|pool| {
        let id = gateway.desired().vip(&pool.vip.id);
        let vip = id.and_then(|id| Some((id, gateway.compiled().tables.vip(id)?)));
        let spaces = Space::ALL.into_iter().filter(|space| wanted.has_protocol(space.protocol()));
        let census = &walk.census;
        spaces.filter_map(move |space| {
            let (id, vip) = vip?;
            let usage = census.usage(id, vip, space);
            Some(PoolRow {
                vip: pool.vip.id.to_string(),
                public: pool.vip.address,
                network: pool.vip.public_network.to_string(),
                vpc: pool.vpc.to_string(),
                protocol: protocol_name(space.protocol()),
                used: usage.used,
                leased: usage.leased,
                free: usage.free,
                held: usage.held,
                largest: largest(gateway, census, id, space),
            })
        })
    });
    let vpc = wanted.vpc.map(|vrf| table_name(gateway, vrf));
    let mut rows = rows.filter(|row| {
        vpc.as_ref().is_none_or(|vpc| *vpc == row.vpc) && wanted.public.has_address(row.public)
    });
    rows.all(|row| output.push(&row)) && vips.len() > 0
}

fn largest(gateway: &Gateway, census: &Census, id: VipId, space: Space) -> Vec<UserRow> {
    let row =
        |(vm, ports): (Inside, u32)| UserRow { vpc: table_name(gateway, vm.vrf), inside: vm.address, ports };
    census.largest(id, space, LARGEST).into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_address_a_subnet_or_one_port_of_an_address() {
        let vip = |name: &str| (name == "shared").then_some(Ipv4Addr::new(203, 0, 113, 93));
        let end = |text| End::parse(text, vip);
        let net = |text: &str| Some(text.parse::<Ipv4Net>().unwrap());
        for (text, expected) in [
            ("10.1.1.7", End { net: net("10.1.1.7/32"), port: None }),
            ("10.1.0.0/16", End { net: net("10.1.0.0/16"), port: None }),
            ("10.1.1.7:80", End { net: net("10.1.1.7/32"), port: Some(80) }),
            ("shared:443", End { net: net("203.0.113.93/32"), port: Some(443) }),
        ] {
            assert_eq!(end(text), Ok(expected), "{text}");
        }
        for text in ["", ":80", "10.1.1", "10.1.1.7:", "10.1.1.7:65536", "other"] {
            assert!(end(text).is_err(), "{text}");
        }
        let end = end("10.1.0.0/16").unwrap();
        assert!(end.has(Ipv4Addr::new(10, 1, 9, 9), 1) && !end.has(Ipv4Addr::new(10, 2, 0, 0), 1));
    }
}
