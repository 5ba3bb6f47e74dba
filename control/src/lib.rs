//! The control thread and its tools.

pub mod cli;
pub mod compile;
pub mod config;
pub mod daemon;
pub mod gateway;
pub mod local;
pub mod log;
pub mod metrics;
pub mod neighbour;
pub mod show;
pub mod state;
pub mod vtep;
