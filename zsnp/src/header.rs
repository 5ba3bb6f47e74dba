//! The header of a message: 48 bytes, network order.

use crate::{
    MESSAGE_BYTES_MAX,
    codes::codes,
    key::KeyId,
    receiver::Refusal,
    types::{SenderId, Transaction, VpcTag},
};

/// How a message begins: "ZSNP".
pub const MAGIC: [u8; 4] = *b"ZSNP";
/// The version that this crate speaks.
pub const VERSION: u8 = 1;
/// Length of the header, in bytes.
pub const HEADER_BYTES: usize = 48;
/// Length of the tag at the end, in bytes: HMAC-SHA-256, cut to 128 bits (RFC 2104 §5).
pub const TAG_BYTES: usize = 16;

codes! {
    /// What a message is. The number is its type on the wire.
    Kind {
        /// Gateway to a VM's address: is there an agent on your host?
        Locate = 1, "locate";
        /// Its answer.
        Here = 2, "here";
        /// Gateway to a host: go there directly.
        Shortcut = 3, "shortcut";
        /// Host to gateway: done, or why not.
        Ack = 4, "ack";
        /// No longer.
        Withdraw = 5, "withdraw";
        /// Source host to destination host: does this path work?
        Probe = 6, "probe";
        /// Its answer.
        ProbeReply = 7, "probe_reply";
        /// Host to gateway: these are in use.
        Renew = 8, "renew";
        /// Host and gateway, every 10 s.
        Hello = 9, "hello";
    }
}

/// The header, but for magic, version and length, which follow from the bytes.
///
/// ```text
///  0        4    5    6      8       12      16         24           32          40              48
///  | "ZSNP" | v1 |kind|length| key id | VPC   | sender   | boot epoch | sequence  | transaction   | TLVs … | tag (16)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message is.
    pub kind: Kind,
    /// The key of the tag.
    pub key: KeyId,
    /// The VPC it is about; 0 where it is about none.
    pub vpc: VpcTag,
    /// Who sends.
    pub sender: SenderId,
    /// When the sender started, in ms since 1970.
    pub epoch: u64,
    /// The number of the message since then: strictly increasing, from 1.
    pub sequence: u64,
    /// The question; a reply repeats it.
    pub transaction: Transaction,
}

impl Header {
    /// Writes the header of a message of `length` bytes, tag included.
    pub(crate) fn emit(&self, length: u16, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend([VERSION, self.kind as u8]);
        out.extend(length.to_be_bytes());
        out.extend(self.key.0.to_be_bytes());
        out.extend(self.vpc.0.to_be_bytes());
        for long in [self.sender.0, self.epoch, self.sequence, self.transaction.0] {
            out.extend(long.to_be_bytes());
        }
    }

    /// Reads the header of a message and checks that its length is that of `bytes`. Nothing of it is authentic yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Header, Refusal> {
        if bytes.len() < HEADER_BYTES + TAG_BYTES || bytes.len() > MESSAGE_BYTES_MAX || bytes[..4] != MAGIC {
            return Err(Refusal::Malformed);
        }
        if bytes[4] != VERSION {
            return Err(Refusal::Version);
        }
        if usize::from(u16::from_be_bytes([bytes[6], bytes[7]])) != bytes.len() {
            return Err(Refusal::Malformed);
        }
        Ok(Header {
            kind: bytes[5].try_into()?,
            key: KeyId(short(bytes, 8)),
            vpc: VpcTag(short(bytes, 12)),
            sender: SenderId(long(bytes, 16)),
            epoch: long(bytes, 24),
            sequence: long(bytes, 32),
            transaction: Transaction(long(bytes, 40)),
        })
    }
}

/// The 32-bit number at `at`, which the caller knows to be there.
fn short(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

/// The 64-bit number at `at`, which the caller knows to be there.
fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(short(bytes, at)) << 32 | u64::from(short(bytes, at + 4))
}
