//! Keys: one signs, two are accepted, so that keys change without an outage.

use std::{fmt, fs, io, io::Read, os::unix::fs::MetadataExt, path::Path};

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use thiserror::Error;

use crate::TAG_BYTES;

/// Which key: a number that its owner chose. It is on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A shared key, ready to make tags with. It is never printed.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    mac: Hmac<Sha256>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// Shortest key, in bytes: as long as the hash (RFC 2104 §3).
    pub const BYTES_MIN: usize = 32;

    /// # Errors
    /// [`BadKeys::Short`].
    pub fn new(id: KeyId, secret: &[u8]) -> Result<Key, BadKeys> {
        if secret.len() < Key::BYTES_MIN {
            return Err(BadKeys::Short { id });
        }
        let mac = Hmac::new_from_slice(secret).map_err(|_| BadKeys::Short { id })?;
        Ok(Key { id, mac })
    }

    /// Its number.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The tag of `bytes`.
    pub fn tag(&self, bytes: &[u8]) -> [u8; TAG_BYTES] {
        let whole = self.mac.clone().chain_update(bytes).finalize().into_bytes();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&whole[..TAG_BYTES]);
        tag
    }

    /// Whether `tag` is that of `bytes`; takes the same time for every wrong one.
    pub(crate) fn verifies(&self, bytes: &[u8], tag: &[u8]) -> bool {
        tag.len() == TAG_BYTES && self.mac.clone().chain_update(bytes).verify_truncated_left(tag).is_ok()
    }
}

/// The keys that are valid now: the first one signs, any is accepted.
#[derive(Clone, Debug)]
pub struct Keyring {
    first: Key,
    second: Option<Key>,
}

/// Why keys cannot be used.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the fields are what the messages say")]
pub enum BadKeys {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Others may read or write it, or own it.
    #[error(
        "is not private (owner {owner}, mode {mode:03o}); make its owner root or who runs this, and its mode 600"
    )]
    NotPrivate { owner: u32, mode: u32 },
    /// A line is no key.
    #[error("line {line} is no key; write a number and {} or more hexadecimal digits, as in `1 6f…`", 2 * Key::BYTES_MIN)]
    Line { line: usize },
    /// A key is too short to be secret.
    #[error("key {id} is shorter than {} bytes", Key::BYTES_MIN)]
    Short { id: KeyId },
    /// None, or more than two.
    #[error("has {0} keys; give one, or two while they change")]
    Number(usize),
    /// Two keys of one number.
    #[error("has two keys of number {0}")]
    SameId(KeyId),
}

impl Keyring {
    /// # Errors
    /// [`BadKeys::SameId`].
    pub fn new(first: Key, second: Option<Key>) -> Result<Keyring, BadKeys> {
        match &second {
            Some(second) if second.id == first.id => Err(BadKeys::SameId(first.id)),
            _ => Ok(Keyring { first, second }),
        }
    }

    /// Reads a file: a key per line, its number and its bytes in hexadecimal, the one that signs first; `#` begins a comment. Nobody
    /// but its owner, who is root or runs this, may have any right to the file.
    ///
    /// # Errors
    /// [`BadKeys`].
    pub fn load(path: &Path) -> Result<Keyring, BadKeys> {
        /// More than two keys of any sensible length take.
        const FILE_BYTES_MAX: u64 = 1 << 16;
        let file = fs::File::open(path)?;
        // Of the file that was opened, not of what has its name by now.
        let is = file.metadata()?;
        let us = fs::metadata("/proc/self")?.uid();
        if is.mode() & 0o077 != 0 || (is.uid() != us && is.uid() != 0) {
            return Err(BadKeys::NotPrivate { owner: is.uid(), mode: is.mode() & 0o777 });
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Keyring::parse(&text)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// [`BadKeys`].
    pub fn parse(text: &str) -> Result<Keyring, BadKeys> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let bad = || BadKeys::Line { line: at + 1 };
            let (id, secret) = line.split_once(char::is_whitespace).ok_or_else(bad)?;
            let id = KeyId(id.parse().map_err(|_| bad())?);
            keys.push(Key::new(id, &hex(secret.trim()).ok_or_else(bad)?)?);
        }
        let number = keys.len();
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next(), keys.next()) {
            (Some(first), second, None) => Keyring::new(first, second),
            _ => Err(BadKeys::Number(number)),
        }
    }

    /// The key that signs.
    pub fn signing(&self) -> &Key {
        &self.first
    }

    /// The key of this number.
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        [Some(&self.first), self.second.as_ref()].into_iter().flatten().find(|key| key.id == id)
    }
}

/// The bytes of hexadecimal text.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_has_one_or_two_keys() {
        let (one, two) = ("00".repeat(32), "fF".repeat(40));
        let ring = Keyring::parse(&format!("# ours\n 2 {two} # new\n\n1\t{one}\n")).unwrap();
        assert_eq!((ring.signing().id(), ring.key(KeyId(1)).is_some()), (KeyId(2), true));
        assert!(ring.key(KeyId(3)).is_none());
        let refused = |text: &str| Keyring::parse(text).unwrap_err().to_string();
        assert!(refused("").starts_with("has 0 keys"));
        assert!(refused(&format!("1 {one}\n2 {one}\n3 {one}")).starts_with("has 3 keys"));
        assert_eq!(refused(&format!("1 {one}\n1 {two}")), "has two keys of number 1");
        assert_eq!(refused("7 00"), "key 7 is shorter than 32 bytes");
        for line in ["1", &one, &format!("-1 {one}"), &format!("1 {one}0"), &format!("1 {one}zz"), "1 é"] {
            assert!(refused(&format!("#\n{line}")).starts_with("line 2 is no key"), "{line}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("1 {}", "ab".repeat(32))).unwrap();
        let mode = |mode| fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o600);
        assert!(Keyring::load(file.path()).is_ok());
        mode(0o640);
        assert!(matches!(Keyring::load(file.path()), Err(BadKeys::NotPrivate { mode: 0o640, .. })));
        assert!(matches!(Keyring::load(Path::new("/none")), Err(BadKeys::Io(_))));
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = Key::new(KeyId(5), &[0x61; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "Key(5)");
    }

    #[test]
    fn the_tag_is_hmac_sha_256_cut_to_16_bytes() {
        // RFC 4231 test case 7: a key longer than a block.
        let key = Key::new(KeyId(1), &[0xaa; 131]).unwrap();
        let data = b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.";
        let tag = key.tag(data);
        assert_eq!(tag, 0x9b09_ffa7_1b94_2fcb_2763_5fbc_d5b0_e944_u128.to_be_bytes());
        assert!(key.verifies(data, &tag) && !key.verifies(&data[1..], &tag));
        assert!(!key.verifies(data, &tag[..15]) && !key.verifies(data, &[]));
    }
}
