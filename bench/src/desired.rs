//! What desired state costs control: a site of many objects loaded at once, then one object changed.

use std::{collections::HashMap, fmt::Write, time::Instant};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use tidegate_control::{
    compile::{Compiled, Facts, PortFact, compile},
    config,
    desired::{Basis, By, Desired, Directory, Disk, Plan, Source, Step, Store, Transaction},
};
use tidegate_fastpath::types::{MacAddr, PortId};

/// What is done with a change, in this order.
const STEPS: [&str; 5] = ["read the text", "plan", "keep on disk", "number", "compile"];

/// How many objects.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// VPC routers.
    pub vpcs: u16,
    /// VXLAN networks of each, 250 at most.
    pub networks: u8,
    /// Routes, spread over the VPC routers.
    pub routes: u32,
    /// Port forwards, spread over the VPC routers; a VIP has 50.
    pub forwards: u32,
}

/// What the steps took, for all objects at once and for one of them afterwards, with the memory that is in use at the end.
///
/// # Errors
/// The objects are refused (there are more than a gateway takes), or files cannot be written.
pub fn table(size: Size) -> Result<String> {
    let before = crate::HEAP.allocated();
    let dir = tempfile::tempdir()?;
    let disk = Directory::open(dir.path().join("state")).map(|disk| Box::new(disk) as Box<dyn Disk>);
    let host = host(size)?;
    let (mut store, _) = Store::open(disk, &host, Vec::new(), &by())?;
    let facts = Facts {
        ports: HashMap::from([(PortId(0), PortFact { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), up: true })]),
        ..Facts::default()
    };
    let mut last = None;
    let text = document(size);
    let start = Instant::now();
    let file = config::read_tree(&text)?;
    let read = start.elapsed();
    drop(text);
    let whole = Step::Replace { file };
    let mut all = step(&mut store, whole, &facts, &mut last)?;
    all[0] = read.as_secs_f64() * 1e3;
    let body = serde_json::json!({
        "id": "f0", "vip": "vip0", "protocol": "tcp", "ports": "60000", "vpc": "v0", "address": "10.0.0.11",
    });
    let kind = "port_forwards".parse().map_err(anyhow::Error::msg)?;
    let one = step(&mut store, Step::Put { kind, body, etag: None }, &facts, &mut last)?;
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["step", "all, ms", "one change, ms"]);
    for (at, name) in STEPS.into_iter().enumerate() {
        table.add_row([name.to_owned(), format!("{:.1}", all[at]), format!("{:.1}", one[at])]);
    }
    let sum = |times: &[f64; STEPS.len()]| format!("{:.1}", times.iter().sum::<f64>());
    table.add_row(["together".to_owned(), sum(&all), sum(&one)]);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let objects = store.basis().documents.len();
    let heap = (crate::HEAP.allocated() - before) as f64 / 1e6;
    let files = std::fs::read_dir(dir.path().join("state"))?.map(|entry| Ok(entry?.metadata()?.len()));
    let files: u64 = files.sum::<std::io::Result<u64>>()?;
    Ok(format!("{table}\n{objects} objects, {heap:.0} MB of heap, {:.0} MB of files", files as f64 / 1e6))
}

/// One transaction, as far as publication.
fn step(
    store: &mut Store,
    step: Step,
    facts: &Facts,
    last: &mut Option<(Desired, Compiled)>,
) -> Result<[f64; STEPS.len()]> {
    let transaction = Transaction { steps: vec![step], ..Transaction::default() };
    let basis: Basis = store.basis().clone();
    let mut times = [0.0; STEPS.len()];
    let mut now = Instant::now();
    let mut lap = |at: usize| {
        times[at] = now.elapsed().as_secs_f64() * 1e3;
        now = Instant::now();
    };
    let plan: Plan = basis.plan(&transaction)?;
    lap(1);
    store.commit(&plan, &by(), None)?;
    lap(2);
    let config = plan.config().clone();
    let desired = match &last {
        Some((desired, _)) => desired.next(config),
        None => Desired::new(config),
    };
    lap(3);
    let compiled = compile(&desired, facts, last.as_ref().map(|(_, compiled)| compiled));
    lap(4);
    *last = Some((desired, compiled));
    Ok(times)
}

fn by() -> By {
    By { who: "bench".into(), source: Source::Socket, now_ms: 0, confirm_within_ms: None }
}

fn host(size: Size) -> Result<config::raw::RawGateway> {
    let networks = u32::from(size.vpcs) * u32::from(size.networks);
    let host = serde_json::json!({
        "limits": { "networks": (networks + 16).max(16) },
        "ports": [{ "id": "under", "device": "net_null0", "mtu": 1600, "addresses": ["172.31.0.1/24"] }],
    });
    serde_json::from_value(host).context("the host's section")
}

fn document(Size { vpcs, networks, routes, forwards }: Size) -> String {
    let mut text = String::from(
        "{\"vxlan_pools\": [{\"id\": \"pool\", \"vni_range\": \"1-16777215\", \"vtep_cidr\": \"172.31.0.0/24\"}],\n\
         \"public_networks\": [{\"id\": \"net\", \"port\": \"under\", \"vlan\": 9, \"cidr\": \"100.64.0.0/10\"}],\n",
    );
    let vpcs = u32::from(vpcs);
    section(&mut text, "vpc_routers", vpcs, |n| format!("\"id\": \"v{n}\""));
    section(&mut text, "vpc_networks", vpcs * u32::from(networks), |n| {
        let (vpc, net) = (n / u32::from(networks), n % u32::from(networks));
        format!(
            "\"id\": \"n{n}\", \"vpc\": \"v{vpc}\", \"cidr\": \"10.0.{net}.0/24\", \"gateway\": \"10.0.{net}.1\", \"vxlan\": {{\"pool\": \"pool\", \"vni\": {}}}",
            n + 1
        )
    });
    section(&mut text, "routes", routes, |n| {
        let (vpc, n) = (n % vpcs, n / vpcs);
        format!(
            "\"vpc\": \"v{vpc}\", \"destination\": \"172.{}.{}.0/24\", \"next_hop\": \"10.0.0.250\"",
            16 + n / 256,
            n % 256
        )
    });
    let each = forwards.div_ceil(vpcs);
    let vips = each.div_ceil(50);
    section(&mut text, "vips", vpcs * vips, |n| {
        let address = std::net::Ipv4Addr::from(0x6440_0001 + n);
        format!("\"id\": \"vip{n}\", \"public_network\": \"net\", \"address\": \"{address}\"")
    });
    section(&mut text, "port_forwards", forwards, |n| {
        let (vpc, of) = (n / each, n % each);
        let (vip, port) = (vpc * vips + of / 50, 1000 + of % 50);
        format!(
            "\"id\": \"f{n}\", \"vip\": \"vip{vip}\", \"protocol\": \"tcp\", \"ports\": \"{port}\", \"vpc\": \"v{vpc}\", \"address\": \"10.0.0.{}\", \"target_ports\": \"22\"",
            10 + of % 200
        )
    });
    text += "\"qos\": []}";
    text
}

fn section(text: &mut String, name: &str, count: u32, body: impl Fn(u32) -> String) {
    let _ = write!(text, "\"{name}\": [");
    for n in 0..count {
        let _ = write!(text, "{}{{{}}}", if n == 0 { "\n" } else { ",\n" }, body(n));
    }
    *text += "],\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_objects_are_loaded_and_one_is_changed() {
        let text = table(Size { vpcs: 3, networks: 2, routes: 10, forwards: 200 }).unwrap();
        assert!(text.contains("227 objects") && STEPS.iter().all(|step| text.contains(step)), "{text}");
    }
}
