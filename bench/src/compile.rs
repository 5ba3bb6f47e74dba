//! What a configuration costs control: a document of many networks, read from nothing, then with one address changed.

use std::{collections::HashMap, fmt::Write, sync::Arc, time::Instant};

use anyhow::{Result, anyhow, ensure};
use comfy_table::{CellAlignment, Table, presets};
use tidegate_control::{
    compile::{Compiled, Facts, PortFact, compile},
    config::{self, Config},
    desired::Desired,
};
use tidegate_fastpath::types::{MacAddr, PortId};

/// What is done with a document, in this order.
const STEPS: [&str; 3] = ["parse and check", "number", "compile"];

/// How large the document is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// VPC routers.
    pub vpcs: u16,
    /// VXLAN networks of each: `10.0.<n>.0/24`, the same in every VPC.
    pub networks: u8,
}

/// Milliseconds of each step.
type Times = [f64; STEPS.len()];

/// The median over `rounds` of what each step takes, as a table: for the whole document, and for one changed address.
///
/// # Errors
/// The document is refused (it has more networks than a gateway takes), or a change of one network did not make one network
/// and one routing table anew.
pub fn table(size: Size, rounds: usize) -> Result<String> {
    let rounds = (0..rounds.max(1)).map(|_| round(size)).collect::<Result<Vec<_>>>()?;
    let median = |of: &dyn Fn(&[Times; 2]) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        format!("{:.1}", all[all.len() / 2])
    };
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header([
        "step",
        "from nothing, ms",
        "one change, ms",
    ]);
    for (at, step) in STEPS.into_iter().enumerate() {
        table.add_row([step.to_owned(), median(&|round| round[0][at]), median(&|round| round[1][at])]);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    Ok(table.to_string())
}

fn round(size: Size) -> Result<[Times; 2]> {
    let facts = Facts {
        ports: HashMap::from([(PortId(0), PortFact { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), up: true })]),
        ..Facts::default()
    };
    let (first, before, whole) = apply(&document(size, 1), &facts, None)?;
    let (_, after, change) = apply(&document(size, 2), &facts, Some((&first, &before)))?;
    let nets = anew(&before.tables.nets, &after.tables.nets);
    let vrfs = anew(&before.tables.vrfs, &after.tables.vrfs);
    ensure!((nets, vrfs) == (1, 1), "one change made {nets} networks and {vrfs} routing tables anew");
    Ok([whole, change])
}

/// Does with a document what control does, on top of the last result.
fn apply(
    text: &str,
    facts: &Facts,
    last: Option<(&Desired, &Compiled)>,
) -> Result<(Desired, Compiled, Times)> {
    let start = Instant::now();
    let config: Config = config::parse(text).map_err(|problems| anyhow!("{problems}"))?;
    let parsed = Instant::now();
    let desired = match last {
        Some((desired, _)) => desired.next(config),
        None => Desired::new(config),
    };
    let numbered = Instant::now();
    let compiled = compile(&desired, facts, last.map(|(_, compiled)| compiled));
    let times = [parsed - start, numbered - parsed, numbered.elapsed()];
    Ok((desired, compiled, times.map(|took| took.as_secs_f64() * 1e3)))
}

/// How many of the tables were made anew.
fn anew<T>(before: &[Option<Arc<T>>], after: &[Option<Arc<T>>]) -> usize {
    let kept = |(a, b): (&Option<Arc<T>>, &Option<Arc<T>>)| match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    before.len().abs_diff(after.len()) + before.iter().zip(after).filter(|pair| !kept(*pair)).count()
}

/// A gateway with one port; the last host number of the first network's gateway address is `gateway`.
fn document(Size { vpcs, networks }: Size, gateway: u8) -> String {
    let all = u32::from(vpcs) * u32::from(networks);
    let mut text = format!(
        "\
gateway:
  limits: {{ networks: {} }}
  ports: [{{ id: under, device: net_null0, mtu: 1600, addresses: [172.31.0.1/24] }}]
vxlan_pools: [{{ id: pool, vni_range: 1-16777215, vtep_cidr: 172.31.0.0/24 }}]
vpc_routers:
",
        (all + 1).max(16)
    );
    for vpc in 0..vpcs {
        let _ = writeln!(text, "  - {{ id: v{vpc} }}");
    }
    text += "vpc_networks:\n";
    for n in 0..all {
        let (vpc, subnet) = (n / u32::from(networks), n % u32::from(networks));
        let host = if n == 0 { gateway } else { 1 };
        let _ = writeln!(
            text,
            "  - {{ id: n{n}, vpc: v{vpc}, cidr: 10.0.{subnet}.0/24, gateway: 10.0.{subnet}.{host}, vxlan: {{ pool: pool, vni: {} }} }}",
            n + 1
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_makes_one_network_and_one_routing_table_anew() {
        let text = table(Size { vpcs: 3, networks: 2 }, 1).unwrap();
        assert!(STEPS.iter().all(|step| text.contains(step)), "{text}");
    }
}
