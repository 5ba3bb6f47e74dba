//! What does it cost that the packet path is generic over its buffer? Three forms of the same part of the way, decap, checks,
//! TTL, adjacency, encap, on the same mbufs: through the `Buffer` trait, written by hand for mbufs, and through a trait
//! object. See `docs/adr/0002-packet-buffer.md`.

mod by_hand;
mod object;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use dpdk_sys::mbuf::Mbuf;
use tidegate_fastpath::{
    buffer::Buffer,
    io::Burst,
    prefetch,
    stage::{ingress, link},
    table::{
        Tables,
        neighbour::{NeighbourTable, Reach},
    },
    types::{NetId, PortId},
    wire::ipv4,
};

use self::object::Object;
use crate::{
    cycles,
    gateway::Gateway,
    measurement::{Label, Length, Sample, Subject},
    pool::{MbufPool, Pool},
    scenario::{Scenario, VxlanVxlan},
    traffic::Traffic,
};

/// What each form of the part is given.
struct Gear {
    tables: Tables,
    neighbours: Arc<NeighbourTable>,
    port: PortId,
    /// The network that all packets go out to.
    egress: NetId,
}

/// One form: takes a frame from its port to the next, or gives up.
trait Form {
    const NAME: &'static str;

    fn pass(gear: &Gear, packet: &mut Mbuf) -> Option<PortId>;
}

/// Through the trait, compiled for mbufs.
struct ByTrait;

/// Through a trait object.
struct ByObject;

/// On the mbuf itself.
struct ByHand;

impl Form for ByTrait {
    const NAME: &'static str = "trait";

    #[inline(always)]
    fn pass(gear: &Gear, packet: &mut Mbuf) -> Option<PortId> {
        through_trait(gear, packet)
    }
}

impl Form for ByObject {
    const NAME: &'static str = "object";

    #[inline(always)]
    fn pass(gear: &Gear, packet: &mut Mbuf) -> Option<PortId> {
        through_trait(gear, &mut Object(std::hint::black_box(packet)))
    }
}

impl Form for ByHand {
    const NAME: &'static str = "by hand";

    #[inline(always)]
    fn pass(gear: &Gear, packet: &mut Mbuf) -> Option<PortId> {
        by_hand::pass(gear, packet)
    }
}

/// The part as the engine has it.
#[inline(always)]
fn through_trait<B: Buffer>(gear: &Gear, packet: &mut B) -> Option<PortId> {
    let arrival = ingress::receive(&gear.tables, gear.port, packet).ok()?;
    let egress = gear.tables.net(gear.egress)?;
    let next = gear.neighbours.lookup(gear.egress, arrival.ip.destination())?;
    let Reach::Resolved(adjacency) = gear.neighbours.reach(next) else { return None };
    if arrival.ip.ttl() <= 1 || arrival.ip.total_len() > egress.mtu.get() {
        return None;
    }
    let [hash, _] = arrival.key.to_words();
    let encap =
        link::encap(&gear.tables, &gear.neighbours, egress, &adjacency, hash, arrival.ip.tos()).ok()?;
    ipv4::decrement_ttl(packet.bytes_mut());
    encap.put_on(packet).ok()
}

/// A form with its traffic.
struct Part<F: Form> {
    label: Label,
    gear: Gear,
    scenario: VxlanVxlan,
    traffic: Traffic,
    pool: MbufPool,
    at: usize,
    received: u64,
    sent: u64,
    _form: std::marker::PhantomData<F>,
}

/// All forms, to be measured in turn.
///
/// # Errors
/// Parameters of the scenario that do not fit.
pub fn subjects(scenario: VxlanVxlan, pool: &MbufPool) -> Result<Vec<Box<dyn Subject>>> {
    let traffic = Traffic::new(&scenario);
    Ok(vec![
        Box::new(Part::<ByTrait>::new(scenario, traffic.clone(), pool)?),
        Box::new(Part::<ByHand>::new(scenario, traffic.clone(), pool)?),
        Box::new(Part::<ByObject>::new(scenario, traffic, pool)?),
    ])
}

const BURST: usize = tidegate_fastpath::io::BURST;

impl<F: Form> Part<F> {
    fn new(scenario: VxlanVxlan, traffic: Traffic, pool: &MbufPool) -> Result<Part<F>> {
        let Gateway { tables, neighbours } = scenario.gateway()?;
        let egress = NetId(tables.nets.len() as u16 - 1);
        let label = Label {
            scenario: "buffer",
            buffers: MbufPool::NAME,
            path: F::NAME,
            flows: scenario.load().flows,
            frame_bytes: scenario.load().frame_bytes,
            burst: BURST,
            workers: 1,
            services: Vec::new(),
            hugepages: pool.hugepages(),
        };
        let gear = Gear { tables, neighbours, port: scenario.port(), egress };
        let (pool, _form) = (pool.clone(), std::marker::PhantomData);
        Ok(Part { label, gear, scenario, traffic, pool, at: 0, received: 0, sent: 0, _form })
    }

    fn prepare(&mut self) -> Result<Burst<Mbuf>> {
        let mut burst = Burst::new();
        for n in 0..BURST {
            let frame = self.traffic.frame(self.at + n);
            let mut buffer = self.pool.alloc().context("the pool is empty")?;
            buffer.append(frame.len()).context("the frame is longer than a buffer")?.copy_from_slice(frame);
            burst.push(buffer);
        }
        self.at = (self.at + BURST) % self.traffic.len();
        self.received += BURST as u64;
        Ok(burst)
    }
}

/// What is measured; returns how many packets came through. A function of its own, for callgrind.
#[inline(never)]
fn work<F: Form>(gear: &Gear, burst: &mut Burst<Mbuf>) -> usize {
    for packet in burst.iter() {
        if let Some(first) = packet.bytes().first() {
            prefetch::read(first);
        }
    }
    burst.iter_mut().filter_map(|packet| F::pass(gear, packet)).count()
}

impl<F: Form> Subject for Part<F> {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        for _ in 0..self.traffic.len().div_ceil(BURST) {
            let first = self.at;
            let mut burst = self.prepare()?;
            self.sent += work::<F>(&self.gear, &mut burst) as u64;
            for (at, frame) in burst.iter().enumerate() {
                let flow = self.traffic.flow(first + at);
                self.scenario.check(flow, self.gear.port, frame.bytes()).context(F::NAME)?;
            }
        }
        Ok(())
    }

    fn first_cycles(&self) -> Option<f64> {
        None
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        let mut sample = Sample::default();
        let (begin, before) = (cycles::now(), self.received);
        let mut end = begin;
        while !length.is_over(end - begin, self.received - before) {
            let from = end;
            let mut burst = self.prepare()?;
            let received_at = cycles::now();
            let sent = work::<F>(&self.gear, &mut burst);
            let spent = cycles::now() - received_at;
            self.sent += sent as u64;
            self.pool.free(&mut burst);
            end = cycles::now();
            if length.counts_packets() {
                sample.add(BURST as u64, spent, end - from);
            } else {
                sample.add_if_whole(BURST as u64, spent, end - from);
            }
        }
        Ok(sample)
    }

    fn finish(&mut self) -> Result<(u64, u64)> {
        ensure!(self.received == self.sent, "{} frames received, {} sent", self.received, self.sent);
        Ok((self.received, self.sent))
    }
}
