//! What it costs control to look for flows that are worth a shortcut: the flow table is gone through about once per second.

use std::{collections::HashMap, fmt::Write, net::Ipv4Addr, time::Instant};

use anyhow::{Context, Result, anyhow, ensure};
use comfy_table::{CellAlignment, Table, presets};
use tidegate_control::{
    compile::{Compiled, Facts, PortFact, compile},
    config,
    desired::Desired,
    zsnp::{Identity, Round, Zsnp},
};
use tidegate_fastpath::{
    flow::{FlowKey, FlowReader, FlowTable, Program, session::Translation},
    policer::Policers,
    table::neighbour::{self, NeighbourId},
    types::{MacAddr, Nanos, NetId, PortId, Tick, VrfId},
};
use tidegate_zsnp::{Key, KeyId, Keyring, Sender, SenderId};

/// Destinations per network; flows of one network to one destination are one sum.
const DESTINATIONS: u32 = 4096;
/// Networks of the VPC router.
const NETWORKS: u32 = 8;
/// Between two polls of control.
const POLL: Nanos = Nanos::from_ms(1);
/// From the beginning of a look to that of the next.
const LOOK_MS: u64 = 1_000;

/// The median over `rounds` looks of what one takes in all, and the longest of its steps, for each number of flows: as a table.
///
/// # Errors
/// No memory for so many flows.
pub fn table(flows: &[u32], rounds: usize) -> Result<String> {
    let mut table = Table::new();
    let head = ["flows", "one look, ms", "longest step, ms", "share of one core, %"];
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(head);
    for flows in flows {
        let mut looks = looks(*flows, rounds.max(1))?;
        looks.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ms, longest) = looks[looks.len() / 2];
        let share = ms / LOOK_MS as f64 * 100.0;
        table.add_row([
            flows.to_string(),
            format!("{ms:.1}"),
            format!("{longest:.2}"),
            format!("{share:.1}"),
        ]);
    }
    table.column_iter_mut().for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    Ok(table.to_string())
}

/// Milliseconds of all steps of a look, and of the longest, look by look.
fn looks(flows: u32, rounds: usize) -> Result<Vec<(f64, f64)>> {
    let compiled = compiled()?;
    let (_workers, mut reader) = filled(flows)?;
    let (_writer, neighbours) = neighbour::new(16);
    let key = Key::new(KeyId(1), &[7; 32]).context("a key")?;
    let keys = Keyring::new(key, None).context("a key ring")?;
    let mut zsnp = Zsnp::new(Some(compiled.1.clone()), 1);
    zsnp.set_identity(Identity { keys, sender: Sender::new(SenderId(1), 1) });
    let mut now = Nanos(1);
    let mut all = Vec::new();
    for _ in 0..rounds {
        let (mut sum, mut longest) = (0.0, 0.0_f64);
        for _ in 0..LOOK_MS {
            now = Nanos(now.0 + POLL.0);
            let mut round = Round { compiled: &compiled.0, neighbours: &neighbours, flows: &mut reader, now };
            let start = Instant::now();
            zsnp.poll(&mut round);
            let ms = start.elapsed().as_secs_f64() * 1e3;
            (sum, longest) = (sum + ms, longest.max(ms));
        }
        all.push((sum, longest));
    }
    Ok(all)
}

/// A VPC router whose switch is on.
fn compiled() -> Result<(Compiled, config::Zsnp)> {
    let mut text = "\
gateway:
  zsnp: { keys: /none }
  ports: [{ id: under, device: net_null0, mtu: 1600, addresses: [172.31.0.1/24] }]
vxlan_pools: [{ id: pool, vni_range: 1-16777215, vtep_cidr: 172.31.0.0/24 }]
vpc_routers: [{ id: v, distributed_routing: true }]
vpc_networks:
"
    .to_owned();
    for n in 0..NETWORKS {
        let _ = writeln!(
            text,
            "  - {{ id: n{n}, vpc: v, cidr: 10.{n}.0.0/16, gateway: 10.{n}.255.1, vxlan: {{ pool: pool, vni: {} }} }}",
            n + 1
        );
    }
    let config = config::parse(&text).map_err(|problems| anyhow!("{problems}"))?;
    let zsnp = config.gateway.zsnp.clone().context("gateway.zsnp is there")?;
    let ports = HashMap::from([(PortId(0), PortFact { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), up: true })]);
    let facts = Facts { ports, ..Facts::default() };
    let compiled = compile(&Desired::new(config), &facts, None);
    Ok((compiled, zsnp))
}

/// A flow table with so many flows between networks; whoever holds its workers keeps it alive.
fn filled(flows: u32) -> Result<(impl Sized, FlowReader)> {
    let (mut workers, reader) = FlowTable::new(flows as usize + flows as usize / 8, 1)?;
    let worker = workers.first_mut().context("one worker")?;
    let mut learned = 0;
    for n in 0..flows {
        let network = |n: u32| (n % NETWORKS) as u16 + 1;
        let (from, to) = (network(n), network(n + 1));
        let [_, _, a, b] = (n / NETWORKS % DESTINATIONS).to_be_bytes();
        let destination = Ipv4Addr::new(10, to as u8, a, b);
        let port = (n / DESTINATIONS) as u16;
        let key =
            FlowKey::new(NetId(from), Ipv4Addr::new(10, from as u8, 0, 9), destination, 6, port, 80, false);
        let program = Program {
            generation: 0,
            egress: NetId(to),
            next: NeighbourId::NONE,
            from_vtep: Ipv4Addr::new(172, 31, 0, (n % 64) as u8 + 2),
            translation: Translation::NONE,
            inside: VrfId(0),
            policers: Policers::NONE,
        };
        learned += u32::from(worker.learn(&key, worker.hash(&key), program, Tick(0)).is_ok());
        worker.offline();
    }
    ensure!(learned >= flows / 100 * 99, "only {learned} of {flows} flows have found room");
    Ok((workers, reader))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_over_a_small_table_is_told() {
        let text = table(&[1_000], 1).unwrap();
        assert!(text.contains("1000"), "{text}");
    }
}
