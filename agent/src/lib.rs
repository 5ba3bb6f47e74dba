//! The host end of ZSNP: a daemon on each compute host, beside the path of packets.
//!
//! ```text
//!   VM ── tap ─[vm_ingress]──► bridge ──► VXLAN device ──► gateway          the ordinary way
//!                    └── a shortcut: TTL − 1, VXLAN around it ──► host of the other VM
//!   underlay ──► VXLAN device ─[vxlan_ingress]──► bridge ──► tap ──► VM
//!                                    └── ZSNP ──► agent
//!
//!   host    what the kernel says of bridges, tunnels, VMs          (facts, no decisions)
//!   core    which shortcuts there are                              (decisions: events in, events out, no I/O, no clock)
//!   bpf     the two programs and their maps                        (what each packet meets)
//!   daemon  the rim that connects them: sockets, signals, status
//! ```
//!
//! It changes no bridge, route, neighbour or address of the host, and answers no ARP.

#![deny(unsafe_code)]

pub mod bpf;
pub mod cli;
pub mod core;
pub mod daemon;
pub mod host;
