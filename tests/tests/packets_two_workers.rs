//! The packet tables with two workers: frames of one flow and its answers arrive on either.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

const WORKERS: usize = 2;

#[path = "packets/suite/mod.rs"]
mod suite;
