//! Tests that see everything, and what they stand on: [`lab`] builds networks of real kernel hosts around a real
//! gateway, [`gateway`] runs one in the test's process on ports of memory, [`fuzz`] says what any input must not break, [`packet`] writes packets as text,
//! [`rest`] is what the REST API of a test stands in front of, [`zstack`] is a management node that drives router agents, [`churn`] changes one VPC
//! again and again, [`demo`] is what `make demo` shows.

#![forbid(unsafe_code)]

pub mod churn;
pub mod demo;
pub mod fuzz;
pub mod gateway;
pub mod golden;
pub mod lab;
pub mod packet;
pub mod rest;
pub mod zstack;
