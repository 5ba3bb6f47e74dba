//! The control thread and its tools.

pub mod neighbour;
pub mod vtep;
