//! The control thread and its tools.

pub mod compile;
pub mod config;
pub mod gateway;
pub mod local;
pub mod metrics;
pub mod neighbour;
pub mod show;
pub mod state;
pub mod vtep;
