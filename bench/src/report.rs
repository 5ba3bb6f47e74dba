//! Rows as tables for people.

use comfy_table::{CellAlignment, Table, presets};

use crate::{
    latency::Latency,
    measurement::{Label, Phase, Row},
    target::{self, BYTES_PER_CONNECTION},
};

/// The target for memory is of so many connections.
const FLOWS_OF_TARGET: u32 = 1_000_000;

/// A column: its heading, whether it holds words (numbers are aligned to the right), and its cell of a row.
type Column = (&'static str, bool, fn(&Row) -> String);

/// What was measured.
const WHAT: [Column; 4] = [
    ("scenario", true, |row| scenario(&row.label)),
    ("flows", false, |row| row.label.flows.to_string()),
    ("frame", false, |row| row.label.frames.clone()),
    ("in", true, |row| format!("{}{}", row.label.buffers, if row.label.hugepages { ", huge" } else { "" })),
];

const POPULARITY: Column = ("popularity", true, |row| row.label.popularity.clone());

/// How it was measured, where that differs.
const HOW: [Column; 4] = [
    ("path", true, |row| row.label.path.clone()),
    POPULARITY,
    ("burst", false, |row| row.label.burst.to_string()),
    ("workers", false, |row| row.label.workers.to_string()),
];

const WORK: [Column; 3] = [
    ("work min", false, |row| format!("{:.1}", row.work_cycles.min)),
    ("median", false, |row| format!("{:.1}", row.work_cycles.median)),
    ("max", false, |row| format!("{:.1}", row.work_cycles.max)),
];

const TARGETS: [Column; 6] = [
    ("target", false, |row| number(target::of(&row.label).map(|target| target.cycles), 0)),
    ("", true, |row| mark(target::of(&row.label).map(|target| row.work_cycles.median <= target.cycles))),
    ("VPP", false, |row| number(target::of(&row.label).and_then(|target| target.vpp), 0)),
    ("VPP/ours", false, |row| {
        let vpp = target::of(&row.label).and_then(|target| target.vpp);
        number(vpp.map(|vpp| vpp / row.work_cycles.median), 1)
    }),
    ("instr", false, |row| number(row.instructions, 0)),
    ("target", false, |row| number(target::instructions(&row.label).map(|(ours, _)| ours), 0)),
];

const INSTRUCTIONS_MET: Column = ("", true, |row| {
    let (counted, target) = (row.instructions, target::instructions(&row.label));
    mark(counted.zip(target).map(|(counted, (most, _))| counted <= most))
});

const TOTAL: [Column; 2] = [
    ("total", false, |row| format!("{:.1}", row.total_cycles)),
    ("Mpps", false, |row| format!("{:.2}", row.mpps)),
];

const MEMORY: [Column; 2] = [
    ("B/conn", false, |row| number(row.outcome.bytes_per_connection, 0)),
    ("", true, |row| {
        // Of a full-size table; a few connections do not make up for what every VIP takes.
        let bytes = row.outcome.bytes_per_connection.filter(|_| row.label.flows >= FLOWS_OF_TARGET);
        mark(bytes.map(|bytes| bytes <= BYTES_PER_CONNECTION))
    }),
];

const COUNTS: [Column; 4] = [
    ("instr", false, |row| number(row.instructions, 0)),
    ("B/conn", false, |row| number(row.outcome.bytes_per_connection, 0)),
    ("received", false, |row| row.outcome.received.to_string()),
    ("sent", false, |row| row.outcome.sent.to_string()),
];

/// Measurements with everything that tells them apart; cycles are per packet.
pub fn table(rows: &[Row]) -> String {
    written(rows, [&WHAT[..], &HOW, &WORK, &TOTAL, &COUNTS].concat())
}

/// Measurements beside their targets, with a mark whether these are met; below them peers, where there are some.
pub fn main_table(rows: &[Row]) -> String {
    let ours: Vec<Row> = rows.iter().filter(|row| row.label.is_ours()).cloned().collect();
    let columns = [&WHAT[..], &[POPULARITY], &WORK, &TARGETS, &[INSTRUCTIONS_MET], &TOTAL, &MEMORY].concat();
    let table = written(&ours, columns);
    let has_peer = |row: &&Row| {
        let is_peer = |peer: &Row| !peer.label.is_ours() && is_same_work(&peer.label, &row.label);
        row.label.phase == Phase::Established && !row.label.has_driver() && rows.iter().any(is_peer)
    };
    let mut beside: Vec<Row> = rows.iter().filter(has_peer).cloned().collect();
    if beside.is_empty() {
        return table;
    }
    beside.sort_by(|a, b| {
        (&a.label.scenario, !a.label.is_ours()).cmp(&(&b.label.scenario, !b.label.is_ours()))
    });
    format!("{table}\n\nBeside others, on the same packets in turn:\n{}", peer_table(&beside))
}

/// The same packets for the same purpose.
fn is_same_work(a: &Label, b: &Label) -> bool {
    let of = |label: &Label| {
        let Label { scenario, phase, flows, frames, routes, vpcs, popularity, .. } = label.clone();
        (scenario, phase, flows, frames, routes, vpcs, popularity)
    };
    of(a) == of(b)
}

/// Peers beside us: how many times our cycles each takes, of work and in total.
pub fn peer_table(rows: &[Row]) -> String {
    let mut table = Table::new();
    let header = [
        "scenario", "flows", "frame", "engine", "work min", "median", "max", "/ours", "total", "/ours",
        "received", "sent",
    ];
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    for row in rows {
        let is_same = |ours: &&Row| ours.label.is_ours() && is_same_work(&ours.label, &row.label);
        let ours = rows.iter().find(is_same);
        let times = |of: fn(&Row) -> f64| number(ours.map(|ours| of(row) / of(ours)), 2);
        let Row { label, work_cycles: work, outcome, .. } = row;
        table.add_row([
            scenario(label),
            label.flows.to_string(),
            label.frames.clone(),
            label.engine.clone(),
            format!("{:.1}", work.min),
            format!("{:.1}", work.median),
            format!("{:.1}", work.max),
            times(|row| row.work_cycles.median),
            format!("{:.1}", row.total_cycles),
            times(|row| row.total_cycles),
            outcome.received.to_string(),
            outcome.sent.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// What was lost, a line for each measurement that lost something.
pub fn losses(rows: &[Row]) -> String {
    let lost = rows.iter().filter(|row| !row.outcome.drops.is_empty());
    let line = |row: &Row| {
        let reasons: Vec<String> =
            row.outcome.drops.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
        format!("{}, {} flows: dropped: {}\n", scenario(&row.label), row.label.flows, reasons.join(", "))
    };
    lost.map(line).collect()
}

/// Latencies, a line for each rate.
pub fn latencies(rows: &[Row]) -> String {
    let line = |row: &Row, latency: &Latency| {
        let Latency { load_percent, mpps, p50_us, p90_us, p99_us, p999_us, max_us, packets, lost } = latency;
        format!(
            "{}, {} flows, {}: {load_percent} % ({mpps:.2} Mpps): p50 {p50_us:.1}, p90 {p90_us:.1}, p99 {p99_us:.1}, \
             p99.9 {p999_us:.1}, max {max_us:.1} us; {lost} of {packets} lost\n",
            scenario(&row.label),
            row.label.flows,
            row.label.buffers
        )
    };
    rows.iter().flat_map(|row| row.latency.iter().map(move |latency| line(row, latency))).collect()
}

/// What several workers move, each and together, and how much more than one that is.
pub fn scaling(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let Label { flows, workers, .. } = row.label;
        let alone = Label { workers: 1, ..row.label.clone() };
        let alone = rows.iter().find(|row| row.label == alone);
        let times = alone
            .map_or_else(String::new, |alone| format!(", {:.2} times one worker", row.mpps / alone.mpps));
        let each: Vec<String> = row.outcome.mpps_each.iter().map(|mpps| format!("{mpps:.2}")).collect();
        let (name, sum) = (scenario(&row.label), row.mpps);
        format!(
            "{name}, {flows} flows: {workers} workers: {} Mpps, {sum:.2} together{times}\n",
            each.join(" + ")
        )
    };
    rows.iter().filter(|row| row.label.workers > 1).map(line).collect()
}

fn written(rows: &[Row], columns: Vec<Column>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(columns.iter().map(|(heading, ..)| *heading));
    for row in rows {
        table.add_row(columns.iter().map(|(.., cell)| cell(row)));
    }
    for (column, (_, is_words, _)) in table.column_iter_mut().zip(&columns) {
        if !is_words {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// The scenario, and what is not usual about it.
pub(crate) fn scenario(label: &Label) -> String {
    let Label { scenario, routes, vpcs, phase, .. } = label;
    let routes = routes.filter(|routes| *routes > 1).map(|routes| format!("{routes} routes"));
    let vpcs = (*vpcs > 1).then(|| format!("{vpcs} VPCs"));
    let phase = match phase {
        Phase::Established => None,
        Phase::New => Some("new flows".to_owned()),
        Phase::InFlood => Some("in flood".to_owned()),
        Phase::Flood => Some("the flood".to_owned()),
        Phase::AmidMalformed => Some("amid malformed".to_owned()),
        Phase::Malformed => Some("the malformed".to_owned()),
        Phase::AmidFragments => Some("amid fragments".to_owned()),
        Phase::Fragments => Some("the fragments".to_owned()),
        Phase::Churn => Some("while configured".to_owned()),
        Phase::Control => Some("no engine".to_owned()),
    };
    let words: Vec<String> = [Some(scenario.clone()), routes, vpcs, phase].into_iter().flatten().collect();
    words.join(", ")
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn mark(is_met: Option<bool>) -> String {
    is_met.map_or("", |met| if met { "met" } else { "MISSED" }).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measurement::{Outcome, Spread},
        scenario::{Name, Parameters},
    };

    fn row(median: f64) -> Row {
        let scenario = Name::Snat.with(&Parameters { flows: 1_000_000, ..Parameters::default() });
        Row {
            label: Label::new(&*scenario, "mbuf", 32),
            work_cycles: Spread { min: median, median, max: median },
            total_cycles: 100.0,
            mpps: 23.0,
            instructions: Some(261.0),
            latency: Vec::new(),
            outcome: Outcome { bytes_per_connection: Some(256.0), ..Outcome::default() },
            rounds: 7,
            interrupted: 0,
        }
    }

    #[test]
    fn a_target_that_is_missed_says_so() {
        let marks = |median| {
            let table = main_table(&[row(median)]);
            (table.matches("MISSED").count(), table.matches("met").count(), table)
        };
        let (missed, met, table) = marks(120.0);
        assert_eq!((missed, met), (1, 2), "instructions are above theirs: {table}");
        let (missed, met, table) = marks(120.1);
        assert_eq!((missed, met), (2, 1), "{table}");
    }

    #[test]
    fn scaling_is_told_against_one_worker() {
        let one = row(1.0);
        let mut two = one.clone();
        assert_eq!(scaling(std::slice::from_ref(&one)), "");
        (two.label.workers, two.mpps, two.outcome.mpps_each) = (2, 44.0, vec![21.0, 23.0]);
        let told =
            "snat, 1000000 flows: 2 workers: 21.00 + 23.00 Mpps, 44.00 together, 1.91 times one worker\n";
        assert_eq!(scaling(&[one, two]), told);
    }

    #[test]
    fn losses_are_named() {
        let mut lossy = row(1.0);
        assert_eq!(losses(&[lossy.clone()]), "");
        lossy.outcome.drops.insert("no_route".to_owned(), 3);
        assert_eq!(losses(&[lossy]), "snat, 1000000 flows: dropped: no_route 3\n");
    }
}
