//! The bytes that the agent and its BPF programs share: `bpf/map.h`, field by field. Numbers are in the order of the machine,
//! addresses and ports as on the wire.

use std::net::Ipv4Addr;

use tidegate_zsnp::{Mac, Vni};

/// How the MAC of every agent begins; the address of its tunnel end follows. Local and unicast (IEEE 802 §8.2), never a
/// gateway's: hosts learn it behind the agent's own tunnel end, and whoever gets a packet from it knows who sent it.
pub const AGENT_MAC: [u8; 2] = [0x5a, 0x53];

/// The MAC of the agent at this tunnel end.
pub fn agent_mac(vtep: Ipv4Addr) -> Mac {
    let [a, b, c, d] = vtep.octets();
    Mac([AGENT_MAC[0], AGENT_MAC[1], a, b, c, d])
}

/// The tunnel end of the agent with this MAC.
pub fn agent_of(mac: Mac) -> Option<Ipv4Addr> {
    match mac.0 {
        [m0, m1, a, b, c, d] if [m0, m1] == AGENT_MAC => Some(Ipv4Addr::new(a, b, c, d)),
        _ => None,
    }
}

/// `struct port`: what a program must know of the device it is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Network of the device.
    pub vni: Vni,
    /// This host's tunnel end in it.
    pub vtep: Ipv4Addr,
    /// UDP port of VXLAN.
    pub udp_port: u16,
}

impl Port {
    pub(super) fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.vni.get().to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.vtep.octets());
        bytes[8..10].copy_from_slice(&self.udp_port.to_be_bytes());
        bytes[10..].copy_from_slice(&agent_mac(self.vtep).0);
        bytes
    }
}

/// `struct pair`: a network that packets come from, and the address they go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// Where the packet enters the overlay.
    pub vni: Vni,
    /// Its destination.
    pub address: Ipv4Addr,
}

impl Pair {
    /// None is before it.
    pub const FIRST: Pair = Pair {
        vni: match Vni::new(1) {
            Ok(vni) => vni,
            Err(_) => unreachable!(),
        },
        address: Ipv4Addr::UNSPECIFIED,
    };

    pub(super) fn bytes(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.vni.get().to_ne_bytes());
        bytes[4..].copy_from_slice(&self.address.octets());
        bytes
    }
}

/// `struct shortcut`: what is done with a packet of a [`Pair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// No packet takes it from then on, in ns since boot (`CLOCK_BOOTTIME`).
    pub expires_ns: u64,
    /// Network of the destination.
    pub vni: Vni,
    /// Tunnel end of the destination's host; 0.0.0.0 where that is this host.
    pub vtep: Ipv4Addr,
    /// Index of the interface that leads there, or to the VM.
    pub underlay: u32,
    /// Of its counters.
    pub slot: u32,
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    /// Only frames for this MAC.
    pub gateway: Mac,
    /// The destination's.
    pub vm: Mac,
}

impl Rule {
    pub(super) fn bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.expires_ns.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.vni.get().to_ne_bytes());
        bytes[12..16].copy_from_slice(&self.vtep.octets());
        bytes[16..20].copy_from_slice(&self.underlay.to_ne_bytes());
        bytes[20..24].copy_from_slice(&self.slot.to_ne_bytes());
        bytes[24..28].copy_from_slice(&self.mtu.to_ne_bytes());
        bytes[28..34].copy_from_slice(&self.gateway.0);
        bytes[34..].copy_from_slice(&self.vm.0);
        bytes
    }
}

/// `struct vm`.
pub(super) fn vm_bytes(vni: Vni, mac: Mac) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&vni.get().to_ne_bytes());
    bytes[4..10].copy_from_slice(&mac.0);
    bytes
}

/// `struct count`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// On the wire: segments of what the VM handed over as one count each.
    pub packets: u64,
    /// Of IP packets.
    pub bytes: u64,
}

impl Count {
    pub(super) fn of(bytes: [u8; 16]) -> Count {
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        Count { packets: number(0), bytes: number(8) }
    }

    pub(super) fn add(self, other: Count) -> Count {
        Count { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

/// `enum stat`: what the programs count of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Stat {
    /// A VM sent ZSNP; dropped.
    ZsnpForged = 0,
    /// ZSNP from a tunnel, taken off before the bridge.
    ZsnpTaken,
    /// ZSNP from a tunnel that found the agent's ring full; dropped.
    ZsnpLost,
    /// Came from another agent's shortcut.
    DirectReceived,
    /// Came from another agent's shortcut, for a VM that is not here.
    StrayReceived,
    /// Longer than the shortcut allows; went the ordinary way.
    TooLong,
    /// The shortcut had expired; went the ordinary way.
    Expired,
    /// The kernel gave no room for headers.
    EncapFailed,
}

impl Stat {
    /// All of them, by number.
    pub const ALL: [Stat; 8] = [
        Stat::ZsnpForged,
        Stat::ZsnpTaken,
        Stat::ZsnpLost,
        Stat::DirectReceived,
        Stat::StrayReceived,
        Stat::TooLong,
        Stat::Expired,
        Stat::EncapFailed,
    ];

    /// Its name in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Stat::ZsnpForged => "zsnp_forged",
            Stat::ZsnpTaken => "zsnp_taken",
            Stat::ZsnpLost => "zsnp_lost",
            Stat::DirectReceived => "direct_received",
            Stat::StrayReceived => "stray_received",
            Stat::TooLong => "too_long",
            Stat::Expired => "expired",
            Stat::EncapFailed => "encap_failed",
        }
    }
}

/// `struct event`: a frame that a program hands to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// ZSNP that came out of the tunnel of this interface, whole.
    Zsnp {
        /// The VXLAN device.
        ifindex: u32,
        /// From the Ethernet header on.
        frame: Vec<u8>,
    },
    /// The headers of a direct packet whose VM is not here.
    Stray {
        /// The VXLAN device.
        ifindex: u32,
        /// Ethernet and IPv4 header.
        frame: Vec<u8>,
    },
}

impl Event {
    /// `None` for what no program writes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Event> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let (kind, ifindex, len) = (word(0)?, word(4)?, word(8)?);
        let frame = bytes.get(16..16 + usize::try_from(len).ok()?)?.to_vec();
        match kind {
            1 => Some(Event::Zsnp { ifindex, frame }),
            2 => Some(Event::Stray { ifindex, frame }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_mac_is_local_unicast_and_names_its_tunnel_end() {
        let vtep = Ipv4Addr::new(10, 172, 11, 12);
        let mac = agent_mac(vtep);
        assert_eq!(mac.0[0] & 3, 2);
        assert_eq!((agent_of(mac), agent_of(Mac([2, 0x53, 10, 172, 11, 12]))), (Some(vtep), None));
    }
}
