//! What becomes of backends while the configuration stays: their health, slow start, and the end of a drain.

mod health;
mod ramp;

pub use self::{
    health::{Health, Healths, Report},
    ramp::Ramps,
};
