//! The scenarios as command lines of VPP: the same addresses, neighbours and translation. VPP is in no package of Debian 12: none of this
//! was run. Its words are those of VPP 22.06 to 25.10, as its command reference has them.

use std::{fmt::Write, net::Ipv4Addr};

use tidegate_fastpath::types::MacAddr;

use super::{
    Name, Parameters, eip,
    inward::{self, Service},
    ip4,
    lb_in::LbIn,
    packet::{Host, world_address},
    pf_in::{self, PortForward},
    snat,
    vpc::{self, Side, Vpc},
    world,
};

/// A configuration of VPP, whatever its two interfaces are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpp {
    /// Our MAC on the interface where frames arrive, and on that where they leave; `None` where they leave by the former.
    pub macs: (MacAddr, Option<MacAddr>),
    /// The rest, a command a line.
    lines: String,
}

/// What the interfaces are called in [`Vpp::lines`]: no word of VPP's has these signs.
const ARRIVE: &str = "<arrive>";
const LEAVE: &str = "<leave>";
/// Sessions beside those of the flows.
const SPARE_SESSIONS: u32 = 1000;

impl Vpp {
    /// The command lines, for interfaces with these names that are there and have their MACs.
    pub fn lines(&self, arrive: &str, leave: &str) -> String {
        let leave = if self.macs.1.is_some() { leave } else { arrive };
        self.lines.replace(ARRIVE, arrive).replace(LEAVE, leave)
    }

    fn between(arrive: MacAddr, leave: Option<MacAddr>) -> Vpp {
        Vpp { macs: (arrive, leave), lines: String::new() }
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.lines, "{line}");
    }

    /// An interface with an address, and hosts behind it.
    fn network(&mut self, interface: &str, address: &str, hosts: impl Iterator<Item = Host>) {
        self.line(&format!("set interface state {interface} up"));
        self.line(&format!("set interface ip address {interface} {address}"));
        self.hosts(interface, hosts);
    }

    fn hosts(&mut self, interface: &str, hosts: impl Iterator<Item = Host>) {
        hosts.for_each(|Host { ip, mac }| {
            self.line(&format!("set ip neighbor {interface} {ip} {mac} static"))
        });
    }

    /// The public network, and the router to the world.
    fn world(&mut self, interface: &str) {
        self.network(interface, "203.0.113.2/24", std::iter::once(world::UPSTREAM));
        self.line(&format!("ip route add 0.0.0.0/0 via {} {interface}", world::UPSTREAM.ip));
    }

    /// A network of VMs in tunnels: a bridge of the tunnels to their hosts, and an interface of ours in it. The underlay is `interface`. Returns
    /// the name of ours.
    fn tunnels(&mut self, interface: &str, vpc: Vpc, side: Side) -> String {
        let (vni, mac, ours) = (vpc::VNIS[side as usize], vpc::gateway_mac(side), vpc::OUR_VTEP);
        let name = format!("loop{vni}");
        self.line(&format!("create bridge-domain {vni} learn 0 flood 0 uu-flood 0 arp-term 1"));
        self.line(&format!("create loopback interface mac {mac} instance {vni}"));
        self.line(&format!("set interface l2 bridge {name} {vni} bvi"));
        let mut known = Vec::new();
        for vm in vpc.vms(side) {
            let (remote, host_mac) = vpc::compute_host(vm);
            let number = known.iter().position(|host| *host == remote).unwrap_or(known.len());
            let tunnel = format!("vxlan_tunnel{}", vni * 1000 + number as u32);
            if number == known.len() {
                known.push(remote);
                self.hosts(interface, std::iter::once(Host { ip: remote, mac: host_mac }));
                let instance = vni * 1000 + number as u32;
                self.line(&format!(
                    "create vxlan tunnel src {ours} dst {remote} vni {vni} instance {instance}"
                ));
                self.line(&format!("set interface l2 bridge {tunnel} {vni} 1"));
            }
            self.line(&format!("l2fib add {} {vni} {tunnel} static", vm.mac));
        }
        self.network(&name, &format!("{}/17", vpc::address(side)), vpc.vms(side));
        name
    }

    /// The underlay.
    fn underlay(&mut self, interface: &str) {
        self.network(interface, &format!("{}/16", vpc::OUR_VTEP), std::iter::empty());
    }

    /// The VMs where frames arrive, in tunnels or not. Returns the interface.
    fn senders(&mut self, vpc: Vpc, in_tunnel: bool) -> String {
        if in_tunnel {
            self.underlay(ARRIVE);
            return self.tunnels(ARRIVE, vpc, Side::Senders);
        }
        self.network(ARRIVE, &format!("{}/17", vpc::address(Side::Senders)), vpc.vms(Side::Senders));
        ARRIVE.to_owned()
    }

    /// Translation between two interfaces, with room for the sessions of so many flows.
    fn translate(&mut self, flows: u32, inside: &str, outside: &str) {
        self.line(&format!("nat44 plugin enable sessions {}", flows + SPARE_SESSIONS));
        self.line(&format!("set interface nat44 in {inside} out {outside}"));
    }

    /// A service of the public address, which the world reaches where frames arrive, for VMs in tunnels.
    fn inward(&mut self, vpc: Vpc, flows: u32) {
        self.world(ARRIVE);
        self.underlay(LEAVE);
        let inside = self.tunnels(LEAVE, vpc, Side::Senders);
        self.translate(flows, &inside, ARRIVE);
        self.line(&format!("nat44 add address {}", inward::PUBLIC));
    }
}

/// The configuration of a scenario.
///
/// # Errors
/// Why there is none, in a few words.
pub fn vpp(name: Name, parameters: &Parameters) -> Result<Vpp, &'static str> {
    if parameters.vpcs > 1 {
        return Err("for which only one VPC is written");
    }
    let Parameters { flows, sources, destinations, routes, .. } = *parameters;
    let vpc = Vpc { senders: sources, receivers: destinations, vpcs: 1 };
    let underlay = vpc::OUR_UNDERLAY_MAC;
    match name {
        Name::Ip4 => {
            let mut made = Vpp::between(ip4::GATEWAY_MACS[0], Some(ip4::GATEWAY_MACS[1]));
            made.network(ARRIVE, "10.1.0.254/24", std::iter::empty());
            made.network(LEAVE, "10.2.0.254/24", (0..ip4::NEXT_HOPS).map(ip4::next_hop));
            let mut route = |to: &str, n| {
                made.line(&format!("ip route add {to} via {} {LEAVE}", ip4::next_hop(n).ip));
            };
            if routes == 1 {
                route("0.0.0.0/0", 0);
            } else {
                (0..routes).for_each(|n| route(&format!("{}/32", world_address(n)), n));
            }
            Ok(made)
        }
        Name::VxlanVxlan => {
            let mut made = Vpp::between(underlay, None);
            made.senders(vpc, true);
            made.tunnels(ARRIVE, vpc, Side::Receivers);
            Ok(made)
        }
        Name::VxlanIp => {
            let mut made = Vpp::between(underlay, Some(vpc::gateway_mac(Side::Receivers)));
            made.senders(vpc, true);
            let address = format!("{}/17", vpc::address(Side::Receivers));
            made.network(LEAVE, &address, vpc.vms(Side::Receivers));
            Ok(made)
        }
        Name::Snat | Name::VxlanSnat => {
            let in_tunnel = name == Name::VxlanSnat;
            let mac = if in_tunnel { underlay } else { vpc::gateway_mac(Side::Senders) };
            let mut made = Vpp::between(mac, Some(world::OUR_MAC));
            let inside = made.senders(vpc, in_tunnel);
            made.world(LEAVE);
            made.translate(flows, &inside, LEAVE);
            let [first, last] = [0, snat::VIPS - 1].map(snat::vip);
            made.line(&format!("nat44 add address {first} - {last}"));
            Ok(made)
        }
        Name::Eip => {
            let mut made = Vpp::between(underlay, Some(world::OUR_MAC));
            let inside = made.senders(vpc, true);
            made.world(LEAVE);
            made.translate(flows, &inside, LEAVE);
            for (n, Host { ip, .. }) in (0..).zip(vpc.vms(Side::Senders)) {
                made.line(&format!("nat44 add static mapping local {ip} external {}", eip::public(n)));
            }
            Ok(made)
        }
        Name::PfIn => {
            let mut made = Vpp::between(world::OUR_MAC, Some(underlay));
            made.inward(vpc, flows);
            let (public, to) = (inward::PUBLIC, PortForward::INNER_PORT);
            for (port, Host { ip, .. }) in (pf_in::FIRST_PORT..).zip(vpc.vms(Side::Senders)) {
                made.line(&format!("nat44 add static mapping udp local {ip} {to} external {public} {port}"));
            }
            Ok(made)
        }
        Name::LbIn => {
            let mut made = Vpp::between(world::OUR_MAC, Some(underlay));
            made.inward(vpc, flows);
            let (public, to) = (format!("{}:{}", inward::PUBLIC, LbIn::PORT), LbIn::INNER_PORT);
            let backends: Vec<Ipv4Addr> = vpc.vms(Side::Senders).map(|vm| vm.ip).collect();
            // It begins with two.
            let Some((first, more)) = backends.split_at_checked(2) else {
                return Err("whose load balancing wants two backends at least");
            };
            let first: String =
                first.iter().map(|backend| format!(" local {backend}:{to} probability 1")).collect();
            made.line(&format!(
                "nat44 add load-balancing static mapping protocol udp external {public}{first}"
            ));
            for backend in more {
                made.line(&format!(
                    "nat44 add load-balancing back-end protocol udp external {public} local {backend}:{to} probability 1"
                ));
            }
            Ok(made)
        }
        Name::Session => Err("for which connections without translation are not written"),
        Name::VxlanSnatQos | Name::PfInQos | Name::VxlanSnatColour => {
            Err("whose policers are of interfaces, not of public addresses")
        }
        Name::LbInFullNat => Err("for which two translations of a packet are not written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_for_vpp_says_why() {
        let usual = Parameters::default();
        let not: Vec<Name> = Name::ALL.into_iter().filter(|name| vpp(*name, &usual).is_err()).collect();
        let limits = [Name::VxlanSnatQos, Name::PfInQos, Name::VxlanSnatColour];
        assert_eq!(not, [&[Name::Session], &limits[..], &[Name::LbInFullNat]].concat());
        assert!(vpp(Name::VxlanVxlan, &Parameters { vpcs: 2, ..usual }).is_err());
    }

    #[test]
    fn every_line_names_interfaces_that_are_there() {
        let some = Parameters { flows: 5, sources: 70, destinations: 66, ..Parameters::default() };
        for name in Name::ALL {
            let Ok(made) = vpp(name, &some) else { continue };
            let lines = made.lines("pg0", "pg1");
            assert!(!lines.contains('<'), "{name}: {lines}");
            assert_eq!(lines.contains("pg1"), made.macs.1.is_some(), "{name}: {lines}");
            let mut made_here = vec!["pg0".to_owned(), "pg1".to_owned()];
            for line in lines.lines() {
                let words: Vec<&str> = line.split(' ').collect();
                let after = |word| words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1));
                match &words[..2] {
                    ["create", "loopback"] => made_here.push(format!("loop{}", after("instance").unwrap())),
                    ["create", "vxlan"] => {
                        made_here.push(format!("vxlan_tunnel{}", after("instance").unwrap()))
                    }
                    ["set", "interface"] | ["set", "ip"] | ["l2fib", "add"] => {
                        let named = |word: &&&str| made_here.iter().any(|made| made == **word);
                        assert!(words.iter().filter(named).count() > 0, "{name}: {line}");
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn every_vm_is_behind_its_tunnel_and_has_its_service() {
        let some = Parameters { flows: 5, sources: 70, destinations: 66, ..Parameters::default() };
        let count =
            |name: Name, what: &str| vpp(name, &some).unwrap().lines("in", "out").matches(what).count();
        assert_eq!(count(Name::VxlanVxlan, "l2fib add"), 70 + 66);
        // 64 hosts on each side.
        assert_eq!(count(Name::VxlanVxlan, "create vxlan tunnel"), 2 * 64);
        assert_eq!(count(Name::Eip, "static mapping local"), 70);
        assert_eq!(count(Name::PfIn, "static mapping udp"), 70);
        assert_eq!(count(Name::LbIn, "probability 1"), 70);
        assert_eq!(count(Name::VxlanSnat, "203.0.113.100 - 203.0.113.139"), 1);
        let routes = Parameters { routes: 20, flows: 20, ..Parameters::default() };
        assert_eq!(
            vpp(Name::Ip4, &routes).unwrap().lines("in", "out").matches("/32 via 10.2.0.").count(),
            20
        );
    }
}
