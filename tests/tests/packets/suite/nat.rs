//! Address translation: a site with each service, and a file per question about it.

mod error;
mod forward;
mod fragment;
mod life;
mod quota;
mod snat;

use super::*;

/// Services of `red`: SNAT and port forwards on .93, VM 10.1.1.8 with .94 to itself.
pub(super) const SERVICES: &str = "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
  - { id: whole, public_network: public, address: 203.0.113.94 }
snats:
  - { id: out, vpc: red, vips: [shared] }
eips:
  - { id: one, vip: whole, vpc: red, address: 10.1.1.8 }
port_forwards:
  - { id: ssh, vip: shared, protocol: tcp, ports: 2222-2224, vpc: red, address: 10.1.2.9, target_ports: 22-24 }
  - { id: near, vip: shared, protocol: udp, ports: 5353, vpc: red, address: 10.1.2.9, target_ports: 53, allowed_cidr: 198.51.100.0/24 }
";

pub(super) fn services(with: &str) -> String {
    format!("{SITE}{with}")
}

/// A gateway with [`SERVICES`], VM 10.1.1.7 behind SNAT, VM 10.1.2.9 behind forwards, the router upstream.
pub(super) fn nat() -> (Gateway, Station, Station, Station) {
    nat_with(SERVICES)
}

pub(super) fn nat_with(services_text: &str) -> (Gateway, Station, Station, Station) {
    nat_on(&services(services_text))
}

/// The same on a whole document.
pub(super) fn nat_on(config: &str) -> (Gateway, Station, Station, Station) {
    let mut gw = Gateway::start(config, crate::WORKERS);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    let up = gw.vm("public", "203.0.113.1", HOST1);
    gw.take_moved();
    (gw, a, b, up)
}

/// Sends a packet to the world; returns the port or identifier of the shared address that it came out with.
pub(super) fn out(gw: &mut Gateway, from: &Station, packet: &str) -> u16 {
    let words = gw.from(from, packet).words();
    let [frame] = &words[..] else { panic!("{packet}: {words:?}") };
    let after = |mark: &str| {
        let rest = frame.rsplit_once(mark)?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let port = if packet.starts_with("icmp") { after(" id=") } else { after("203.0.113.93:") };
    port.unwrap_or_else(|| panic!("no public port in {frame}"))
}
