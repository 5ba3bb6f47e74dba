//! Desired state as documents: what everybody who configures the gateway writes, whoever it is.
//!
//! A [`Document`] is one object of the file's vocabulary, with its [`Kind`] and id. A [`Transaction`] changes some, or all, or
//! nothing: [`Basis::plan`] says what would come of it (the changes, what is then in force, warnings) without changing
//! anything. [`settle()`] decides which documents are in force: an object that names one that is not there waits, and comes
//! into force by itself. A [`Store`] keeps generations on disk: what was acknowledged is there after a loss of power, whole.
//! [`Desired`] gives what is in force the numbers that workers know it by.
//!
//! Nothing here knows sockets, or the gateway: sources (the file, the tools) make transactions, and the daemon puts plans into
//! force.

mod claims;
mod document;
mod names;
mod numbers;
mod scope;
mod settle;
mod store;
#[cfg(test)]
mod tests;
mod ties;
mod transaction;

pub use self::{
    document::{Document, Documents, Key, Kind, documents, sum},
    numbers::{
        Desired, FULL_NAT_NETWORKS_MAX, NetKey, Numbered, QOS_MAX, UNDERLAY, VIPS_MAX, VtepKey, table_label,
    },
    settle::{Settled, Status, settle},
    store::{By, Directory, Disk, HISTORY, Head, Opened, Past, Source, Store, Tidying, Who, Writing},
    transaction::{Basis, Change, Plan, Refused, Step, Transaction, objects},
};
