//! The scenarios as a configuration of the Linux kernel: the same addresses, neighbours and translation.

use std::fmt::Write;

use super::{
    Name, Parameters,
    packet::Host,
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
    let vpc = Vpc { senders: parameters.sources, receivers: parameters.destinations };
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
        Name::VxlanSnat => {
            made.underlay();
            made.tunnel(Side::Senders);
            made.world();
        }
        Name::Ip4
        | Name::Session
        | Name::Eip
        | Name::PfIn
        | Name::LbIn
        | Name::VxlanSnatQos
        | Name::PfInQos => return None,
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

    /// A public network behind `out`, and SNAT to 40 of its addresses.
    fn world(&mut self) {
        self.out(&world::OUR_MAC.to_string(), "203.0.113.2/24");
        let Host { ip, mac } = world::UPSTREAM;
        self.line(&format!("route add default via {ip}"));
        self.line(&format!("neighbour replace {ip} lladdr {mac} dev out"));
        self.nft = "\
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname \"out\" snat to 203.0.113.100-203.0.113.139
    }
}
"
        .to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_cannot_show_has_no_configuration() {
        let usual = Parameters::default();
        let has = Name::ALL.map(|name| linux(name, &usual).is_some());
        assert_eq!(has, [true, false, true, true, true, true, false, false, false, false, false]);
        assert_eq!(linux(Name::Ip4, &Parameters { routes: 2, ..usual }), None);
    }

    #[test]
    fn every_receiver_has_a_neighbour_and_a_way_through_its_tunnel() {
        let made = linux(Name::VxlanVxlan, &Parameters { destinations: 3, ..Parameters::default() }).unwrap();
        assert_eq!(made.fdb.lines().count(), 3);
        assert_eq!(made.ip.matches(" dev vx201").count(), 3 + 2, "{}", made.ip);
        assert!(linux(Name::Snat, &Parameters::default()).unwrap().nft.contains("snat to"));
    }
}
