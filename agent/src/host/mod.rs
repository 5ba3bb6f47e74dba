//! What this host is, as its kernel says: bridges, VXLAN devices, ports with VMs behind them, who is where. Nothing of it is
//! configured, nothing is changed.

mod inventory;
mod netlink;

pub use self::{
    inventory::{Change, Ignored, Inventory, Kind, Link, Network, Vxlan},
    netlink::{Netlink, remove_clsact},
};
