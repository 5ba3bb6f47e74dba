//! Makes a frame of random bytes more plausible: what a fuzzer cannot guess (our MACs, checksums, lengths) is set right, what
//! it can is left alone.

use tidegate_fastpath::{
    table::{Link, Tables},
    types::PortId,
    wire::checksum,
};

const ETHERNET: usize = 14;
const TAG: usize = 4;
const UDP: usize = 8;
const VXLAN: usize = 8;

/// Mends a frame that arrives on `port`.
pub(super) fn mend(bytes: &mut [u8], tables: &Tables, port: PortId) {
    let Some(kind) = bytes.get(12..14) else { return };
    let tagged = kind == [0x81, 0];
    let vid = bytes.get(14..16).filter(|_| tagged).map(|t| u16::from_be_bytes([t[0] & 0x0f, t[1]]));
    let is_it = |link: Link| matches!(link, Link::Port { port: p, vlan } if p == port && vlan.map(|v| v.get()) == vid.filter(|v| *v != 0));
    let Some(net) = tables.nets.iter().flatten().find(|net| is_it(net.link)) else { return };
    to_us(bytes, net.mac.octets());
    let at = ETHERNET + if tagged { TAG } else { 0 };
    if is_ipv4(bytes, at)
        && let Some(packet) = bytes.get_mut(at..)
    {
        ipv4(packet, tables, true);
    }
}

/// Mends an IPv4 packet without a frame around it.
pub(super) fn packet(bytes: &mut [u8], tables: &Tables) {
    ipv4(bytes, tables, false);
}

/// Unless the group bit is set.
fn to_us(bytes: &mut [u8], mac: [u8; 6]) {
    if bytes[0] & 1 == 0 {
        bytes[..6].copy_from_slice(&mac);
    }
    bytes[6] &= !1;
}

fn is_ipv4(bytes: &[u8], at: usize) -> bool {
    bytes.get(at - 2..at) == Some(&[8, 0])
}

/// Sets version, lengths and checksums of an IPv4 packet; of a VXLAN packet to one of our tunnel ends, also what is inside.
fn ipv4(packet: &mut [u8], tables: &Tables, outer: bool) {
    if packet.len() < 20 {
        return;
    }
    let words = usize::from(packet[0] & 0x0f).clamp(5, packet.len() / 4);
    packet[0] = 0x40 | words as u8;
    let header = words * 4;
    let stated = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let total = if (header..=packet.len()).contains(&stated) { stated } else { packet.len() };
    put(packet, 2, total as u16);
    let (head, segment) = packet[..total].split_at_mut(header);
    let later = u16::from_be_bytes([head[6], head[7]]) & 0x1fff != 0;
    match head[9] {
        17 if !later && segment.len() >= UDP => {
            let len = u16::from_be_bytes([segment[4], segment[5]]);
            if usize::from(len) < UDP || usize::from(len) > segment.len() {
                put(segment, 4, segment.len() as u16);
            }
            let port = u16::from_be_bytes([segment[2], segment[3]]);
            let ours = tables.vteps.iter().position(|v| v.udp_port == port);
            if let Some(vtep) = ours.filter(|_| outer) {
                head[16..20].copy_from_slice(&tables.vteps[vtep].address.octets());
                head[6] &= 0x40;
                head[7] = 0;
                put(segment, 6, 0);
                tunnelled(&mut segment[UDP..], tables, vtep);
            }
        }
        1 if !later && segment.len() >= 8 => {
            put(segment, 2, 0);
            let sum = checksum::of(segment);
            put(segment, 2, sum);
        }
        _ => {}
    }
    put(packet, 10, 0);
    let sum = checksum::of(&packet[..header]);
    put(packet, 10, sum);
}

/// A VXLAN header and what follows; a VNI that nobody has becomes one of ours.
fn tunnelled(bytes: &mut [u8], tables: &Tables, vtep: usize) {
    if bytes.len() < VXLAN + ETHERNET {
        return;
    }
    bytes[0] |= 0x08;
    let ours = tables.nets.iter().flatten().filter_map(|net| match net.link {
        Link::Vxlan { vtep: v, vni } if v.index() == vtep => Some((vni.get(), net.mac)),
        _ => None,
    });
    let ours: Vec<_> = ours.collect();
    let vni = u32::from_be_bytes([0, bytes[4], bytes[5], bytes[6]]);
    let Some((vni, mac)) =
        ours.iter().find(|(v, _)| *v == vni).or(ours.get(vni as usize % ours.len().max(1)))
    else {
        return;
    };
    bytes[4..7].copy_from_slice(&vni.to_be_bytes()[1..]);
    let frame = &mut bytes[VXLAN..];
    to_us(frame, mac.octets());
    if is_ipv4(frame, ETHERNET) {
        ipv4(&mut frame[ETHERNET..], tables, false);
    }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
