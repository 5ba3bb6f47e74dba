//! The TLVs of one message, taken out one by one by what the message must have.

use super::Capabilities;
use crate::{
    receiver::Refusal,
    tlv::{self, KNOWN, Reader, Value, is_critical},
};

/// TLVs that were read and not yet taken.
pub(super) struct Fields<'a>(Vec<(u16, Value<'a>)>);

impl<'a> Fields<'a> {
    /// Reads all of them; those that we do not know are skipped or refuse the message.
    pub(super) fn read(tlvs: &'a [u8]) -> Result<Fields<'a>, Refusal> {
        let mut fields = Vec::new();
        for field in Reader(tlvs) {
            let (kind, value) = field?;
            if KNOWN.contains(&kind) {
                fields.push((kind, value));
            } else if is_critical(kind) {
                return Err(Refusal::UnknownTlv);
            }
        }
        Ok(Fields(fields))
    }

    /// Takes all of a type, at most `max`.
    pub(super) fn all<T>(
        &mut self,
        kind: u16,
        max: usize,
        read: impl Fn(&mut Value<'a>) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        let mut taken = Vec::new();
        for (_, mut value) in self.0.extract_if(.., |(it, _)| *it == kind) {
            if taken.len() == max {
                return Err(Refusal::Malformed);
            }
            taken.push(read(&mut value)?);
            value.end()?;
        }
        Ok(taken)
    }

    /// Takes the only one of a type, if there is one.
    pub(super) fn at_most_one<T>(
        &mut self,
        kind: u16,
        read: impl Fn(&mut Value<'a>) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        Ok(self.all(kind, 1, read)?.pop())
    }

    /// Takes the only one of a type.
    pub(super) fn one<T>(
        &mut self,
        kind: u16,
        read: impl Fn(&mut Value<'a>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.at_most_one(kind, read)?.ok_or(Refusal::Malformed)
    }

    /// Takes the capabilities; none where they are not said.
    pub(super) fn capabilities(&mut self) -> Result<Capabilities, Refusal> {
        let bits = self.at_most_one(tlv::CAPABILITIES, Value::u32)?;
        Ok(Capabilities(bits.unwrap_or_default()))
    }

    /// Nothing critical may be left: what was not asked for would be ignored.
    pub(super) fn end(self) -> Result<(), Refusal> {
        if self.0.iter().any(|(kind, _)| is_critical(*kind)) { Err(Refusal::Malformed) } else { Ok(()) }
    }
}
