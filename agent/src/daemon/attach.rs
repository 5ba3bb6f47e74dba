//! The programs follow the devices of the host, and the map of VMs its bridges.

use std::collections::BTreeMap;

use tidegate_zsnp::{Mac, Vni};
use tracing::{info, warn};

use crate::{
    bpf::{Port, Programs, Side},
    core::{Uplink, View},
    host::{Inventory, Netlink, remove_clsact},
};

/// What of the host is in the kernel.
#[derive(Debug, Default)]
pub(super) struct Follower {
    wanted: BTreeMap<u32, (Side, Port)>,
    vms: BTreeMap<(Vni, Mac), u32>,
}

impl Follower {
    /// Attaches, detaches and tells the programs of VMs, as the host is now. Returns what the core must know of it.
    pub(super) async fn follow(
        &mut self,
        host: &Inventory,
        programs: &mut Programs,
        netlink: &Netlink,
    ) -> View {
        let wanted = host.wanted();
        let gone: Vec<u32> =
            self.wanted.keys().filter(|index| !wanted.contains_key(index)).copied().collect();
        for index in gone {
            detach(index, programs, netlink).await;
        }
        for (index, (side, port)) in &wanted {
            if self.wanted.get(index) == Some(&(*side, *port)) {
                continue;
            }
            let Some(link) = host.link(*index) else { continue };
            match programs.attach(*index, &link.name, *side, *port) {
                Ok(()) => info!(device = link.name, vni = %port.vni, "attached {side}"),
                Err(why) => warn!(device = link.name, "cannot attach {side}: {why}"),
            }
        }
        self.wanted = wanted;
        self.follow_vms(host, programs);
        View { networks: networks(host), vms: self.vms.clone() }
    }

    fn follow_vms(&mut self, host: &Inventory, programs: &mut Programs) {
        let vms = host.vms();
        for (vni, mac) in self.vms.keys().filter(|vm| !vms.contains_key(vm)) {
            programs.remove_vm(*vni, *mac);
        }
        for (vni, mac) in vms.keys().filter(|vm| !self.vms.contains_key(vm)) {
            if let Err(why) = programs.add_vm(*vni, *mac) {
                warn!(%vni, %mac, "no room for a VM: {why}");
            }
        }
        self.vms = vms;
    }

    /// Takes everything off again.
    pub(super) async fn leave(&mut self, programs: &mut Programs, netlink: &Netlink) {
        for index in std::mem::take(&mut self.wanted).into_keys() {
            detach(index, programs, netlink).await;
        }
    }
}

async fn detach(index: u32, programs: &mut Programs, netlink: &Netlink) {
    if programs.detach(index).unwrap_or(false) {
        // The device may be gone, and its qdisc with it.
        let _ = remove_clsact(netlink, index).await;
    }
}

fn networks(host: &Inventory) -> BTreeMap<Vni, Uplink> {
    let (networks, _) = host.networks();
    networks.into_values().map(|n| (n.port.vni, Uplink { vtep: n.port.vtep, mtu: n.mtu })).collect()
}
