//! The machine alone, in virtual time: recorded conversations (`control/tests/zsnp`), and what must hold for any.

mod lossy;
mod property;
mod recorded;
mod town;
