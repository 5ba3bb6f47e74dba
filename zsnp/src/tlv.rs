//! Type, length, value: what follows the header. Values are padded with zeros to 4 bytes.

use std::{net::Ipv4Addr, num::NonZeroU32};

use crate::{
    receiver::Refusal,
    types::{Mac, Vni},
};

/// Set in the types of TLVs without which a message must not be acted on. A receiver that does not know such a type refuses the
/// message; any other that it does not know it skips.
const CRITICAL: u16 = 0x8000;

/// The types. Not part of it: [`CRITICAL`], which all have that are never left out.
macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $raw:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: u16 = $raw;)*
        /// All that this version knows.
        pub(crate) const KNOWN: &[u16] = &[$($name),*];
    };
}

types! {
    /// A VM: address, MAC, VNI.
    STATION = CRITICAL | 1;
    /// A tunnel end: address.
    VTEP = CRITICAL | 2;
    /// Largest IP packet: 16 bits.
    MTU = CRITICAL | 3;
    /// Bits of [`Capabilities`](crate::Capabilities).
    CAPABILITIES = 4;
    /// What a shortcut matches: VNI, gateway's MAC, destination.
    MATCH = CRITICAL | 5;
    /// What it does: VNI, MAC, VTEP.
    ACTION = CRITICAL | 6;
    /// Seconds: 32 bits.
    LIFETIME = CRITICAL | 7;
    /// How a request went: two bytes.
    STATUS = CRITICAL | 8;
    /// Why something is withdrawn: one byte.
    REASON = CRITICAL | 9;
    /// All shortcuts from a VNI: 32 bits.
    ALL_OF_VNI = CRITICAL | 10;
    /// All shortcuts of the header's VPC: empty.
    ALL_OF_VPC = CRITICAL | 11;
    /// All shortcuts to an address in a VNI.
    TOWARDS = CRITICAL | 12;
    /// A place that is asked about: VNI, address.
    PLACE = CRITICAL | 13;
    /// The asker's clock, any unit: 64 bits.
    TIME = CRITICAL | 14;
    /// A shortcut in use: match, packets, bytes.
    HIT = CRITICAL | 15;
    /// Numbers of a host.
    COUNTERS = 16;
    /// What PROBEs say of the path to a tunnel end.
    PATH = 17;
}

/// Appends TLVs.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    /// Appends one. The value is shorter than 64 KiB.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The TLVs of a message, one by one; ends with an error where one does not lie within the bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u16, Value<'a>), Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let one = self.one();
        if one.is_none() {
            self.0 = &[];
        }
        Some(one.ok_or(Refusal::Malformed))
    }
}

impl<'a> Reader<'a> {
    fn one(&mut self) -> Option<(u16, Value<'a>)> {
        let (&[k0, k1, l0, l1], rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let (padded, rest) = rest.split_at_checked(length.next_multiple_of(4))?;
        let (value, padding) = padded.split_at(length);
        if padding.iter().any(|&byte| byte != 0) {
            return None;
        }
        self.0 = rest;
        Some((u16::from_be_bytes([k0, k1]), Value(value)))
    }
}

/// Whether a message with an unknown TLV of this type must be refused.
pub(crate) fn is_critical(kind: u16) -> bool {
    kind & CRITICAL != 0
}

/// What is left of a value; each read takes from its front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a>(&'a [u8]);

impl Value<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(Refusal::Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Refusal> {
        self.take().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Refusal> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Refusal> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Refusal> {
        self.take().map(u64::from_be_bytes)
    }

    pub(crate) fn nonzero(&mut self) -> Result<NonZeroU32, Refusal> {
        NonZeroU32::new(self.u32()?).ok_or(Refusal::Malformed)
    }

    pub(crate) fn address(&mut self) -> Result<Ipv4Addr, Refusal> {
        self.take::<4>().map(Ipv4Addr::from)
    }

    pub(crate) fn mac(&mut self) -> Result<Mac, Refusal> {
        self.take().map(Mac)
    }

    pub(crate) fn vni(&mut self) -> Result<Vni, Refusal> {
        Vni::new(self.u32()?).map_err(|_| Refusal::Malformed)
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Malformed) }
    }
}
