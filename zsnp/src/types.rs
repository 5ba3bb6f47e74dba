//! Ids and addresses of the protocol.

use std::{fmt, num::NonZeroU32};

use thiserror::Error;

/// VXLAN network identifier: 24 bits, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(NonZeroU32);

/// A number that is no VNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is no VNI; give 1 to 16777215")]
pub struct BadVni(pub u32);

impl Vni {
    /// # Errors
    /// [`BadVni`]: 0, or of more than 24 bits.
    pub const fn new(raw: u32) -> Result<Vni, BadVni> {
        match NonZeroU32::new(raw) {
            Some(vni) if raw < 1 << 24 => Ok(Vni(vni)),
            _ => Err(BadVni(raw)),
        }
    }

    /// The number, 1 to 2^24 - 1.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An Ethernet address, as its bytes are on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $raw);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }
    };
}

opaque!(
    /// Which VPC of a gateway a message is about. Opaque to hosts, the same for as long as the VPC keeps its name, and of one
    /// gateway: two gateways may use one number for two VPCs.
    VpcTag(u32)
);
opaque!(
    /// Who sends: random at its first start, kept since.
    SenderId(u64)
);
opaque!(
    /// Which question a message asks or answers. Random, so that nobody answers a question that was not asked.
    Transaction(u64)
);

impl Transaction {
    /// A new one.
    pub fn random() -> Transaction {
        Transaction(random())
    }
}

/// 64 bits from the operating system.
///
/// # Panics
/// When it has none, which Linux does not do once it has booted: a number that can be guessed would be worse.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|why| panic!("no random numbers: {why}"))
}
