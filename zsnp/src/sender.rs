//! Who we are as a sender: an id that stays, a boot epoch that grows, a sequence number.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{
    HEADER_BYTES, MESSAGE_BYTES_MAX, TAG_BYTES,
    header::Header,
    key::Keyring,
    message::{Message, TooLong},
    types::{SenderId, Transaction, VpcTag, random},
};

/// Seals messages.
#[derive(Debug)]
pub struct Sender {
    id: SenderId,
    epoch: u64,
    sequence: u64,
}

/// The file with our sender id cannot be used.
#[derive(Debug, Error)]
#[error("cannot keep the ZSNP sender id in {path}: {source}", path = path.display())]
pub struct BadSenderFile {
    path: PathBuf,
    source: io::Error,
}

impl Sender {
    /// The sender of this id, which started at `epoch_ms` since 1970.
    pub fn new(id: SenderId, epoch_ms: u64) -> Sender {
        Sender { id, epoch: epoch_ms, sequence: 0 }
    }

    /// The sender that is kept in the file at `path`; a new one where there is none. The file has id and last boot epoch, so that
    /// the epoch grows even where the clock was set back. What cannot be read as that is replaced: to peers we are then a new
    /// sender.
    ///
    /// # Errors
    /// [`BadSenderFile`] when it can be neither read nor written.
    pub fn start(path: &Path, now_ms: u64) -> Result<Sender, BadSenderFile> {
        let failed = |source| BadSenderFile { path: path.to_owned(), source };
        let kept = match fs::read_to_string(path) {
            Ok(text) => parse(&text),
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => return Err(failed(why)),
        };
        let sender = match kept {
            Some((id, last)) => Sender::new(id, now_ms.max(last.saturating_add(1))),
            None => Sender::new(SenderId(random()), now_ms),
        };
        sender.keep(path).map_err(failed)?;
        Ok(sender)
    }

    /// Replaces the file as a whole.
    fn keep(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        writeln!(file, "{:016x} {}", self.id.0, self.epoch)?;
        file.sync_all()?;
        fs::rename(&new, path)
    }

    /// Our id.
    pub fn id(&self) -> SenderId {
        self.id
    }

    /// The bytes of a message, with the next sequence number and the tag of the key that signs.
    ///
    /// # Errors
    /// [`TooLong`]; no number is used up.
    pub fn seal(
        &mut self,
        keys: &Keyring,
        vpc: VpcTag,
        transaction: Transaction,
        message: &Message,
    ) -> Result<Vec<u8>, TooLong> {
        let body = message.emit();
        let length = HEADER_BYTES + body.len() + TAG_BYTES;
        if length > MESSAGE_BYTES_MAX {
            return Err(TooLong(length));
        }
        self.sequence += 1;
        let key = keys.signing();
        let header = Header {
            kind: message.kind(),
            key: key.id(),
            vpc,
            sender: self.id,
            epoch: self.epoch,
            sequence: self.sequence,
            transaction,
        };
        let mut bytes = Vec::with_capacity(length);
        header.emit(length as u16, &mut bytes);
        bytes.extend(body);
        let tag = key.tag(&bytes);
        bytes.extend(tag);
        Ok(bytes)
    }
}

/// Id and epoch of a file.
fn parse(text: &str) -> Option<(SenderId, u64)> {
    let (id, epoch) = text.trim().split_once(' ')?;
    Some((SenderId(u64::from_str_radix(id, 16).ok()?), epoch.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stays_and_the_epoch_grows_even_when_the_clock_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sender");
        let first = Sender::start(&file, 1000).unwrap();
        let later = Sender::start(&file, 2000).unwrap();
        let back = Sender::start(&file, 1500).unwrap();
        assert_eq!((first.id(), later.id()), (back.id(), back.id()));
        assert_eq!((first.epoch, later.epoch, back.epoch), (1000, 2000, 2001));
        fs::write(&file, "what").unwrap();
        assert_ne!(Sender::start(&file, 3000).unwrap().id(), back.id());
        assert!(Sender::start(&dir.path().join("no/such"), 0).is_err());
    }
}
