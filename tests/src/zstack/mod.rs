//! A small ZStack management node and a place for router agents: commands go over real HTTP, changes become documents beside those of an
//! operator, and the whole has to pass the configuration check.

mod manager;
mod site;

pub use self::{
    manager::{Environment, Failed, Manager, connect_from, send},
    site::{Site, agent, settings},
};
