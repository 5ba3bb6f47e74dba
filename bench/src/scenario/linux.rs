//! The scenarios as a configuration of the Linux kernel: the same addresses, neighbours and translation.

use std::{fmt::Write, net::Ipv4Addr};

use super::{
    Name, Parameters, eip,
    inward::{self, Service},
    lb_in::LbIn,
    packet::{self, Host},
    pf_in::{self, PortForward},
    snat,
    vpc::{self, Side, Vpc},
    world,
};

/// A network namespace's configuration. Frames arrive on the TAP `in`; what is forwarded leaves by `out`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linux {
    /// MAC of `in`.
    pub mac: [u8; 6],
    /// For `ip -batch -`.
    pub ip: String,
    /// For `bridge -batch -`.
    pub fdb: String,
    /// For `nft -f -`.
    pub nft: String,
}

/// The configuration of a scenario; `None` where the kernel has nothing like it here.
pub fn linux(name: Name, parameters: &Parameters) -> Option<Linux> {
    if parameters.vpcs > 1 {
        return None;
    }
    let vpc = Vpc { senders: parameters.sources, receivers: parameters.destinations, vpcs: 1 };
    let mut made = Linux {
        mac: vpc::OUR_UNDERLAY_MAC.octets(),
        ip: String::new(),
        fdb: String::new(),
        nft: String::new(),
    };
    let plain = vpc::gateway_mac(Side::Senders).octets();
    match name {
        Name::Ip4 if parameters.routes == 1 => {
            made.line("address add 10.1.0.254/24 dev in");
            made.out("02:00:00:00:00:02", "10.2.0.254/24");
            made.line("route add default via 10.2.0.1");
            made.line("neighbour replace 10.2.0.1 lladdr 02:00:00:02:00:01 dev out");
        }
        Name::VxlanVxlan => {
            made.underlay();
            made.tunnel(Side::Senders);
            made.tunnel(Side::Receivers);
            vpc.vms(Side::Receivers).for_each(|vm| made.remote(vm, Side::Receivers));
        }
        Name::VxlanIp => {
            made.underlay();
            made.tunnel(Side::Senders);
            made.out(&vpc::gateway_mac(Side::Receivers).to_string(), "10.1.128.254/17");
            vpc.vms(Side::Receivers).for_each(|Host { ip, mac }| {
                made.line(&format!("neighbour replace {ip} lladdr {mac} dev out"));
            });
        }
        Name::Snat => {
            made.mac = plain;
            made.line("address add 10.1.0.254/17 dev in");
            made.world();
        }
        Name::VxlanSnat | Name::VxlanSnatQos => {
            made.underlay();
            made.tunnel(Side::Senders);
            made.world();
            if name == Name::VxlanSnatQos {
                made.limit("postrouting priority 200", "saddr", (0..snat::VIPS).map(snat::vip));
            }
        }
        Name::Eip => {
            made.underlay();
            made.tunnel(Side::Senders);
            made.upstream();
            let vms = (0..).zip(vpc.vms(Side::Senders));
            let eips: Vec<_> = vms.map(|(n, vm)| format!("{} : {}", vm.ip, eip::public(n))).collect();
            made.source_nat(&format!("ip saddr map {{ {} }}", eips.join(", ")));
        }
        Name::PfIn | Name::PfInQos => {
            let vms = (pf_in::FIRST_PORT..).zip(vpc.vms(Side::Senders));
            let to = |(port, vm): (u16, Host)| format!("{port} : {} . {}", vm.ip, PortForward::INNER_PORT);
            let forwards: Vec<_> = vms.map(to).collect();
            made.inward(vpc, &format!("udp dport map {{ {} }}", forwards.join(", ")));
            if name == Name::PfInQos {
                made.limit("prerouting priority -200", "daddr", std::iter::once(inward::PUBLIC));
            }
        }
        Name::LbIn => {
            // The kernel's own hash picks other backends than ours. It picks once per connection; here it looks up what ours picks.
            let service = LbIn::new(vpc);
            let to = |flow| {
                let vm = service.vm(flow).ok()?;
                Some(format!("{} : {} . {}", packet::world_address(flow), vm.ip, LbIn::INNER_PORT))
            };
            let picks: Vec<_> = (0..parameters.flows).filter_map(to).collect();
            made.inward(vpc, &format!("ip saddr map {{ {} }}", picks.join(", ")));
        }
        Name::Ip4 | Name::Session | Name::VxlanSnatColour | Name::LbInFullNat => return None,
    }
    Some(made)
}

impl Linux {
    fn line(&mut self, line: &str) {
        self.ip += line;
        self.ip.push('\n');
    }

    /// A bridge without ports: it counts what it is given, and drops it.
    fn out(&mut self, mac: &str, address: &str) {
        self.line(&format!("link set dev out address {mac}"));
        self.line(&format!("address add {address} dev out"));
    }

    /// Frames come in by `in`, and leave by `out` to the hosts.
    fn underlay(&mut self) {
        self.line(&format!("link set dev out address {}", vpc::OUR_UNDERLAY_MAC));
        self.line("address add 172.31.255.1/32 dev in");
        self.line("route add 172.31.0.0/16 dev out");
    }

    fn tunnel(&mut self, side: Side) {
        let (vni, mac) = (vpc::VNIS[side as usize], vpc::gateway_mac(side));
        let (address, prefix) = (vpc::address(side), 17);
        self.line(&format!(
            "link add vx{vni} address {mac} mtu 8900 type vxlan id {vni} local 172.31.255.1 dstport 4789 \
             srcport 49152 65535 nolearning noudpcsum"
        ));
        self.line(&format!("link set dev vx{vni} up"));
        self.line(&format!("address add {address}/{prefix} dev vx{vni}"));
    }

    /// A VM behind its host.
    fn remote(&mut self, vm: Host, side: Side) {
        let (vni, Host { ip, mac }) = (vpc::VNIS[side as usize], vm);
        let (remote, host_mac) = vpc::compute_host(vm);
        self.line(&format!("neighbour replace {ip} lladdr {mac} dev vx{vni}"));
        self.line(&format!("neighbour replace {remote} lladdr {host_mac} dev out"));
        let _ = writeln!(self.fdb, "fdb replace {mac} dev vx{vni} dst {remote}");
    }

    /// A public network behind `out`.
    fn upstream(&mut self) {
        self.out(&world::OUR_MAC.to_string(), "203.0.113.2/24");
        let Host { ip, mac } = world::UPSTREAM;
        self.line(&format!("route add default via {ip}"));
        self.line(&format!("neighbour replace {ip} lladdr {mac} dev out"));
    }

    /// The same, and SNAT to 40 of its addresses.
    fn world(&mut self) {
        self.upstream();
        self.source_nat(&format!("{}-{}", snat::vip(0), snat::vip(snat::VIPS - 1)));
    }

    fn source_nat(&mut self, to: &str) {
        self.nft = format!(
            "table ip nat {{\n chain postrouting {{\n type nat hook postrouting priority srcnat;\n \
             oifname \"out\" snat to {to}\n }}\n}}\n"
        );
    }

    /// The public network at `in`, a service of the public address there, and VMs behind their tunnels.
    fn inward(&mut self, vpc: Vpc, to: &str) {
        self.mac = world::OUR_MAC.octets();
        self.underlay();
        self.line("address add 203.0.113.2/24 dev in");
        self.line(&format!("route add default via {}", world::UPSTREAM.ip));
        self.tunnel(Side::Senders);
        vpc.vms(Side::Senders).for_each(|vm| self.remote(vm, Side::Senders));
        self.nft = format!(
            "table ip nat {{\n chain prerouting {{\n type nat hook prerouting priority dstnat;\n \
             ip daddr {} meta l4proto udp dnat ip to {to}\n }}\n}}\n",
            inward::PUBLIC
        );
    }

    /// A limit for each of some addresses, beside the rest: the highest that nft knows, far above what passes here.
    fn limit(&mut self, hook: &str, field: &str, addresses: impl Iterator<Item = Ipv4Addr> + Clone) {
        let named = addresses.clone().zip(0..);
        let limits: String = named
            .clone()
            .map(|(_, n)| format!(" limit l{n} {{ rate over 8000 mbytes/second burst 1000 mbytes }}\n"))
            .collect();
        let by_address: Vec<_> = named.map(|(address, n)| format!("{address} : \"l{n}\"")).collect();
        let _ = writeln!(
            self.nft,
            "table ip qos {{\n{limits} chain limits {{\n type filter hook {hook};\n \
             limit name ip {field} map {{ {} }} drop\n }}\n}}",
            by_address.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_cannot_show_has_no_configuration() {
        let usual = Parameters::default();
        let cannot = |name: &Name| linux(*name, &usual).is_none();
        let not: Vec<Name> = Name::ALL.into_iter().filter(cannot).collect();
        assert_eq!(not, [Name::Session, Name::VxlanSnatColour, Name::LbInFullNat]);
        assert_eq!(linux(Name::VxlanVxlan, &Parameters { vpcs: 2, ..usual }), None);
        assert_eq!(linux(Name::Ip4, &Parameters { routes: 2, ..usual }), None);
    }

    #[test]
    fn every_receiver_has_a_neighbour_and_a_way_through_its_tunnel() {
        let made = linux(Name::VxlanVxlan, &Parameters { destinations: 3, ..Parameters::default() }).unwrap();
        assert_eq!(made.fdb.lines().count(), 3);
        assert_eq!(made.ip.matches(" dev vx201").count(), 3 + 2, "{}", made.ip);
        assert!(linux(Name::Snat, &Parameters::default()).unwrap().nft.contains("snat to"));
        let made = linux(Name::LbIn, &Parameters { flows: 7, ..Parameters::default() }).unwrap();
        assert_eq!(made.nft.matches(" . 8080").count(), 7, "{}", made.nft);
        let made = linux(Name::VxlanSnatQos, &Parameters::default()).unwrap();
        assert_eq!(made.nft.matches("rate over").count(), 40, "{}", made.nft);
    }
}
