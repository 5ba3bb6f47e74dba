//! The scenarios as OpenFlow for Open vSwitch in user space: the same addresses, neighbours and translation.
//!
//! Two bridges, as OVS wants them for tunnels: `int` decides; `phy` is the underlay, whose own port has the address of the
//! tunnel end, and hands frames between it and the wire. What comes and goes without tunnel is on `int`.

use std::{fmt::Write, net::Ipv4Addr};

use tidegate_fastpath::types::MacAddr;

use super::{
    Name, Parameters, eip,
    inward::{self, Service},
    ip4,
    lb_in::LbIn,
    packet::{self, Host},
    pf_in,
    vpc::{self, Side, Vpc},
    world,
};

/// Longest frame of a tenant, FCS included, that fits a port of OVS with its tunnel headers: its `net_pcap` ports take no MTU
/// but 1500.
const FRAME_MAX: usize = 1450;
/// Most flows: the frames of a capture stay in mbufs, of which OVS has at most 262,144.
const FLOWS_MAX: u32 = 200_000;

/// A configuration of OVS. OpenFlow numbers of ports: 1 is where frames arrive, 2 where they leave, 3 the tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ovs {
    /// Whether frames arrive in tunnels, so at `phy`.
    pub from_tunnel: bool,
    /// Whether they leave in tunnels, so from `phy`.
    pub to_tunnel: bool,
    /// Flows of `int`, OpenFlow 1.3, one a line.
    pub flows: String,
    /// Meters of `int`, one a line.
    pub meters: String,
    /// Hosts of the underlay.
    pub neighbours: Vec<(Ipv4Addr, MacAddr)>,
}

impl Ovs {
    /// Our address on the underlay, with its prefix length.
    pub const UNDERLAY: (Ipv4Addr, u8) = (vpc::OUR_VTEP, 16);
    /// Our MAC there.
    pub const UNDERLAY_MAC: MacAddr = vpc::OUR_UNDERLAY_MAC;

    /// Where frames leave in tunnels these are hosts of VMs.
    fn new(from_tunnel: bool, to_tunnel: bool) -> Ovs {
        let (flows, meters, neighbours) = (String::new(), String::new(), Vec::new());
        Ovs { from_tunnel, to_tunnel, flows, meters, neighbours }
    }

    fn flow(&mut self, matching: &str, actions: &str) {
        let _ = writeln!(self.flows, "{matching},actions={actions}");
    }

    /// Takes what is for our MAC, and does something with it first.
    fn arriving(&mut self, mac: MacAddr, actions: &str) {
        let from = match self.from_tunnel {
            true => format!("in_port=3,tun_id={}", vpc::VNIS[Side::Senders as usize]),
            false => "in_port=1".to_owned(),
        };
        self.flow(&format!("table=0,{from},dl_dst={mac},ip"), actions);
    }

    /// Routes to a next hop on the wire.
    fn plain(&mut self, matching: &str, first: &str, (source, destination): (MacAddr, MacAddr)) {
        let actions =
            format!("{first}dec_ttl,set_field:{source}->eth_src,set_field:{destination}->eth_dst,output:2");
        self.flow(&format!("table=1,ip{matching}"), &actions);
    }

    /// A limit that drops nothing, as ours; returns the action for it.
    fn meter(&mut self, number: u8) -> String {
        let _ = writeln!(
            self.meters,
            "meter={number},kbps,burst,stats,band=type=drop,rate=400000000,burst_size=4000000000"
        );
        format!("meter:{number},")
    }

    /// Routes to the router of the world.
    fn world(&mut self) {
        self.plain("", "", (world::OUR_MAC, world::UPSTREAM.mac));
    }

    /// Routes to VMs behind their hosts.
    fn tunnelled(&mut self, vms: impl Iterator<Item = Host>, side: Side) {
        let (vni, source) = (vpc::VNIS[side as usize], vpc::gateway_mac(side));
        // What came by the tunnels leaves by them.
        let output = if self.from_tunnel { "in_port" } else { "output:3" };
        for Host { ip, mac } in vms {
            let (remote, host_mac) = vpc::compute_host(Host { ip, mac });
            let actions = format!(
                "dec_ttl,set_field:{source}->eth_src,set_field:{mac}->eth_dst,set_field:{vni}->tun_id,\
                 set_field:{remote}->tun_dst,{output}"
            );
            self.flow(&format!("table=1,ip,nw_dst={ip}"), &actions);
            if !self.neighbours.contains(&(remote, host_mac)) {
                self.neighbours.push((remote, host_mac));
            }
        }
    }
}

/// Through the table of connections, then to the routes.
const TRACK: &str = "ct(commit,zone=1,table=1)";
/// To the routes.
const ROUTE: &str = "resubmit(,1)";

/// The configuration of a scenario.
///
/// # Errors
/// Why OVS cannot do it here, in a few words.
pub fn ovs(name: Name, parameters: &Parameters) -> Result<Ovs, &'static str> {
    if parameters.frames.largest() > FRAME_MAX {
        return Err("whose ports for captures take frames of at most 1500 bytes with all headers");
    }
    if parameters.flows > FLOWS_MAX {
        return Err("which has too few mbufs for a frame of each flow");
    }
    if parameters.vpcs > 1 {
        return Err("for which only one VPC is written");
    }
    let vpc = Vpc { senders: parameters.sources, receivers: parameters.destinations, vpcs: 1 };
    let (inside, ip4_mac) = (vpc::gateway_mac(Side::Senders), ip4::GATEWAY_MACS[0]);
    let snat = format!("ct(commit,zone=1,nat(src={}),table=1)", super::snat::RANGE);
    match name {
        Name::Ip4 | Name::Session if parameters.routes == 1 => {
            let mut made = Ovs::new(false, false);
            made.arriving(ip4_mac, if name == Name::Session { TRACK } else { ROUTE });
            made.plain("", "", (ip4::GATEWAY_MACS[1], ip4::next_hop(0).mac));
            Ok(made)
        }
        Name::VxlanVxlan => {
            let mut made = Ovs::new(true, true);
            made.arriving(inside, ROUTE);
            made.tunnelled(vpc.vms(Side::Receivers), Side::Receivers);
            Ok(made)
        }
        Name::VxlanIp => {
            let mut made = Ovs::new(true, false);
            made.arriving(inside, ROUTE);
            for Host { ip, mac } in vpc.vms(Side::Receivers) {
                made.plain(&format!(",nw_dst={ip}"), "", (vpc::gateway_mac(Side::Receivers), mac));
            }
            Ok(made)
        }
        Name::Snat | Name::VxlanSnat | Name::VxlanSnatQos => {
            let mut made = Ovs::new(name != Name::Snat, false);
            made.arriving(inside, &snat);
            if name == Name::VxlanSnatQos {
                for n in 0..super::snat::VIPS {
                    let (vip, meter) = (super::snat::vip(n), made.meter(n + 1));
                    made.plain(&format!(",nw_src={vip}"), &meter, (world::OUR_MAC, world::UPSTREAM.mac));
                }
            } else {
                made.world();
            }
            Ok(made)
        }
        Name::Eip => {
            let mut made = Ovs::new(true, false);
            made.arriving(inside, ROUTE);
            for (n, Host { ip, .. }) in (0..).zip(vpc.vms(Side::Senders)) {
                let first = format!("set_field:{}->ip_src,", eip::public(n));
                made.plain(&format!(",nw_src={ip}"), &first, (world::OUR_MAC, world::UPSTREAM.mac));
            }
            Ok(made)
        }
        Name::PfIn | Name::PfInQos => {
            let mut made = Ovs::new(false, true);
            let meter = if name == Name::PfInQos { made.meter(1) } else { String::new() };
            for (port, Host { ip, .. }) in (pf_in::FIRST_PORT..).zip(vpc.vms(Side::Senders)) {
                let (mac, public, to) = (world::OUR_MAC, inward::PUBLIC, pf_in::PortForward::INNER_PORT);
                made.flow(
                    &format!("table=0,in_port=1,dl_dst={mac},udp,nw_dst={public},tp_dst={port}"),
                    &format!("{meter}ct(commit,zone=1,nat(dst={ip}:{to}),table=1)"),
                );
            }
            made.tunnelled(vpc.vms(Side::Senders), Side::Senders);
            Ok(made)
        }
        Name::Ip4 | Name::Session => Err("for which only the default route is written"),
        Name::LbIn => {
            // Its groups pick other backends than our hash, once per connection; here it looks up what ours picks.
            let (mut made, service) = (Ovs::new(false, true), LbIn::new(vpc));
            let (mac, public, port) = (world::OUR_MAC, inward::PUBLIC, service.port(0));
            let listener = format!("table=0,in_port=1,dl_dst={mac},udp,nw_dst={public},tp_dst={port}");
            made.flow(&listener, "ct(zone=1,nat,table=2)");
            made.flow("table=2,priority=40000,ct_state=+est+trk,ip", ROUTE);
            for flow in 0..parameters.flows {
                let Ok(vm) = service.vm(flow) else { return Err("for which there is no backend") };
                made.flow(
                    &format!("table=2,ct_state=+new+trk,udp,nw_src={}", packet::world_address(flow)),
                    &format!("ct(commit,zone=1,nat(dst={}:{}),table=1)", vm.ip, LbIn::INNER_PORT),
                );
            }
            made.tunnelled(vpc.vms(Side::Senders), Side::Senders);
            Ok(made)
        }
        Name::LbInFullNat => Err("for which two translations of a packet are not written"),
        Name::VxlanSnatColour => Err("whose meters know no colours"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::FrameSize;

    #[test]
    fn what_ovs_cannot_show_says_why() {
        let usual = Parameters::default();
        let can = |name: &Name| ovs(*name, &usual).is_ok();
        let not: Vec<Name> = Name::ALL.into_iter().filter(|name| !can(name)).collect();
        assert_eq!(not, [Name::VxlanSnatColour, Name::LbInFullNat]);
        assert!(ovs(Name::Ip4, &Parameters { routes: 2, ..usual }).is_err());
        assert!(ovs(Name::Ip4, &Parameters { frames: FrameSize::Imix, ..usual }).is_err());
        assert!(ovs(Name::Ip4, &Parameters { flows: 1_000_000, ..usual }).is_err());
    }

    #[test]
    fn every_receiver_has_a_flow_and_every_host_a_neighbour() {
        let made = ovs(Name::VxlanVxlan, &Parameters { destinations: 65, ..Parameters::default() }).unwrap();
        assert_eq!(made.flows.matches("nw_dst=").count(), 65);
        assert_eq!(made.neighbours.len(), 64);
        let made = ovs(Name::PfIn, &Parameters { sources: 3, ..Parameters::default() }).unwrap();
        assert_eq!(made.flows.matches("nat(dst=").count(), 3, "{}", made.flows);
        assert!(ovs(Name::Snat, &Parameters::default()).unwrap().flows.contains("nat(src="));
    }
}
