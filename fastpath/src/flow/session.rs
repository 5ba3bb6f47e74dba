//! Translated connections: two entries, one per direction, that live and end together.
//!
//! Each entry holds what the packets of its direction become ([`Translation`]), and from that follows the key of the other one
//! ([`FlowKey::answer`]), so neither points to the other and either may be decided again at any time. Of the TCP state each
//! entry keeps what its own direction has sent ([`TcpSeen`]), written by the worker that receives it; the state of the
//! connection is read off both ([`TcpState::of`]).
//!
//! ```text
//! outward  has seen     inward has seen     state          times out after
//! ------------------    ----------------    -----------    ------------------------------------
//! no ACK                any                 Opening        transitory (RFC 5382 REQ-5: 4 min)
//! any                   no ACK              Opening        transitory
//! ACK                   ACK                 Established    established (RFC 5382 REQ-5: 2 h 4 min)
//! FIN in one of both                        HalfClosed     established
//! FIN                   FIN                 Closing        transitory
//! RST in one of both                        Reset          transitory (RFC 7857 §2.2)
//! ```
//! A reset does not end a connection at once, because anybody can send one (RFC 5961): if the side that it claims to be
//! from goes on to send, the reset is forgotten. A SYN after FIN or RST begins a new connection on the same ports.

use std::net::Ipv4Addr;

use super::{FlowKey, FlowTimeouts, Program};
use crate::{
    types::{NetId, Tick},
    wire::{
        ipv4::protocol,
        translate::{Rewrite, Side},
    },
};

/// What a translation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// One-to-one: follows from the packet alone, needs no entry of the other direction.
    Eip,
    /// A leased public port.
    Snat,
    /// A port forward.
    Forward,
    /// No translation: the ports of a fragmented datagram, for the fragments that have none.
    Fragment,
    /// A listener of a load balancer.
    Balanced,
    /// A listener whose backends see the gateway's address: its packets go on inside the gateway, to [`Service::Masked`].
    FullNat,
    /// The second half of that: the gateway's address in the backend's network stands for the client.
    Masked,
}

impl Service {
    /// Whether it leads ports of a VIP to a VM, and the VM's answers out by that VIP whatever it has besides.
    pub const fn is_published(self) -> bool {
        matches!(self, Service::Forward | Service::Balanced | Service::FullNat)
    }

    /// Whether its connections are those of a listener.
    pub const fn is_balanced(self) -> bool {
        matches!(self, Service::Balanced | Service::FullNat)
    }

    /// Whether its connections use a leased port.
    pub const fn leases(self) -> bool {
        matches!(self, Service::Snat | Service::Masked)
    }
}

/// When a session without packets ends: after a time of its own, or that of its protocol. 11 bits of a [`Translation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idle(u16);

impl Idle {
    /// That of the protocol.
    pub const DEFAULT: Idle = Idle(0);
    /// Bits of the factor; above it there are four of a power of two.
    const FACTOR_BITS: u32 = 7;
    const FACTOR_MAX: u32 = (1 << Idle::FACTOR_BITS) - 1;
    const BITS: u32 = 11;

    /// So many seconds, from 1 to 4 million; above 127 rounded up, by less than one part in 64.
    pub const fn of_s(seconds: u32) -> Idle {
        let (mut factor, mut power) = (seconds, 0);
        while factor > Idle::FACTOR_MAX && power < 15 {
            power += 1;
            factor = seconds.div_ceil(1 << power);
        }
        let factor = if factor > Idle::FACTOR_MAX { Idle::FACTOR_MAX } else { factor };
        Idle((power << Idle::FACTOR_BITS | factor) as u16)
    }

    /// The seconds; `None` for those of the protocol.
    pub const fn seconds(self) -> Option<u32> {
        let (factor, power) = (self.0 as u32 & Idle::FACTOR_MAX, self.0 >> Idle::FACTOR_BITS);
        if self.0 == 0 { None } else { Some(factor << power) }
    }

    /// In ticks, or `default`.
    const fn ticks_or(self, default: u32) -> u32 {
        match self.seconds() {
            Some(seconds) => Tick::ticks_of_s(seconds),
            None => default,
        }
    }
}

/// A translated connection as its two entries say, each with the program that its direction had last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The entry of packets from outside.
    pub inward: (FlowKey, Program),
    /// The entry of packets from inside.
    pub outward: (FlowKey, Program),
}

/// What of a flow's packets is replaced; one word of a record: address << 32 | port << 16 | [`Idle`] << 5 | service << 2 |
/// side << 1 | 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Translation(u64);

impl Translation {
    /// Nothing.
    pub const NONE: Translation = Translation(0);

    /// `port` is the query identifier for ICMP, and the port that the packet has where it does not change.
    pub const fn new(service: Service, side: Side, address: Ipv4Addr, port: u16) -> Translation {
        let what = 1 | (side as u64) << 1 | (service as u64) << 2;
        Translation((address.to_bits() as u64) << 32 | (port as u64) << 16 | what)
    }

    /// Whether packets stay as they are.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Which address is replaced.
    #[inline(always)]
    pub const fn side(self) -> Side {
        if self.0 & 2 == 0 { Side::Source } else { Side::Destination }
    }

    /// What it is for.
    pub const fn service(self) -> Service {
        match self.0 >> 2 & 7 {
            0 => Service::Eip,
            1 => Service::Snat,
            2 => Service::Forward,
            3 => Service::Fragment,
            4 => Service::Balanced,
            5 => Service::FullNat,
            _ => Service::Masked,
        }
    }

    /// The same with a timeout of its own.
    pub const fn with_idle(self, idle: Idle) -> Translation {
        let mask = ((1 << Idle::BITS) - 1) << 5;
        Translation(self.0 & !mask | (idle.0 as u64) << 5)
    }

    /// Its timeout.
    pub const fn idle(self) -> Idle {
        Idle((self.0 >> 5) as u16 & ((1 << Idle::BITS) - 1))
    }

    /// By which address.
    #[inline(always)]
    pub const fn address(self) -> Ipv4Addr {
        Ipv4Addr::from_bits((self.0 >> 32) as u32)
    }

    /// For packets.
    #[inline(always)]
    pub const fn rewrite(self) -> Rewrite {
        Rewrite { side: self.side(), address: self.address(), port: self.port() }
    }

    /// By which port or query identifier.
    #[inline(always)]
    pub const fn port(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Whether the entry is one of a pair that lives and ends together.
    pub const fn is_session(self) -> bool {
        !self.is_none() && !matches!(self.service(), Service::Eip | Service::Fragment)
    }

    /// As it is stored.
    pub(super) const fn to_word(self) -> u64 {
        self.0
    }

    /// The inverse of [`Translation::to_word`].
    pub(super) const fn from_word(word: u64) -> Translation {
        Translation(word)
    }
}

impl FlowKey {
    /// The key of the answers to this key's packets after `translation`, when they arrive from `net`.
    pub fn answer(&self, net: NetId, translation: Translation) -> FlowKey {
        let (mut source, mut destination) = (self.source(), self.destination());
        let (mut from, mut to) = (self.source_port(), self.destination_port());
        // An ICMP query and its answer have one identifier, whoever sends.
        let query = self.protocol() == protocol::ICMP;
        match (translation.is_none(), translation.side()) {
            (true, _) => {}
            (_, Side::Source) => (source, from) = (translation.address(), translation.port()),
            (_, Side::Destination) if query => {
                (destination, from) = (translation.address(), translation.port())
            }
            (_, Side::Destination) => (destination, to) = (translation.address(), translation.port()),
        }
        (from, to) = if query { (from, to ^ 1) } else { (to, from) };
        FlowKey::new(net, destination, source, self.protocol(), from, to, self.is_fragment())
    }
}

/// Which of SYN, ACK, FIN and RST one direction has sent; the flags of the TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSeen(u8);

impl TcpSeen {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    const ALL: u8 = TcpSeen::FIN | TcpSeen::SYN | TcpSeen::RST | TcpSeen::ACK;

    /// Of packets that are not TCP.
    pub const NOTHING: TcpSeen = TcpSeen(0);

    /// Of the flags byte of one segment; 0 for packets that are not TCP.
    #[inline(always)]
    pub const fn of_flags(flags: u8) -> TcpSeen {
        TcpSeen(flags & TcpSeen::ALL)
    }

    /// Whether it is, or has, a reset.
    pub const fn has_rst(self) -> bool {
        self.0 & TcpSeen::RST != 0
    }

    /// Whether it opens a connection: SYN without ACK.
    pub const fn opens(self) -> bool {
        self.0 & (TcpSeen::SYN | TcpSeen::ACK) == TcpSeen::SYN
    }

    /// With one more segment of the same direction.
    #[inline(always)]
    pub const fn then(self, segment: TcpSeen) -> TcpSeen {
        if self.0 | segment.0 == self.0 && self.0 & TcpSeen::RST == 0 && segment.0 & TcpSeen::SYN == 0 {
            return self;
        }
        let over = self.0 & (TcpSeen::FIN | TcpSeen::RST) != 0;
        if over && segment.0 & TcpSeen::SYN != 0 {
            segment
        } else if segment.0 & TcpSeen::RST == 0 {
            TcpSeen(self.0 & !TcpSeen::RST | segment.0)
        } else {
            TcpSeen(self.0 | segment.0)
        }
    }

    pub(super) const fn to_bits(self) -> u8 {
        self.0
    }

    pub(super) const fn from_bits(bits: u8) -> TcpSeen {
        TcpSeen(bits & TcpSeen::ALL)
    }
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    /// Not answered and acknowledged both ways yet.
    Opening,
    /// Data flows.
    Established,
    /// One side has finished.
    HalfClosed,
    /// Both have.
    Closing,
    /// One side has given up, or somebody says so.
    Reset,
}

impl TcpState {
    /// From what both directions have sent.
    pub const fn of(one: TcpSeen, other: TcpSeen) -> TcpState {
        let (any, both) = (one.0 | other.0, one.0 & other.0);
        if any & TcpSeen::RST != 0 {
            TcpState::Reset
        } else if both & TcpSeen::FIN != 0 {
            TcpState::Closing
        } else if both & TcpSeen::ACK == 0 {
            TcpState::Opening
        } else if any & TcpSeen::FIN != 0 {
            TcpState::HalfClosed
        } else {
            TcpState::Established
        }
    }

    /// As tools show it.
    pub const fn label(self) -> &'static str {
        match self {
            TcpState::Opening => "opening",
            TcpState::Established => "established",
            TcpState::HalfClosed => "half-closed",
            TcpState::Closing => "closing",
            TcpState::Reset => "reset",
        }
    }
}

impl FlowTimeouts {
    /// After how many ticks without packets a session of `protocol` ends, with its own timeout or the default one.
    pub const fn of_session(
        &self,
        protocol: u8,
        translation: Translation,
        one: TcpSeen,
        other: TcpSeen,
    ) -> u32 {
        let idle = translation.idle();
        match protocol {
            protocol::TCP => match TcpState::of(one, other) {
                TcpState::Established | TcpState::HalfClosed => idle.ticks_or(self.tcp_established),
                TcpState::Opening => self.transitory(translation, self.balanced_opening),
                TcpState::Closing | TcpState::Reset => self.transitory(translation, self.balanced_closing),
            },
            protocol::UDP => idle.ticks_or(self.udp),
            protocol::ICMP => self.icmp,
            _ => self.other,
        }
    }

    /// That of a TCP session that is not established: `balanced` at most for one of a listener.
    const fn transitory(&self, translation: Translation, balanced: u32) -> u32 {
        match translation.service() {
            Service::Balanced | Service::FullNat | Service::Masked if balanced < self.tcp_transitory => {
                balanced
            }
            _ => self.tcp_transitory,
        }
    }

    /// After how many ticks without packets an entry is looked at. It goes then; or, one of a session, the other direction is
    /// asked first, which may know that the connection is over (and is looked at by itself then) or not.
    pub(super) const fn of_entry(&self, protocol: u8, translation: Translation, seen: TcpSeen) -> u32 {
        if translation.is_session() {
            let ends = seen.0 & (TcpSeen::FIN | TcpSeen::RST) != 0;
            match protocol {
                protocol::TCP if ends => self.transitory(translation, self.balanced_closing),
                protocol::TCP if seen.0 & TcpSeen::ACK == 0 => {
                    self.transitory(translation, self.balanced_opening)
                }
                _ => self.of_session(protocol, translation, seen, seen),
            }
        } else if !translation.is_none() && matches!(translation.service(), Service::Fragment) {
            self.fragment
        } else {
            self.idle
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: u8 = TcpSeen::SYN;
    const ACK: u8 = TcpSeen::ACK;
    const FIN: u8 = TcpSeen::FIN;
    const RST: u8 = TcpSeen::RST;

    fn after(segments: &[u8]) -> TcpSeen {
        segments.iter().fold(TcpSeen::default(), |seen, flags| seen.then(TcpSeen::of_flags(*flags)))
    }

    #[test]
    fn the_state_follows_what_both_sides_sent() {
        use TcpState::{Closing, Established, HalfClosed, Opening, Reset};
        for (out, back, state) in [
            (&[SYN][..], &[][..], Opening),
            (&[SYN], &[SYN | ACK], Opening),
            (&[SYN, ACK], &[SYN | ACK], Established),
            // Simultaneous open (RFC 9293 figure 7).
            (&[SYN, SYN | ACK], &[SYN, SYN | ACK], Established),
            // Picked up in the middle.
            (&[ACK | 8], &[ACK], Established),
            (&[SYN, ACK, FIN | ACK], &[SYN | ACK, ACK], HalfClosed),
            (&[SYN, ACK, FIN | ACK], &[SYN | ACK, ACK, FIN | ACK], Closing),
            (&[SYN], &[RST | ACK], Reset),
            (&[SYN, ACK], &[SYN | ACK, RST], Reset),
            // A reset that its sender did not send (RFC 5961): it goes on.
            (&[SYN, ACK], &[SYN | ACK, RST, ACK], Established),
            // The other side going on says nothing.
            (&[SYN, ACK, ACK], &[SYN | ACK, RST], Reset),
            // New connections on the same ports.
            (&[SYN, ACK, FIN | ACK, SYN], &[SYN | ACK, FIN | ACK], Opening),
            (&[SYN, ACK, FIN | ACK, SYN, ACK], &[SYN | ACK, FIN | ACK, SYN | ACK], Established),
            (&[SYN, ACK, RST, SYN, ACK], &[SYN | ACK, SYN | ACK], Established),
        ] {
            assert_eq!(TcpState::of(after(out), after(back)), state, "{out:?} {back:?}");
            assert_eq!(TcpState::of(after(back), after(out)), state, "{back:?} {out:?}");
        }
    }

    #[test]
    fn an_answer_of_an_answer_is_the_flow_itself() {
        let (vm, remote, vip) =
            (Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(5, 5, 5, 5));
        for (protocol, from, to) in [(6, 40_000, 443), (17, 40_000, 53), (1, 77, 0), (47, 0, 0)] {
            let out = FlowKey::new(NetId(3), vm, remote, protocol, from, to, false);
            let public = if protocol == 47 { 0 } else { 1024 };
            let there = Translation::new(Service::Snat, Side::Source, vip, public);
            let back = out.answer(NetId(1), there);
            let expected = if protocol == 1 { (public, 1) } else { (to, public) };
            assert_eq!((back.source(), back.destination(), back.net()), (remote, vip, NetId(1)));
            assert_eq!((back.source_port(), back.destination_port()), expected);
            let home = Translation::new(Service::Snat, Side::Destination, vm, from);
            assert_eq!(back.answer(NetId(3), home), out);
        }
    }

    #[test]
    fn a_timeout_is_rounded_up_a_little() {
        assert_eq!(Idle::DEFAULT.seconds(), None);
        for seconds in (1..=1000).chain([3600, 7440, 86_399, 86_400, 4_000_000]) {
            let kept = Idle::of_s(seconds).seconds().unwrap();
            assert!(seconds <= kept && kept - seconds <= seconds / 64, "{seconds} {kept}");
            assert!(seconds > 127 || kept == seconds);
        }
    }

    #[test]
    fn a_rewrite_gives_back_what_was_put_in() {
        use Service::{Balanced, Eip, Forward, Fragment, FullNat, Masked, Snat};
        for service in [Eip, Snat, Forward, Fragment, Balanced, FullNat, Masked] {
            for side in [Side::Source, Side::Destination] {
                let translation = Translation::new(service, side, Ipv4Addr::BROADCAST, u16::MAX);
                assert_eq!((translation.service(), translation.side()), (service, side));
                assert_eq!((translation.address(), translation.port()), (Ipv4Addr::BROADCAST, u16::MAX));
                assert!(!translation.is_none());
                let timed = translation.with_idle(Idle::of_s(90)).with_idle(Idle::of_s(127));
                assert_eq!((timed.idle(), timed.with_idle(Idle::DEFAULT)), (Idle::of_s(127), translation));
                assert_eq!((timed.service(), timed.rewrite()), (service, translation.rewrite()));
                let least = Translation::new(service, side, Ipv4Addr::UNSPECIFIED, 0);
                assert!(!least.is_none());
            }
        }
    }
}
