//! One question per file. A stage that decides takes the packet as it is and answers; a stage that rewrites changes it.
//! No stage stores anything, asks a clock, logs or allocates.

pub mod arp;
pub mod express;
pub mod fragment;
pub mod icmp;
pub mod icmp_error;
pub mod ingress;
pub mod link;
pub mod local;
pub mod mss;
pub mod policing;
pub mod reset;
pub mod route;
pub mod translation;
