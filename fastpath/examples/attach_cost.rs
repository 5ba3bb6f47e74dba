//! What it costs to take over the flow table of a process that was killed: a file with so many sessions (two entries each), with
//! the port leases of their VMs left out. `cargo run --release -p tidegate-fastpath --example attach_cost [FILE] [sessions]...`

use std::{
    fs::{File, OpenOptions},
    io,
    net::Ipv4Addr,
    time::Instant,
};

use tidegate_fastpath::{
    flow::{
        FileFor, FlowKey, FlowMemory, FlowTable, Program,
        session::{Service, Translation},
    },
    table::neighbour::NeighbourId,
    types::{NetId, Tick, VrfId},
    wire::translate::Side,
};

fn main() -> io::Result<()> {
    let mut given = std::env::args().skip(1);
    let path = given.next().unwrap_or_else(|| "/dev/shm/tidegate-attach-cost.flows".to_owned());
    let sessions: Vec<u32> = given.filter_map(|arg| arg.parse().ok()).collect();
    let sessions = if sessions.is_empty() { vec![10_000, 100_000, 1_000_000] } else { sessions };
    println!("{:>10} {:>10} {:>12} {:>12}", "sessions", "kept", "map ms", "attach ms");
    for sessions in sessions {
        measure(&path, sessions)?;
        std::fs::remove_file(&path)?;
    }
    Ok(())
}

fn measure(path: &str, sessions: u32) -> io::Result<()> {
    let what = FileFor { capacity: 2 * sessions as usize, workers: 1, boot: 1, hugepages: false };
    let file = open(path)?;
    file.set_len(what.bytes())?;
    let memory = FlowMemory::of_file(file, &what).map_err(io::Error::other)?;
    let (mut workers, reader, _) = FlowTable::attach(memory, |_| true);
    for n in 0..sessions {
        for (key, program) in session(n) {
            // One key in some thousands may find its buckets full.
            let hash = workers[0].hash(&key);
            _ = workers[0].learn(&key, hash, program, Tick(0));
        }
    }
    drop((workers, reader));
    let start = Instant::now();
    let memory = FlowMemory::of_file(open(path)?, &what).map_err(io::Error::other)?;
    let mapped = start.elapsed();
    let (_workers, _reader, recovery) = FlowTable::attach(memory, |_| true);
    let attached = start.elapsed() - mapped;
    println!(
        "{sessions:>10} {:>10} {:>12.1} {:>12.1}",
        recovery.sessions,
        mapped.as_secs_f64() * 1e3,
        attached.as_secs_f64() * 1e3
    );
    Ok(())
}

fn open(path: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Both entries of a session of one of many VMs.
fn session(n: u32) -> [(FlowKey, Program); 2] {
    let (vm, port) = (Ipv4Addr::from_bits(0x0a00_0000 | n >> 6), (n % 64 + 1024) as u16);
    let vip = Ipv4Addr::from_bits(0xcb00_0000 | n >> 15);
    let remote = Ipv4Addr::new(192, 0, 2, 1);
    let there = Translation::new(Service::Snat, Side::Source, vip, (n % 32_768) as u16 + 1024);
    let home = Translation::new(Service::Snat, Side::Destination, vm, port);
    let out = FlowKey::new(NetId(2), vm, remote, 6, port, 443, false);
    let program = |egress, translation| Program {
        generation: 1,
        egress,
        next: NeighbourId::from_u32(3),
        from_vtep: Ipv4Addr::UNSPECIFIED,
        translation,
        inside: VrfId(1),
        policers: Default::default(),
    };
    [(out.answer(NetId(1), there), program(NetId(2), home)), (out, program(NetId(1), there))]
}
