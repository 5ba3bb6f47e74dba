//! What control publishes and workers read. [`Tables`] is immutable: control builds a new one aside and publishes it
//! whole ([`publish`]); workers load it once per burst. What changes too often for that (a neighbour's MAC, its VTEP) is in
//! the shared [`neighbour::NeighbourTable`], behind an index.

pub mod balance;
pub mod fib;
pub mod lane;
pub mod nat;
pub mod neighbour;
pub mod publish;
pub mod vni;

use std::{net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;

use self::{
    balance::Departed,
    fib::Fib,
    lane::Lanes,
    nat::{Exit, Logged, Quotas, Vip},
    vni::VniTable,
};
use crate::{
    policer::{LimitedNic, Policing},
    types::{MacAddr, Mtu, NetId, PortId, Vid, VipId, Vni, VrfId, VtepId},
};

/// One generation of the compiled configuration.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Counts publications; shown as "generation N is live".
    pub generation: u64,
    /// By [`PortId`].
    pub ports: Vec<Port>,
    /// By [`NetId`]; entry 0 ([`NetId::NONE`]) and the entries of removed networks are `None`.
    pub nets: Vec<Option<Arc<Net>>>,
    /// By [`VrfId`]; entries of removed routing tables are `None`.
    pub vrfs: Vec<Option<Arc<Vrf>>>,
    /// Our own tunnel ends, by [`VtepId`]; at most [`VTEPS_MAX`].
    pub vteps: Vec<Vtep>,
    /// (VTEP, VNI) to network.
    pub vnis: VniTable,
    /// Public addresses, by [`VipId`]; entries of removed ones are `None`.
    pub vips: Vec<Option<Arc<Vip>>>,
    /// Backends of listeners that are gone, and had connections.
    pub departed: Arc<[Departed]>,
    /// What the session log wants to know.
    pub logged: Logged,
    /// Rate limits.
    pub policing: Policing,
    /// What of all this established flows need; see [`Tables::with_lanes`].
    pub lanes: Lanes,
}

/// Most tunnel ends on one gateway (one per VXLAN pool).
pub const VTEPS_MAX: usize = 64;

impl Tables {
    /// The last step of building tables: derives the lanes from the rest.
    pub fn with_lanes(self) -> Tables {
        Tables { lanes: Lanes::of(&self), ..self }
    }

    /// The network of this id.
    #[inline]
    pub fn net(&self, id: NetId) -> Option<&Net> {
        self.nets.get(id.index())?.as_deref()
    }

    /// The tunnel end that a VXLAN network sends from.
    pub fn vtep_of(&self, net: &Net) -> Option<&Vtep> {
        match net.link {
            Link::Vxlan { vtep, .. } => self.vteps.get(vtep.index()),
            Link::Port { .. } => None,
        }
    }

    /// The routing table of this id.
    #[inline]
    pub fn vrf(&self, id: VrfId) -> Option<&Vrf> {
        self.vrfs.get(id.index())?.as_deref()
    }

    /// The public address of this id.
    pub fn vip(&self, id: VipId) -> Option<&Vip> {
        self.vips.get(id.index())?.as_deref()
    }
}

/// A port: which network its untagged and tagged frames belong to.
#[derive(Clone, Debug)]
pub struct Port {
    /// The network of untagged and priority-tagged frames.
    pub untagged: NetId,
    /// By VLAN id (4096 entries), [`NetId::NONE`] where nothing is attached; `None` for a port without tagged networks.
    pub vlans: Option<Arc<[NetId]>>,
}

/// One network as the gateway is attached to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// The routing table that its packets are looked up in.
    pub vrf: VrfId,
    /// Our MAC on it.
    pub mac: MacAddr,
    /// Largest IP packet it carries.
    pub mtu: Mtu,
    /// Its addresses. A connected route for it is in the FIB.
    pub prefix: Ipv4Net,
    /// Our addresses on it, sorted; the first configured one is [`Net::address`].
    pub addresses: Box<[Ipv4Addr]>,
    /// Source of our ICMP errors and ARP requests here; `None` where we own no address (ARP then probes, RFC 5227).
    pub address: Option<Ipv4Addr>,
    /// How frames get there.
    pub link: Link,
}

impl Net {
    /// Whether we own `ip` on this network.
    pub fn owns(&self, ip: Ipv4Addr) -> bool {
        self.addresses.binary_search(&ip).is_ok()
    }
}

/// How frames of a network travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Plain Ethernet on a port, 802.1Q-tagged where `vlan` is given.
    Port {
        /// The port.
        port: PortId,
        /// The tag.
        vlan: Option<Vid>,
    },
    /// VXLAN from one of our tunnel ends.
    Vxlan {
        /// Ours.
        vtep: VtepId,
        /// The network's.
        vni: Vni,
    },
}

/// One of our tunnel ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vtep {
    /// Our address on the underlay.
    pub address: Ipv4Addr,
    /// UDP port, both ways (4789 by RFC 7348; Linux and ZStack hosts use 8472).
    pub udp_port: u16,
    /// The underlay network that owns the address; a [`Link::Port`].
    pub underlay: NetId,
}

/// A routing table.
#[derive(Clone, Debug)]
pub struct Vrf {
    /// Bumped when a policy of this VRF changes; flow entries of another generation are decided again.
    pub generation: u32,
    /// Whether packets of this VRF use flow entries (`true`), or are decided one by one (`false`). The one place that says
    /// which path a VPC takes; see `docs/adr/`.
    pub tracked: bool,
    /// Longest prefix match.
    pub fib: Arc<Fib>,
    /// How its packets leave to public networks; `None` where nothing translates.
    pub exit: Option<Arc<Exit>>,
    /// Bounds of its translated sessions.
    pub quotas: Quotas,
    /// NICs with rate limits, sorted by address.
    pub limited: Arc<[LimitedNic]>,
}

impl Vrf {
    /// The limits of the NIC with this address. Cost: a binary search.
    pub fn limited(&self, address: Ipv4Addr) -> Option<&LimitedNic> {
        let at = self.limited.binary_search_by_key(&address, |nic| nic.address).ok()?;
        Some(&self.limited[at])
    }
}
