//! Tables for people, JSON for programs.

use anyhow::Result;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::What;
use crate::daemon::{DeviceRow, PathRow, ShortcutRow, Snapshot};

/// Prints a part of what the agent told.
pub(super) fn show(snapshot: &Snapshot, what: What, json: bool) -> Result<()> {
    match (what, json) {
        (What::Shortcuts, true) => print_json(&snapshot.shortcuts),
        (What::Paths, true) => print_json(&snapshot.paths),
        (What::Devices, true) => print_json(&snapshot.devices),
        (What::Counters, true) => print_json(&snapshot.counters),
        (What::Shortcuts, false) => {
            shortcuts(&snapshot.shortcuts);
            Ok(())
        }
        (What::Paths, false) => {
            paths(&snapshot.paths);
            Ok(())
        }
        (What::Devices, false) => {
            devices(&snapshot.devices);
            Ok(())
        }
        (What::Counters, false) => {
            let rows = snapshot.counters.iter().map(|(name, count)| vec![name.clone(), count.to_string()]);
            print(&["counter", "value"], rows);
            Ok(())
        }
    }
}

fn print_json(it: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(it)?);
    Ok(())
}

fn print(head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.iter().map(|head| head.to_uppercase()));
    rows.for_each(|row| {
        table.add_row(row);
    });
    println!("{table}");
}

fn ms(us: u32) -> String {
    format!("{:.3} ms", f64::from(us) / 1000.0)
}

fn percent(permille: u16) -> String {
    format!("{:.1} %", f64::from(permille) / 10.0)
}

fn shortcuts(rows: &[ShortcutRow]) {
    let head =
        ["from", "to", "in", "host", "state", "since", "left", "rtt", "loss", "packets", "bytes", "gateway"];
    let here = || "this host".to_owned();
    print(
        &head,
        rows.iter().map(|row| {
            vec![
                row.from_vni.to_string(),
                row.destination.to_string(),
                row.to_vni.to_string(),
                row.vtep.to_string(),
                row.state.clone(),
                format!("{} s", row.since_s),
                format!("{} s", row.left_s),
                row.rtt_us.map_or_else(here, ms),
                row.loss_permille.map_or_else(String::new, percent),
                row.packets.to_string(),
                row.bytes.to_string(),
                row.gateway.to_string(),
            ]
        }),
    );
}

fn paths(rows: &[PathRow]) {
    let head = ["host", "state", "since", "rtt", "jitter", "loss", "shortcuts"];
    print(
        &head,
        rows.iter().map(|row| {
            vec![
                row.vtep.to_string(),
                row.state.clone(),
                format!("{} s", row.since_s),
                ms(row.rtt_us),
                ms(row.jitter_us),
                percent(row.loss_permille),
                row.shortcuts.to_string(),
            ]
        }),
    );
}

/// Prints devices.
pub(super) fn devices(rows: &[DeviceRow]) {
    let word = |it: Option<String>| it.unwrap_or_default();
    print(
        &["device", "VNI", "tunnel end", "program"],
        rows.iter().map(|row| {
            vec![
                row.device.clone(),
                word(row.vni.map(|vni| vni.to_string())),
                word(row.vtep.map(|vtep| vtep.to_string())),
                row.program.clone(),
            ]
        }),
    );
}
