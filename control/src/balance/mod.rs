//! What becomes of backends while the configuration stays: their health.

mod health;

pub use self::health::{Health, Healths, Report};
