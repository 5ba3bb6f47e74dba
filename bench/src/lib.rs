//! What a packet costs: a scenario configures a gateway and makes frames (`scenario`, `traffic`), a subject replays them
//! through a worker (`replay`, on a `site`), a measurement says what that took, a report shows it, a document keeps it.
//!
//! The method is that of `docs/performance.md`: frames come from memory, each copied into a fresh buffer; *work* is what happens
//! between a frame handed over by the input and handed to the output; nothing is measured before every emitted frame of a
//! first pass was read by an independent parser and found right. `callgrind` runs the same under valgrind, and `instructions` compares what that counts with the file of the gate, `services` one scenario with the next. `vpp` writes a scenario for VPP. `compile`
//! and `desired` are apart: they tell what control needs for a configuration, and for objects and changes of them; `shortcuts` what it needs to find flows that hosts could carry.

pub mod build;
pub mod callgrind;
pub mod capture;
pub mod compare;
#[cfg(feature = "control")]
pub mod compile;
pub mod cycles;
#[cfg(feature = "control")]
pub mod desired;
pub mod document;
pub mod fragment;
pub mod gateway;
pub mod instructions;
pub mod interrupt;
pub mod latency;
pub mod machine;
pub mod measurement;
pub mod oracle;
#[cfg(feature = "peers")]
pub mod peer;
pub mod plot;
pub mod pool;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod services;
#[cfg(feature = "control")]
pub mod shortcuts;
pub mod site;
pub mod target;
pub mod traffic;
pub mod vpp;

use std::alloc::System;

use cap::Cap;

/// The heap, which knows how much of it is in use.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);
