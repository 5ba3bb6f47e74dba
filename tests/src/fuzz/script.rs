//! The input of the `pipeline` target: bytes as a script of what happens to a gateway (`world.rs`).
//!
//! | First byte | What follows | What happens |
//! |---|---|---|
//! | `00pp mmbb` | length, bytes | a frame arrives on port `pp`; `mm` ≠ 0: mended (`mend.rs`); `bb` = 0: ports are polled |
//! | `01tt tttt` | | 2^(t/4) ms pass |
//! | `100v vvvv` | length, bytes | the namespace of table `v` sends a packet, mended |
//! | `101s ssss` | six bytes | station `s` says something (`say.rs`) |
//! | `110c cccc` | | the configuration is reloaded, with or without a change |
//! | `1110 nnnn` | place, change | the last frame arrives 2^(n/2) more times, the byte at that place changed each time |
//! | `1111 0aaa` | | whom the gateway asked `a` ARP requests ago answers |
//! | `1111 1xxx` | | trouble `x` begins or ends ([`Trouble`]) |
//!
//! A length is two bytes. With its highest bit set one more byte follows, which says how many bytes follow that; zeros are
//! added up to the length, so that short scripts have long frames. What is cut short at the end is left out or shorter.

use tidegate_fastpath::types::{Nanos, PortId, VrfId};

use super::{FRAME_MAX, say::Saying};

/// The rest of the input.
pub(super) struct Script<'a>(pub(super) &'a [u8]);

pub(super) enum Step {
    Frame { port: PortId, mended: bool, poll: bool, bytes: Vec<u8> },
    Pass(Nanos),
    Inject { vrf: VrfId, bytes: Vec<u8> },
    Say(Saying),
    Reload(usize),
    Again { times: usize, place: usize, change: u8 },
    Answer(usize),
    Trouble(Trouble),
}

/// What goes wrong around the packet path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Control stands still.
    Control,
    /// Transmit queues take one frame.
    Transmit,
    /// No buffer can be had.
    Pool,
    /// Packets come with little room in front.
    Headroom,
    /// The port of the underlay is down.
    Link,
    /// Frames come in several segments.
    Segments,
    /// None: ports are polled.
    Nothing,
    /// All troubles end, and what must work then is tried.
    Proof,
}

impl Script<'_> {
    /// The next step; `None` at the end.
    pub(super) fn step(&mut self) -> Option<Step> {
        let first = self.byte()?;
        let low = usize::from(first & 0x1f);
        Some(match first >> 5 {
            0 | 1 => Step::Frame {
                port: PortId(u16::from(first >> 4)),
                mended: first & 0x0c != 0,
                poll: first & 0x03 == 0,
                bytes: self.bytes(),
            },
            2 | 3 => Step::Pass(Nanos::from_ms(1 << ((first & 0x3f) / 4))),
            4 => Step::Inject { vrf: VrfId(low as u16), bytes: self.bytes() },
            5 => Step::Say(Saying::new(low, [(); 6].map(|()| self.byte().unwrap_or(0)))),
            6 => Step::Reload(low),
            _ if low < 0x10 => Step::Again {
                times: 1 << (low / 2),
                place: usize::from(self.byte().unwrap_or(0)),
                change: self.byte().unwrap_or(0),
            },
            _ if low < 0x18 => Step::Answer(low & 7),
            _ => Step::Trouble(Trouble::new(low & 7)),
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = [(); 2].map(|()| self.byte().unwrap_or(0));
        let is_filled = length[0] & 0x80 != 0;
        let len = usize::from(u16::from_be_bytes(length) & 0x7fff).min(FRAME_MAX);
        let given = if is_filled { usize::from(self.byte().unwrap_or(0)) } else { len };
        let (given, rest) = self.0.split_at(given.min(len).min(self.0.len()));
        self.0 = rest;
        let mut bytes = given.to_vec();
        if is_filled {
            bytes.resize(len, 0);
        }
        bytes
    }
}

impl Trouble {
    /// Those that last until they are ended.
    pub(super) const LASTING: [Trouble; 6] = [
        Trouble::Control,
        Trouble::Transmit,
        Trouble::Pool,
        Trouble::Headroom,
        Trouble::Link,
        Trouble::Segments,
    ];

    const fn new(number: usize) -> Trouble {
        match number {
            0 => Trouble::Control,
            1 => Trouble::Transmit,
            2 => Trouble::Pool,
            3 => Trouble::Headroom,
            4 => Trouble::Link,
            5 => Trouble::Segments,
            6 => Trouble::Nothing,
            _ => Trouble::Proof,
        }
    }
}
