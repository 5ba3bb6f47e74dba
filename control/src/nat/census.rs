//! A count of all port blocks, in steps: a gateway may have millions of them, and control has other things to do.

use std::collections::HashMap;

use tidegate_fastpath::{
    nat::{BlockView, VipUsage},
    table::nat::{BLOCK_PORTS, FIRST_PORT, Inside, Space, Vip},
    types::VipId,
};

use crate::{
    config::{self, Config, Id, nat::Service},
    gateway::Gateway,
};

/// Block records per step: each is a cache line, six more where it is in use; a millisecond at most.
const STEP: usize = 2_048;
/// Ports of a VIP and protocol that are not reserved: used, leased, free and held ones together.
pub const PORTS: u32 = 65_536 - FIRST_PORT as u32;

/// Ports in use of each VIP. Made in steps, so its numbers are of several moments.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// The next record.
    next: usize,
    by_vip: HashMap<(VipId, Space), Counted>,
    /// Ports by VM, if they are wanted.
    users: Option<HashMap<(VipId, Space), HashMap<Inside, u32>>>,
}

/// Of one VIP and space, in ports.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    used: u32,
    /// Free, in blocks of VMs.
    leased: u32,
    /// Used, though another service holds them now.
    used_and_held: u32,
}

/// A VIP that SNAT uses.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The VIP.
    pub vip: config::Vip,
    /// Whose it is.
    pub vpc: Id,
}

/// The VIPs that SNAT uses, in the order of the document.
pub fn pools(config: &Config) -> Vec<Pool> {
    let mut vpcs: HashMap<&Id, &Id> = HashMap::new();
    for service in config.services() {
        if let Service::Snat(snat) = service {
            vpcs.extend(snat.vips.iter().map(|vip| (vip, &snat.vpc)));
        }
    }
    let pool = |vip: &config::Vip| {
        let vpc = Id::clone(vpcs.get(&vip.id)?);
        Some(Pool { vip: vip.clone(), vpc })
    };
    config.vips.iter().filter_map(pool).collect()
}

impl Census {
    /// One that also knows the users of each VIP ([`Census::largest`]).
    pub fn with_users() -> Census {
        Census { users: Some(HashMap::new()), ..Census::default() }
    }

    /// Counts on. Returns whether there is more to count. Cost: a millisecond at most.
    pub fn step(&mut self, gateway: &Gateway) -> bool {
        let nat = gateway.nat();
        for block in nat.blocks_among(self.next, STEP) {
            if let Some(vip) = gateway.compiled().tables.vip(block.vip) {
                self.count(vip, &block);
            }
        }
        self.next += STEP;
        self.next < nat.usage().blocks_max
    }

    fn count(&mut self, vip: &Vip, block: &BlockView) {
        let held = vip.held_in(block.space, block.first_port / BLOCK_PORTS);
        let counted = self.by_vip.entry((block.vip, block.space)).or_default();
        counted.used += block.used.count_ones();
        counted.leased += (!(block.used | held)).count_ones();
        counted.used_and_held += (block.used & held).count_ones();
        if let Some(users) = &mut self.users {
            let ports = users.entry((block.vip, block.space)).or_default();
            *ports.entry(block.inside).or_default() += block.used.count_ones();
        }
    }

    /// How full a VIP is.
    pub fn usage(&self, id: VipId, vip: &Vip, space: Space) -> VipUsage {
        let Counted { used, leased, used_and_held } =
            self.by_vip.get(&(id, space)).copied().unwrap_or_default();
        let slices = vip.held.iter().filter(|slice| slice.protocol == space.protocol());
        let ports = slices
            .map(|slice| (u32::from(slice.last) + 1).saturating_sub(slice.first.max(FIRST_PORT).into()));
        let held = ports.sum::<u32>().saturating_sub(used_and_held);
        let free = PORTS.saturating_sub(used + leased + held);
        VipUsage { used, leased, free, held }
    }

    /// The VMs that use most ports of a VIP, with how many, at most `count`; the largest first. None without
    /// [`Census::with_users`].
    pub fn largest(&self, id: VipId, space: Space, count: usize) -> Vec<(Inside, u32)> {
        let ports = self.users.as_ref().and_then(|users| users.get(&(id, space)));
        let mut users: Vec<_> = ports.into_iter().flatten().map(|(vm, ports)| (*vm, *ports)).collect();
        users.sort_unstable_by_key(|(vm, ports)| (u32::MAX - ports, vm.vrf, vm.address));
        users.truncate(count);
        users
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tidegate_fastpath::types::Nanos;

    use super::*;
    use crate::config::parse;

    const HELD: &str = "
gateway:
  ports: [{ id: wan, device: net_null0 }]
  limits: { nat_blocks: 5000 }
public_networks: [{ id: internet, port: wan, cidr: 203.0.113.0/24 }]
vpc_routers: [{ id: red }]
vpc_networks: [{ id: a, vpc: red, cidr: 10.1.0.0/16, gateway: 10.1.0.1, vlan: { port: wan, id: 7 } }]
vips: [{ id: one, public_network: internet, address: 203.0.113.9 }, { id: none, public_network: internet, address: 203.0.113.10 }]
snats: [{ id: out, vpc: red, vips: [one] }]
port_forwards:
  - { id: low, vip: one, protocol: tcp, ports: 1000-1100, vpc: red, address: 10.1.0.9, target_ports: 1000-1100 }
  - { id: high, vip: one, protocol: tcp, ports: 65535, vpc: red, address: 10.1.0.9, target_ports: 22 }
";

    #[test]
    fn a_census_says_what_the_ports_themselves_say() {
        let config = parse(HELD).unwrap_or_else(|why| panic!("{why}"));
        let pools: Vec<String> =
            pools(&config).iter().map(|pool| format!("{} {}", pool.vip.id, pool.vpc)).collect();
        assert_eq!(pools, ["one red"]);
        let (gateway, _workers) = Gateway::new(config, HashMap::new(), Nanos(0), 1).unwrap();
        let tables = &gateway.compiled().tables;
        let id = gateway.desired().vip(&Id::new("one").unwrap()).unwrap();
        let vrf = gateway.desired().vrf(&config::TableKey::Vpc(Id::new("red").unwrap())).unwrap();
        let vip = tables.vip(id).unwrap();
        let snat = tables.vrf(vrf).unwrap().exit.as_ref().unwrap().rest.clone().unwrap();
        for n in 0..200u16 {
            let address = Ipv4Addr::new(10, 1, 1, n as u8);
            let mut vm = gateway.nat().vm(Inside { vrf, address }).unwrap();
            for port in 0..=n {
                vm.lease(&tables.vips, &snat, Space::Tcp, port, u64::from(n) << 40 | u64::from(port))
                    .unwrap();
            }
        }
        let mut census = Census::with_users();
        let mut steps = 1;
        while census.step(&gateway) {
            steps += 1;
        }
        assert_eq!(steps, 3, "5000 records in steps of {STEP}");
        for space in Space::ALL {
            let usage = census.usage(id, vip, space);
            assert_eq!(usage, gateway.nat().vip_usage(id, vip, space), "{space:?}");
            assert_eq!(usage.used + usage.leased + usage.free + usage.held, PORTS);
        }
        let usage = census.usage(id, vip, Space::Tcp);
        assert_eq!((usage.used, usage.held), ((1..=200).sum(), 1100 - 1024 + 1 + 1));
        let largest = census.largest(id, Space::Tcp, 2);
        let vm = |n| Inside { vrf, address: Ipv4Addr::new(10, 1, 1, n) };
        assert_eq!(largest, [(vm(199), 200), (vm(198), 199)]);
    }
}
