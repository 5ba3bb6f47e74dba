//! The gatekeeper: bytes of anybody become a message of somebody who has the key, once, or a counted refusal.

use std::collections::HashMap;

use crate::{
    HEADER_BYTES, TAG_BYTES, codes::codes, header::Header, key::Keyring, message::Message, types::SenderId,
    window::Window,
};

codes! {
    /// Why a message was dropped. Nothing is answered.
    Refusal {
        /// Of a version that we do not speak.
        Version = 0, "version";
        /// Not a message: too short, too long, or with fields that cannot be.
        Malformed = 1, "malformed";
        /// Made with a key that is not valid here.
        UnknownKey = 2, "unknown_key";
        /// The tag is not that of the bytes: forged, or changed on the way.
        BadTag = 3, "bad_tag";
        /// Of a life of its sender before the one that we know.
        OldEpoch = 4, "old_epoch";
        /// Taken before, or too far behind its sender's last ones.
        Replayed = 5, "replayed";
        /// Has something that we do not know and must not ignore.
        UnknownTlv = 6, "unknown_tlv";
    }
}

/// How often each refusal happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; Refusal::ALL.len()]);

impl Refusals {
    /// How often this one.
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// A message whose sender has the key, and which was not taken before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentic {
    /// Its header.
    pub header: Header,
    /// What it says.
    pub message: Message,
    /// The first of this sender and boot epoch since we listen. It may have been recorded before we started: whoever acts on what
    /// it *asks* should ask back first. An answer to a question of our own is fresh by its transaction.
    pub first: bool,
}

/// What is known of a sender.
#[derive(Debug)]
struct Peer {
    epoch: u64,
    window: Window,
    /// Number of the last message, of all senders.
    heard: u64,
}

/// Receives.
#[derive(Debug)]
pub struct Receiver {
    peers: HashMap<SenderId, Peer>,
    peers_max: usize,
    heard: u64,
    refusals: Refusals,
}

impl Receiver {
    /// One that remembers this many senders, at least one. When another comes, the one that was silent longest is forgotten; only who
    /// has the key can make that happen.
    pub fn new(senders_max: usize) -> Receiver {
        Receiver {
            peers: HashMap::new(),
            peers_max: senders_max.max(1),
            heard: 0,
            refusals: Refusals::default(),
        }
    }

    /// What was refused.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// How many senders are remembered.
    pub fn senders(&self) -> usize {
        self.peers.len()
    }

    /// The message in the payload of an IP packet.
    ///
    /// # Errors
    /// [`Refusal`], which is counted.
    pub fn open(&mut self, keys: &Keyring, bytes: &[u8]) -> Result<Authentic, Refusal> {
        let opened = self.authentic(keys, bytes);
        if let Err(refusal) = opened {
            self.refusals.0[refusal as usize] += 1;
        }
        opened
    }

    /// Cheap checks first, then the tag; what changes our memory comes after that.
    fn authentic(&mut self, keys: &Keyring, bytes: &[u8]) -> Result<Authentic, Refusal> {
        let header = Header::parse(bytes)?;
        let key = keys.key(header.key).ok_or(Refusal::UnknownKey)?;
        // The header's check said that there is a tag.
        let (signed, tag) = bytes.split_at(bytes.len() - TAG_BYTES);
        if !key.verifies(signed, tag) {
            return Err(Refusal::BadTag);
        }
        let first = self.take(&header)?;
        let message = Message::parse(header.kind, &signed[HEADER_BYTES..])?;
        Ok(Authentic { header, message, first })
    }

    /// Takes the sequence number of an authentic header. Returns whether it is the first of its epoch.
    fn take(&mut self, header: &Header) -> Result<bool, Refusal> {
        self.heard += 1;
        if let Some(peer) = self.peers.get_mut(&header.sender) {
            if header.epoch < peer.epoch {
                return Err(Refusal::OldEpoch);
            }
            if header.epoch == peer.epoch {
                peer.heard = self.heard;
                return if peer.window.take(header.sequence) { Ok(false) } else { Err(Refusal::Replayed) };
            }
        } else if self.peers.len() >= self.peers_max {
            self.forget_the_most_silent();
        }
        let mut window = Window::default();
        if !window.take(header.sequence) {
            return Err(Refusal::Replayed);
        }
        self.peers.insert(header.sender, Peer { epoch: header.epoch, window, heard: self.heard });
        Ok(true)
    }

    fn forget_the_most_silent(&mut self) {
        let silent = self.peers.iter().min_by_key(|(_, peer)| peer.heard).map(|(id, _)| *id);
        if let Some(id) = silent {
            self.peers.remove(&id);
        }
    }
}
