//! May a translated connection go on under the present configuration?

use std::net::Ipv4Addr;

use crate::{
    flow::{FlowKey, Program, session::Service},
    table::{
        Tables,
        fib::Hop,
        nat::{Inside, Leave, Owner},
    },
    types::{NetId, VipId, VrfId},
    wire::{ipv4::protocol, translate::Side},
};

/// A translated connection, seen from inside, whichever direction it was found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The VM.
    pub inside: Inside,
    /// Its port or query identifier.
    pub inside_port: u16,
    /// The network that it sends from, as far as it is known.
    pub net: NetId,
    /// The public network.
    pub public: NetId,
    /// The VIP's address.
    pub address: Ipv4Addr,
    /// The port or query identifier there.
    pub port: u16,
    /// The remote.
    pub remote: Ipv4Addr,
    /// Its port; 0 for protocols without ports.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// What translates it.
    pub service: Service,
}

impl Connection {
    /// What an entry with a translation belongs to.
    pub fn of(key: &FlowKey, program: &Program) -> Connection {
        let Program { egress, translation, inside: vrf, .. } = *program;
        let protocol = key.protocol();
        let has_ports = matches!(protocol, protocol::TCP | protocol::UDP);
        let (service, other) = (translation.service(), (translation.address(), translation.port()));
        match translation.side() {
            Side::Source => Connection {
                inside: Inside { vrf, address: key.source() },
                inside_port: key.source_port(),
                net: key.net(),
                public: egress,
                address: other.0,
                port: other.1,
                remote: key.destination(),
                remote_port: if has_ports { key.destination_port() } else { 0 },
                protocol,
                service,
            },
            Side::Destination => Connection {
                inside: Inside { vrf, address: other.0 },
                inside_port: other.1,
                net: egress,
                public: key.net(),
                address: key.destination(),
                port: if protocol == protocol::ICMP { key.source_port() } else { key.destination_port() },
                remote: key.source(),
                remote_port: if has_ports { key.source_port() } else { 0 },
                protocol,
                service,
            },
        }
    }
}

impl Connection {
    /// The VM whose ports and sessions it counts on. Behind the gateway's address that is the backend: clients are too many.
    pub const fn owner(&self) -> Inside {
        match self.service {
            Service::Masked => Inside { vrf: self.inside.vrf, address: self.remote },
            _ => self.inside,
        }
    }
}

/// The address that a connection shows, if the configuration has it still: a VIP, or the gateway's own in a VPC network.
pub fn shown(tables: &Tables, connection: &Connection) -> Option<VipId> {
    let Connection { public, address, inside, .. } = *connection;
    if connection.service != Service::Masked {
        return vip_at(tables, public, address);
    }
    let id = mask(tables, inside.vrf, public)?;
    tables.vip(id).filter(|vip| vip.address == address).map(|_| id)
}

/// The number of our address in a network, where it stands for clients.
pub fn mask(tables: &Tables, vrf: VrfId, net: NetId) -> Option<VipId> {
    tables.vrf(vrf)?.exit.as_deref()?.mask(net)?.vips.first().copied()
}

/// The VIP with this address on a public network.
pub fn vip_at(tables: &Tables, public: NetId, address: Ipv4Addr) -> Option<VipId> {
    let vrf: VrfId = tables.net(public)?.vrf;
    match tables.vrf(vrf)?.fib.lookup(address) {
        Hop::Vip(id) => Some(id),
        _ => None,
    }
}

/// Whether the configuration would still translate a connection so.
pub fn is_legal(tables: &Tables, key: &FlowKey, program: &Program) -> bool {
    let connection = Connection::of(key, program);
    let Some(id) = shown(tables, &connection) else { return false };
    let Some(vip) = tables.vip(id) else { return false };
    if connection.service == Service::Masked {
        return !vip.holds(connection.protocol, connection.port);
    }
    match (vip.owner(connection.protocol, connection.port), connection.service) {
        (Owner::Forward(forward), Service::Forward) => {
            forward.to == connection.inside
                && forward.target_port(connection.port) == connection.inside_port
                && forward.allowed.contains(&connection.remote)
        }
        (Owner::Listener(listener), service) if service == listener.service() => {
            let backend = listener.backend(connection.port, connection.inside, connection.inside_port);
            listener.access.allows(connection.remote) && backend.is_some_and(|backend| backend.keeps)
        }
        (Owner::Snat | Owner::Eip(_), Service::Snat) => {
            let exit = tables.vrf(connection.inside.vrf).and_then(|vrf| vrf.exit.as_deref());
            let leave = exit
                .and_then(|exit| exit.leave(connection.net, connection.inside.address, connection.remote));
            matches!(leave, Some(Leave::Snat(snat)) if snat.may_lease(id, vip))
        }
        _ => false,
    }
}
