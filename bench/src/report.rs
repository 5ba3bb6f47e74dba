//! Rows as a table for people and as JSON for programs.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::measurement::Row;

const HEADER: [&str; 15] = [
    "scenario",
    "buffers",
    "path",
    "flows",
    "frame",
    "burst",
    "hugepages",
    "work min",
    "median",
    "max",
    "total",
    "Mpps",
    "new flow",
    "received",
    "sent",
];
/// Columns of words; the others are numbers.
const WORDS: [usize; 4] = [0, 1, 2, 6];

/// The table; cycles are per packet.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(HEADER);
    for row in rows {
        table.add_row(cells(row));
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        if !WORDS.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn cells(row: &Row) -> [String; HEADER.len()] {
    let (label, work) = (&row.label, &row.work_cycles);
    [
        label.scenario.to_owned(),
        label.buffers.to_owned(),
        label.path.to_owned(),
        label.flows.to_string(),
        label.frame_bytes.to_string(),
        label.burst.to_string(),
        if label.hugepages { "yes" } else { "no" }.to_owned(),
        format!("{:.1}", work.min),
        format!("{:.1}", work.median),
        format!("{:.1}", work.max),
        format!("{:.1}", row.total_cycles),
        format!("{:.2}", row.mpps),
        row.first_cycles.map_or_else(|| "-".to_owned(), |cycles| format!("{cycles:.0}")),
        row.received.to_string(),
        row.sent.to_string(),
    ]
}

/// Writes something as JSON to a file, or to standard output for `-`.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(what: &impl Serialize, to: &Path) -> Result<()> {
    let mut text = serde_json::to_string_pretty(what)?;
    text.push('\n');
    if to == Path::new("-") {
        std::io::stdout().write_all(text.as_bytes()).context("standard output")
    } else {
        fs::write(to, text).with_context(|| to.display().to_string())
    }
}
