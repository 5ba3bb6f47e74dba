//! A record: key, program and counters of one flow in one cache line.

use std::net::Ipv4Addr;

use super::{
    FlowKey, FlowView, Program,
    session::{TcpSeen, Translation},
    sync::{AtomicU64, Ordering},
};
use crate::{
    counter::COUNTING,
    policer::Policers,
    table::neighbour::NeighbourId,
    types::{NetId, Tick, VrfId},
};

/// Set beside the tick while a record belongs to a flow, so that the sweep can pass over the others.
const IN_USE: u64 = 1 << 32;
/// Where [`TcpSeen`] is beside it.
const TCP_SHIFT: u32 = 40;
/// Where [`Policers`] are beside it, which are part of the program and stay as they are.
const POLICERS_SHIFT: u32 = 48;

/// One cache line. Key and program do not change while any worker can see the record.
#[repr(C)]
#[cfg_attr(not(loom), repr(align(64)))]
#[derive(Debug)]
pub(super) struct Record {
    key: [AtomicU64; 2],
    /// generation << 32 | next hop
    decision: AtomicU64,
    /// inside << 48 | egress << 32 | VTEP of origin
    way: AtomicU64,
    packets: AtomicU64,
    /// IP total length, summed.
    bytes: AtomicU64,
    /// rate limits << 48 | TCP flags << 40 | [`IN_USE`] | tick of the last packet
    seen: AtomicU64,
    translation: AtomicU64,
}

/// What a packet counts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) seen: TcpSeen,
}

impl Counts {
    /// The state alone, with nothing counted.
    pub(super) const fn emptied(self) -> Counts {
        Counts { packets: 0, bytes: 0, ..self }
    }
}

impl Record {
    /// Fills a record that no other thread can see.
    pub(super) fn fill(&self, key: &FlowKey, program: &Program, counts: Counts, now: Tick) {
        let [addresses, rest] = key.to_words();
        self.key[0].store(addresses, Ordering::Relaxed);
        self.key[1].store(rest, Ordering::Relaxed);
        let decision = u64::from(program.generation) << 32 | u64::from(program.next.to_u32());
        self.decision.store(decision, Ordering::Relaxed);
        let nets = u64::from(program.inside.0) << 48 | u64::from(program.egress.0) << 32;
        self.way.store(nets | u64::from(program.from_vtep.to_bits()), Ordering::Relaxed);
        self.translation.store(program.translation.to_word(), Ordering::Relaxed);
        self.packets.store(counts.packets, Ordering::Relaxed);
        self.bytes.store(counts.bytes, Ordering::Relaxed);
        self.seen.store(seen(program.policers, counts.seen, now), Ordering::Relaxed);
    }

    /// Marks a record that no other thread can see as belonging to no flow.
    pub(super) fn clear(&self) {
        self.seen.store(0, Ordering::Relaxed);
    }

    /// Makes the program one of no generation, without next hop: the next packet decides it again. Nobody else has the table.
    pub(super) fn decide_again(&self) {
        self.decision.store(u64::from(NeighbourId::NONE.to_u32()), Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn is_of(&self, key: &FlowKey) -> bool {
        let [addresses, rest] = key.to_words();
        self.key[0].load(Ordering::Relaxed) == addresses && self.key[1].load(Ordering::Relaxed) == rest
    }

    pub(super) fn key(&self) -> FlowKey {
        FlowKey::from_words([self.key[0].load(Ordering::Relaxed), self.key[1].load(Ordering::Relaxed)])
    }

    /// Generation and next hop.
    #[inline(always)]
    pub(super) fn decision(&self) -> (u32, NeighbourId) {
        let decision = self.decision.load(Ordering::Relaxed);
        ((decision >> 32) as u32, NeighbourId::from_u32(decision as u32))
    }

    /// Network of egress, and VTEP of origin as a number.
    #[inline(always)]
    pub(super) fn way(&self) -> (NetId, u32) {
        let way = self.way.load(Ordering::Relaxed);
        (NetId((way >> 32) as u16), way as u32)
    }

    #[inline(always)]
    pub(super) fn program(&self) -> Program {
        let decision = self.decision.load(Ordering::Relaxed);
        let way = self.way.load(Ordering::Relaxed);
        Program {
            generation: (decision >> 32) as u32,
            egress: NetId((way >> 32) as u16),
            next: NeighbourId::from_u32(decision as u32),
            from_vtep: Ipv4Addr::from_bits(way as u32),
            translation: Translation::from_word(self.translation.load(Ordering::Relaxed)),
            inside: VrfId((way >> 48) as u16),
            policers: policers(self.seen.load(Ordering::Relaxed)),
        }
    }

    #[inline(always)]
    pub(super) fn translation(&self) -> Translation {
        Translation::from_word(self.translation.load(Ordering::Relaxed))
    }

    pub(super) fn tcp(&self) -> TcpSeen {
        TcpSeen::from_bits((self.seen.load(Ordering::Relaxed) >> TCP_SHIFT) as u8)
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            seen: self.tcp(),
        }
    }

    /// Load and store, no locked instruction: one worker receives the packets of a flow. If two do (the NIC's queues were
    /// changed), a count may be lost, nothing else.
    #[inline(always)]
    pub(super) fn touch(&self, bytes: usize, now: Tick, segment: TcpSeen) {
        if COUNTING {
            self.packets.store(self.packets.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            self.bytes
                .store(self.bytes.load(Ordering::Relaxed).wrapping_add(bytes as u64), Ordering::Relaxed);
        }
        let old = self.seen.load(Ordering::Relaxed);
        let new = seen(policers(old), TcpSeen::from_bits((old >> TCP_SHIFT) as u8).then(segment), now);
        if old != new {
            self.seen.store(new, Ordering::Relaxed);
        }
    }

    /// As [`Record::touch`], for packets that are not TCP or are of a connection that goes on: those change no state but
    /// after a reset, which must be looked at. Returns the rate limits, which are in the word that it reads.
    #[inline(always)]
    pub(super) fn touch_open(&self, bytes: u16, now: Tick, segment: TcpSeen) -> Policers {
        let old = self.seen.load(Ordering::Relaxed);
        let new = old & !u64::from(u32::MAX) | u64::from(now.0) | u64::from(segment.to_bits()) << TCP_SHIFT;
        if TcpSeen::from_bits((old >> TCP_SHIFT) as u8).has_rst() {
            self.touch_reset(bytes, now, segment);
            return policers(old);
        }
        if COUNTING {
            self.packets.store(self.packets.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            self.bytes
                .store(self.bytes.load(Ordering::Relaxed).wrapping_add(bytes.into()), Ordering::Relaxed);
        }
        self.seen.store(new, Ordering::Relaxed);
        policers(old)
    }

    #[cold]
    #[inline(never)]
    fn touch_reset(&self, bytes: u16, now: Tick, segment: TcpSeen) {
        self.touch(bytes.into(), now, segment);
    }

    /// Tick of the last packet if the record belongs to a flow. A hint where the record may be changing hands: what is
    /// decided on it is checked again under the bucket's lock.
    pub(super) fn last_seen(&self) -> Option<Tick> {
        let seen = self.seen.load(Ordering::Relaxed);
        (seen & IN_USE != 0).then_some(Tick(seen as u32))
    }

    pub(super) fn view(&self) -> FlowView {
        let Counts { packets, bytes, seen } = self.counts();
        let last_seen = self.last_seen().unwrap_or_default();
        FlowView { key: self.key(), program: self.program(), packets, bytes, last_seen, seen }
    }
}

/// The word of a record that belongs to a flow.
#[inline(always)]
fn seen(policers: Policers, tcp: TcpSeen, now: Tick) -> u64 {
    u64::from(policers.to_bits()) << POLICERS_SHIFT
        | u64::from(tcp.to_bits()) << TCP_SHIFT
        | IN_USE
        | u64::from(now.0)
}

#[inline(always)]
fn policers(seen: u64) -> Policers {
    Policers::from_bits((seen >> POLICERS_SHIFT) as u16)
}

#[cfg(loom)]
impl Default for Record {
    fn default() -> Record {
        let zero = || AtomicU64::new(0);
        Record {
            key: [zero(), zero()],
            decision: zero(),
            way: zero(),
            packets: zero(),
            bytes: zero(),
            seen: zero(),
            translation: zero(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn empty() -> Record {
        Record {
            key: Default::default(),
            decision: AtomicU64::new(0),
            way: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            translation: AtomicU64::new(0),
        }
    }

    #[test]
    fn a_record_is_one_cache_line() {
        assert_eq!((size_of::<Record>(), align_of::<Record>()), (64, 64));
    }

    #[test]
    fn a_record_gives_back_what_was_put_in() {
        let record = empty();
        assert_eq!(record.last_seen(), None);
        for (key, program) in [
            (
                FlowKey::from_words([0, 0]),
                Program {
                    generation: 0,
                    egress: NetId(0),
                    next: NeighbourId::from_u32(0),
                    from_vtep: Ipv4Addr::UNSPECIFIED,
                    translation: Translation::NONE,
                    inside: VrfId(0),
                    policers: Policers::NONE,
                },
            ),
            (
                FlowKey::from_words([u64::MAX, u64::MAX]),
                Program {
                    generation: u32::MAX,
                    egress: NetId(u16::MAX),
                    next: NeighbourId::from_u32(u32::MAX),
                    from_vtep: Ipv4Addr::BROADCAST,
                    translation: Translation::from_word(u64::MAX),
                    inside: VrfId(u16::MAX),
                    policers: Policers::from_bits(u16::MAX),
                },
            ),
        ] {
            record.fill(
                &key,
                &program,
                Counts { packets: 7, bytes: 700, seen: TcpSeen::of_flags(0x02) },
                Tick(u32::MAX),
            );
            record.touch(60, Tick(3), TcpSeen::of_flags(0x18));
            assert!(record.is_of(&key));
            let view = record.view();
            assert_eq!((view.key, view.program), (key, program));
            assert_eq!((view.packets, view.bytes, view.last_seen), (8, 760, Tick(3)));
            assert_eq!(view.seen, TcpSeen::of_flags(0x12));
        }
        record.clear();
        assert_eq!(record.last_seen(), None);
    }
}
