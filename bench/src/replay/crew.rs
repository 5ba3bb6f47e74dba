//! Several workers at once, each on a CPU of its own with flows of its own, on one site: what they share slows them down, if
//! anything does.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};

use super::station::{Feed, Station};
use crate::{
    cycles,
    measurement::{Label, Length, Outcome, Sample, Subject},
    pool::Pool,
    scenario::{Name, Parameters, Scenario},
    site::Site,
    traffic::Traffic,
};

/// More than the kernel's set of CPUs has room for.
const CPUS: usize = 1024;

/// Workers that replay traffic of established flows.
pub struct Crew<P: Pool> {
    label: Label,
    scenario: Arc<dyn Scenario>,
    site: Site,
    members: Vec<Member<P>>,
}

/// One of them.
struct Member<P: Pool> {
    station: Station<P>,
    feed: Feed,
    /// For its thread.
    pool: P,
    cpu: usize,
    /// Of all rounds.
    sum: Sample,
}

impl<P: Pool> Member<P> {
    /// Works for a while, on a thread that it pins.
    fn round(&mut self, burst: usize, length: Length, start: &Barrier) -> Result<Sample> {
        let ready = self.take_seat();
        // Whoever is not ready still lets the others go.
        start.wait();
        let _seat = ready?;
        let (mut sample, begin, before) = (Sample::default(), cycles::now(), self.station.received);
        while !length.is_over(cycles::now() - begin, self.station.received - before) {
            self.station.pass(&mut self.feed, burst, &mut sample, length.counts_packets())?;
        }
        self.sum.join(&sample);
        Ok(sample)
    }

    fn take_seat(&self) -> Result<P::Seat> {
        ensure!(
            self.cpu < CPUS && core_affinity::set_for_current(core_affinity::CoreId { id: self.cpu }),
            "CPU {} is not there",
            self.cpu
        );
        self.pool.seat()
    }
}

impl<P: Pool> Crew<P> {
    /// `workers` workers, each with a part of the flows, on CPUs from `cpu` on.
    ///
    /// # Errors
    /// Parameters of the scenario that do not fit, fewer flows than workers, no memory.
    pub fn new(
        name: Name,
        parameters: &Parameters,
        workers: u32,
        cpu: usize,
        pool: P,
        burst: usize,
    ) -> Result<Crew<P>> {
        let scenario = name.with(parameters);
        ensure!(parameters.flows >= workers, "{} flows are too few for {workers} workers", parameters.flows);
        let (site, parts) = Site::new(&*scenario, workers as usize)?;
        let mut members = Vec::new();
        let buffers = pool.name();
        let mut in_hugepages = !scenario.load().tracked || site.hugepages();
        for (n, parts) in (0..workers).zip(parts) {
            let first = |n| (u64::from(parameters.flows) * u64::from(n) / u64::from(workers)) as u32;
            let traffic = Traffic::of_flows(&*scenario, first(n)..first(n + 1))?;
            let pool = pool.clone();
            in_hugepages &= pool.hugepages().unwrap_or(scenario.load().tracked);
            let station = Station::new(parts, pool.clone(), scenario.port())?;
            let (feed, sum) = (Feed::in_order(traffic), Sample::default());
            members.push(Member { station, feed, pool, cpu: cpu + n as usize, sum });
        }
        let workers = members.len();
        let label = Label { workers, hugepages: in_hugepages, ..Label::new(&*scenario, buffers, burst) };
        Ok(Crew { label, scenario, site, members })
    }
}

impl<P: Pool> Subject for Crew<P> {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        let mut ignored = Sample::default();
        for Member { station, feed, .. } in &mut self.members {
            let mut each = feed.each_once();
            for _ in 0..each.turn().div_ceil(self.label.burst) + 4 {
                let what = (&*self.scenario, &self.site);
                station.checked_pass(&mut each, self.label.burst, what, &mut ignored)?;
            }
        }
        Ok(())
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        let (burst, start) = (self.label.burst, Barrier::new(self.members.len()));
        let samples = thread::scope(|scope| {
            let work = |member: &mut Member<P>| member.round(burst, length, &start);
            let threads: Vec<_> =
                self.members.iter_mut().map(|member| scope.spawn(move || work(member))).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|result| result.map_err(|_| anyhow!("a worker panicked"))?).collect::<Result<Vec<_>>>()
        })
        .context("a worker's thread")?;
        let mut all = Sample::default();
        samples.iter().for_each(|sample| all.join(sample));
        Ok(all)
    }

    fn finish(&mut self) -> Result<Outcome> {
        let received = self.members.iter().map(|member| member.station.received).sum();
        let sent = self.members.iter().map(|member| member.station.sent).sum();
        let books = self.site.books();
        ensure!(books.balance() && books.rx == received, "the books do not balance: {books:?}");
        ensure!(received == sent, "{received} frames received, {sent} sent: {:?}", self.site.drops());
        let hz = cycles::hz();
        Ok(Outcome {
            received,
            sent,
            bytes_per_connection: self.site.bytes_per_connection(),
            entries: self.scenario.load().tracked.then(|| self.site.entries()),
            mpps_each: self.members.iter().map(|member| hz / member.sum.total_per_packet() / 1e6).collect(),
            ..Outcome::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{measurement::measure, pool::MemPool};

    #[test]
    fn two_workers_share_a_site_and_lose_nothing() {
        let parameters = Parameters { flows: 1001, ..Parameters::default() };
        for name in [Name::Ip4, Name::VxlanSnat] {
            let crew = Crew::new(name, &parameters, 2, 0, MemPool::default(), 32).unwrap();
            let rows = measure(&mut [Box::new(crew)], 2, Length::Packets(3200)).unwrap();
            let outcome = &rows[0].outcome;
            assert!(rows[0].label.workers == 2 && outcome.sent >= 2 * 2 * 3200, "{outcome:?}");
            assert_eq!(outcome.mpps_each.len(), 2);
            assert_eq!(outcome.entries, (name == Name::VxlanSnat).then_some(2002));
        }
    }

    #[test]
    fn a_worker_without_cpu_is_an_error_and_no_hang() {
        let parameters = Parameters { flows: 10, ..Parameters::default() };
        let crew = Crew::new(Name::Ip4, &parameters, 2, 1023, MemPool::default(), 32).unwrap();
        let error = measure(&mut [Box::new(crew)], 1, Length::Packets(1)).unwrap_err();
        assert!(format!("{error:#}").contains("CPU 102"), "{error:#}");
    }
}
