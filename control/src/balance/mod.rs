//! What becomes of backends while the configuration stays: their health, slow start, the end of a drain; and what their
//! connections move.

mod health;
mod ramp;
mod volume;

pub use self::{
    health::{Health, Healths, Report},
    ramp::Ramps,
    volume::Volumes,
};
