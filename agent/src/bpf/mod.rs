//! The programs in the kernel: what they share with us, how they are loaded and attached, and the maps that they read.

mod layout;
mod programs;

pub use self::{
    layout::{AGENT_MAC, Count, Event, Pair, Port, Rule, Stat, agent_mac, agent_of},
    programs::{Attach, Error, Options, Programs, Side, sweep},
};
