//! ACK: how it went.

use crate::{codes::codes, receiver::Refusal, tlv::Value};

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The shortcut is in force.
    Installed,
    /// The shortcuts are gone, or never were.
    Removed,
    /// The shortcut was not installed.
    Refused(RefusedWhy),
    /// There is no room for it.
    TableFull,
}

codes! {
    /// Why a host refused a shortcut.
    RefusedWhy {
        /// It has no VM in the source network.
        UnknownVni = 1, "unknown_vni";
        /// It cannot reach the tunnel end.
        Unreachable = 2, "unreachable";
        /// It cannot do what is asked.
        Unsupported = 3, "unsupported";
        /// Its operator does not want it.
        Policy = 4, "policy";
        /// It asked the gateway first whether the message is fresh.
        NotFresh = 5, "not_fresh";
    }
}

impl Status {
    pub(super) fn octets(self) -> [u8; 2] {
        match self {
            Status::Installed => [1, 0],
            Status::Removed => [2, 0],
            Status::Refused(why) => [3, why as u8],
            Status::TableFull => [4, 0],
        }
    }

    pub(super) fn read(value: &mut Value<'_>) -> Result<Status, Refusal> {
        match (value.byte()?, value.byte()?) {
            (1, 0) => Ok(Status::Installed),
            (2, 0) => Ok(Status::Removed),
            (3, why) => Ok(Status::Refused(why.try_into()?)),
            (4, 0) => Ok(Status::TableFull),
            _ => Err(Refusal::Malformed),
        }
    }
}
