//! What a lookup in the flow table costs: cycles per lookup in bursts of 32, flows in random order, in the three steps that the
//! pipeline uses. `cargo run --release -p tidegate-fastpath --example flow_cost [flows]...`; with `FLOW_FILE=/dev/shm/x` the
//! table is in that file, as a gateway has it.

use std::{fs::OpenOptions, hint::black_box, io, net::Ipv4Addr, time::Instant};

use tidegate_fastpath::{
    flow::{
        FileFor, FlowHash, FlowId, FlowKey, FlowMemory, FlowReader, FlowTable, FlowTimeouts, FlowWorker,
        Program,
        session::{TcpSeen, Translation},
    },
    table::neighbour::NeighbourId,
    types::{Nanos, NetId, Tick, VrfId},
};

const BURST: usize = 32;
/// Lookups per measurement.
const LOOKUPS: usize = 4 << 20;
const ROUNDS: usize = 5;
const TIMEOUTS: FlowTimeouts = FlowTimeouts::recommended(3600);

fn main() {
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let flows = if given.is_empty() { vec![1, 10_000, 100_000, 1_000_000] } else { given };
    println!("burst {BURST}, {LOOKUPS} lookups, median of {ROUNDS}");
    println!(
        "{:>10} {:>10} {:>12} {:>12} {:>12}  bytes/flow, hugepages",
        "flows", "learn", "hit", "hit+sweep", "miss"
    );
    for flows in flows {
        let (mut workers, reader) = match memory(flows.max(1024)) {
            Ok(memory) => {
                let (workers, reader, _) = FlowTable::attach(memory, |_| false);
                (workers, reader)
            }
            Err(error) => return eprintln!("{error}"),
        };
        measure(&mut workers[0], &reader, flows);
    }
}

fn memory(capacity: usize) -> io::Result<FlowMemory> {
    let Some(path) = std::env::var_os("FLOW_FILE") else {
        return FlowMemory::private(capacity, 1).map_err(io::Error::other);
    };
    let what = FileFor { capacity, workers: 1, boot: 1, hugepages: false };
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
    file.set_len(what.bytes())?;
    // It lives as long as it is open.
    std::fs::remove_file(&path)?;
    FlowMemory::of_file(file, &what).map_err(io::Error::other)
}

fn measure(worker: &mut FlowWorker, reader: &FlowReader, flows: usize) {
    worker.quiescent(Nanos(0), &TIMEOUTS);
    let keys: Vec<FlowKey> = (0..flows as u32).map(key).collect();
    let learn = cycles(|| keys.iter().for_each(|key| learn_one(worker, key))) / flows as f64;
    let order = random_order(flows);
    // Whole bursts.
    let len = flows.next_multiple_of(BURST);
    let known: Vec<FlowKey> = order.iter().cycle().take(len).map(|&at| keys[at]).collect();
    let unknown: Vec<FlowKey> = order.iter().cycle().take(len).map(|&at| key(at as u32 | 1 << 31)).collect();
    let hit = median(|| lookups(worker, &known, Nanos(0)));
    // A burst takes about 2 microseconds of a loaded worker's time.
    let swept = median(|| lookups(worker, &known, Nanos(2000)));
    let miss = median(|| lookups(worker, &unknown, Nanos(0)));
    println!(
        "{flows:>10} {learn:>10.0} {hit:>12.1} {swept:>12.1} {miss:>12.1}  {}, {}",
        reader.bytes_per_flow(),
        reader.hugepages()
    );
}

fn learn_one(worker: &mut FlowWorker, key: &FlowKey) {
    let program = Program {
        generation: 1,
        egress: NetId(2),
        next: NeighbourId::from_u32(3),
        from_vtep: Ipv4Addr::UNSPECIFIED,
        translation: Translation::NONE,
        inside: VrfId(0),
        policers: Default::default(),
    };
    // One key in some thousands may find its buckets full.
    _ = black_box(worker.learn(key, worker.hash(key), program, Tick(0)));
}

/// Cycles per lookup. Keys are read in sequence, their flows are in random order.
fn lookups(worker: &mut FlowWorker, keys: &[FlowKey], per_burst: Nanos) -> f64 {
    let mut now = Nanos(0);
    let mut found = 0usize;
    let mut bursts = keys.as_chunks::<BURST>().0.iter().cycle();
    let mut hashes = [FlowHash(0); BURST];
    let mut candidates: [Option<FlowId>; BURST] = [None; BURST];
    let cycles = cycles(|| {
        for _ in 0..LOOKUPS / BURST {
            now.0 += per_burst.0;
            let Some(burst) = bursts.next() else { return };
            for (hash, key) in hashes.iter_mut().zip(burst) {
                *hash = worker.hash(key);
                worker.prefetch(*hash);
            }
            for (candidate, hash) in candidates.iter_mut().zip(&hashes) {
                *candidate = worker.probe(*hash);
            }
            for ((key, hash), candidate) in burst.iter().zip(&hashes).zip(&candidates) {
                if let Some((id, program)) = worker.get(key, *hash, *candidate) {
                    worker.touch(id, 64, now.tick(), TcpSeen::default());
                    black_box(program.generation);
                    black_box(program.next);
                    found += 1;
                }
            }
            worker.quiescent(now, &TIMEOUTS);
        }
    });
    black_box(found);
    cycles / LOOKUPS as f64
}

fn key(n: u32) -> FlowKey {
    let source = Ipv4Addr::from_bits(n);
    FlowKey::new(
        NetId(1),
        source,
        Ipv4Addr::new(198, 51, 100, 1),
        6,
        40_000 + (n % 20_000) as u16,
        443,
        false,
    )
}

/// 0..len shuffled, always the same way (xorshift).
fn random_order(len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for at in (1..len).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(at, (random % (at as u64 + 1)) as usize);
    }
    order
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    measure();
    let mut all: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    all.sort_by(f64::total_cmp);
    all[ROUNDS / 2]
}

/// Cycles that `work` takes, in nanoseconds times the frequency given in `GHZ` (1 if not given).
fn cycles(work: impl FnOnce()) -> f64 {
    let ghz: f64 = std::env::var("GHZ").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 * ghz
}
