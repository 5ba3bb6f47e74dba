//! The packet engine. Core: bytes, tables and time in; verdicts out. No I/O, no clock, no allocation after start. Start
//! reading at [`pipeline`], the packet's way.

#![deny(unsafe_code)]

pub mod buffer;
pub mod channel;
pub mod counter;
pub mod flow;
mod hold;
pub mod io;
pub mod limit;
pub mod nat;
mod outbox;
pub mod pages;
pub mod pipeline;
pub mod policer;
pub mod prefetch;
pub mod reason;
pub mod stage;
pub mod table;
pub mod types;
pub mod wire;
pub mod worker;
