//! What desired state costs control: a site of many objects loaded at once, then one object changed.

use std::{collections::HashMap, fmt::Write, sync::Arc, time::Instant};

use anyhow::{Context, Result, ensure};
use comfy_table::{CellAlignment, Table, presets};
use tidegate_control::{
    compile::PortFact,
    config::{self, Config},
    desired::{By, Directory, Disk, Source, Step, Store, Transaction, Who},
    gateway::Gateway,
};
use tidegate_fastpath::types::{MacAddr, Nanos};

/// What is done with a change, in this order.
const STEPS: [&str; 5] = ["read the text", "plan", "keep on disk", "number and compile", "publish"];
/// Changes whose times are compared.
const CHANGES: u32 = 101;

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

/// Seconds that each step took.
type Times = [f64; STEPS.len()];

/// What the steps took, for all objects at once and for one of them afterwards (the median of many changes, and the slowest), with
/// memory in use and at its most.
///
/// # Errors
/// The objects are refused (there are more than a gateway takes), or files cannot be written.
pub fn table(size: Size) -> Result<String> {
    let before = crate::HEAP.allocated();
    let dir = tempfile::tempdir()?;
    let disk = Directory::open(dir.path().join("state")).map(|disk| Box::new(disk) as Box<dyn Disk>);
    let (store, _) = Store::open(disk, &host(size)?, Vec::new(), &by())?;
    let ports = HashMap::from([(
        store.basis().settled.config.gateway.ports[0].id.clone(),
        PortFact { mac: MacAddr::new([2, 0, 0, 0, 0, 1]), up: true },
    )]);
    let config = Config::clone(&store.basis().settled.config);
    let (gateway, workers) = Gateway::new(config, ports, Nanos::from_ms(1), 1)?;
    // They would never let go of old tables.
    drop(workers);
    let mut site = Site { store, gateway, now: Nanos::from_ms(2) };

    let text = document(size);
    let start = Instant::now();
    let file = config::read_tree(&text)?;
    let read = start.elapsed().as_secs_f64();
    drop(text);
    let mut all = site.change(Step::Replace { file })?;
    all[0] = read;
    let peak = resident_peak()?;
    let used = crate::HEAP.allocated() - before;

    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let kinds: [(&str, Draft); 4] =
        [("port forward", forward), ("route", route), ("network", network), ("VIP", vip)];
    let mut header = vec!["step, ms".to_owned(), "all objects".to_owned()];
    let mut columns = vec![all.map(|s| format!("{:.1}", s * 1e3))];
    let mut together = vec![format!("{:.1}", all.iter().sum::<f64>() * 1e3)];
    for (name, body) in kinds {
        let mut times = Vec::new();
        for n in 0..CHANGES {
            let (section, body) = body(n);
            let kind = section.parse().map_err(anyhow::Error::msg)?;
            times.push(site.change(Step::Put { kind, body, etag: None })?);
        }
        times.sort_by(|a, b| a.iter().sum::<f64>().total_cmp(&b.iter().sum()));
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        header.push(format!("one {name}"));
        columns.push(median.map(|s| format!("{:.2}", s * 1e3)));
        let sum = |times: &Times| times.iter().sum::<f64>() * 1e3;
        together.push(format!("{:.2} (slowest {:.2})", sum(&median), sum(&slowest)));
    }
    table.set_header(header);
    for (at, name) in STEPS.into_iter().enumerate() {
        table
            .add_row(std::iter::once(name.to_owned()).chain(columns.iter().map(|column| column[at].clone())));
    }
    table.add_row(std::iter::once("together".to_owned()).chain(together));
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let objects = site.store.basis().documents.len();
    let files = std::fs::read_dir(dir.path().join("state"))?.map(|entry| Ok(entry?.metadata()?.len()));
    let files = files.sum::<std::io::Result<u64>>()? as f64 / 1e6;
    let used = used as f64 / 1e6;
    Ok(format!(
        "{table}\n{objects} objects, {used:.0} MB of heap, {peak} resident at most, {files:.0} MB of files"
    ))
}

/// The most memory that this process has had, as the kernel writes it.
fn resident_peak() -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.context("no VmHWM in /proc/self/status")?.trim().to_owned())
}

/// A gateway without ports, and what it stores.
struct Site {
    store: Store,
    gateway: Gateway,
    now: Nanos,
}

impl Site {
    /// One transaction until it is live. Its first step, reading a text, is left out.
    fn change(&mut self, step: Step) -> Result<Times> {
        let transaction = Transaction { steps: vec![step], ..Transaction::default() };
        let mut times = [0.0; STEPS.len()];
        let mut now = Instant::now();
        let mut lap = |at: usize| {
            times[at] = now.elapsed().as_secs_f64();
            now = Instant::now();
        };
        let plan = Arc::new(self.store.basis().plan(&transaction)?);
        ensure!(!plan.changes.is_empty() && plan.warnings.is_empty(), "{:?}", plan.warnings);
        lap(1);
        let writing = self.store.begin(&plan, &by(), None)?;
        writing.write()?;
        self.store.finish(writing)?;
        lap(2);
        let prepared = self.gateway.moment().prepare(Arc::clone(plan.config()));
        lap(3);
        self.now = Nanos(self.now.0 + 1_000_000);
        let installed = self.gateway.install(prepared, self.now);
        ensure!(installed.is_ok() && self.gateway.is_live(), "there is nobody that could hold old tables");
        lap(4);
        // Beside the changes, as the gateway does it.
        if let Some(tidying) = self.store.tidying() {
            self.store.tidied(tidying.tidy());
        }
        self.gateway.poll(self.now);
        Ok(times)
    }
}

/// A section of the file, and one object of it.
type Object = (&'static str, serde_json::Value);

/// The object as it is in one of many changes.
type Draft = fn(u32) -> Object;

/// A port forward that changes with `n`.
fn forward(n: u32) -> Object {
    let ports = (60_000 + n).to_string();
    let body = serde_json::json!({
        "id": "f0", "vip": "vip0", "protocol": "tcp", "ports": ports, "vpc": "v0", "address": "10.0.0.11",
    });
    ("port_forwards", body)
}

fn route(n: u32) -> Object {
    let next_hop = format!("10.0.0.{}", 100 + n);
    let body =
        serde_json::json!({ "id": "new", "vpc": "v0", "destination": "192.0.2.0/24", "next_hop": next_hop });
    ("routes", body)
}

fn network(n: u32) -> Object {
    let body = serde_json::json!({
        "id": "new", "vpc": "v0", "cidr": "10.1.0.0/24", "gateway": "10.1.0.1", "mtu": 1300 + n,
        "vxlan": { "pool": "pool", "vni": 16_000_000 },
    });
    ("vpc_networks", body)
}

fn vip(n: u32) -> Object {
    let address = std::net::Ipv4Addr::from(0x647f_0001 + n).to_string();
    ("vips", serde_json::json!({ "id": "new", "public_network": "net", "address": address }))
}

fn by() -> By {
    By { who: Who::new("bench", Source::Socket), now_ms: 0, confirm_within_ms: None }
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
        assert!(text.contains("230 objects") && STEPS.iter().all(|step| text.contains(step)), "{text}");
    }
}
