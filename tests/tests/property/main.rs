//! Laws of the packet path that hold for any packet and any configuration.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

mod balance;
mod burst;
mod bytes;
mod isolation;
mod line;
mod meter;
mod nat;
mod packets;
mod route;
mod tunnel;
