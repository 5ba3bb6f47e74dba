//! Two documents side by side: what changed, beyond what moves by itself.

use comfy_table::{CellAlignment, Table, presets};

use crate::{
    document::Document,
    measurement::{Label, Row, Spread},
    report,
};

/// Counts of instructions move by less through the random key of the flow hash.
const INSTRUCTIONS_NOISE: f64 = 0.005;

/// How cycles of work changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The ranges of the rounds overlap.
    Noise,
    /// All rounds took less than any before.
    Faster,
    /// All rounds took more than any before.
    Slower,
}

impl Change {
    fn of(before: &Spread, after: &Spread) -> Change {
        if after.max < before.min {
            Change::Faster
        } else if after.min > before.max {
            Change::Slower
        } else {
            Change::Noise
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Change::Noise => "",
            Change::Faster => "faster",
            Change::Slower => "SLOWER",
        }
    }
}

/// The two as text: a line per measurement that both have, and what stands against the comparison.
pub fn compared(before: &Document, after: &Document) -> String {
    let mut text = cautions(before, after);
    let (mut table, mut others) = (Table::new(), Vec::new());
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header([
        "scenario",
        "flows",
        "frame",
        "in",
        "workers",
        "before",
        "range",
        "after",
        "range",
        "after/before",
        "",
        "instr",
        "after",
        "",
    ]);
    for row in &after.rows {
        match before.rows.iter().find(|old| is_same(&old.label, &row.label)) {
            Some(old) => drop(table.add_row(line(old, row))),
            None => others.push(format!("only in the second: {}\n", named(&row.label))),
        }
    }
    let is_gone = |row: &&Row| !after.rows.iter().any(|new| is_same(&new.label, &row.label));
    others.extend(
        before.rows.iter().filter(is_gone).map(|row| format!("only in the first: {}\n", named(&row.label))),
    );
    for (at, column) in table.column_iter_mut().enumerate() {
        if ![0, 3, 10, 13].contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    text += &format!("{table}\n");
    let ratios = after.rows.iter().filter_map(|row| {
        let old = before.rows.iter().find(|old| is_same(&old.label, &row.label))?;
        Some(row.work_cycles.median / old.work_cycles.median)
    });
    if let Some(Spread { median, .. }) = Spread::of(ratios) {
        text += &format!(
            "all measurements together: {median:.2}; what all share may be the machine, not the program\n"
        );
    }
    text.extend(others);
    text
}

/// Hugepages may differ between machines and still be worth a comparison; the rest may not.
fn is_same(a: &Label, b: &Label) -> bool {
    Label { hugepages: false, ..a.clone() } == Label { hugepages: false, ..b.clone() }
}

fn named(label: &Label) -> String {
    let Label { flows, frames, buffers, workers, .. } = label;
    format!("{}, {flows} flows, frame {frames}, {buffers}, {workers} workers", report::scenario(label))
}

fn line(before: &Row, after: &Row) -> Vec<String> {
    let label = &after.label;
    let range = |work: &Spread| format!("{:.0}-{:.0}", work.min, work.max);
    let count = |row: &Row| row.instructions.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"));
    let (old, new) = (&before.work_cycles, &after.work_cycles);
    let instructions = before.instructions.zip(after.instructions).map(|(old, new)| new / old - 1.0);
    let instructions = instructions.filter(|change| change.abs() > INSTRUCTIONS_NOISE);
    vec![
        report::scenario(label),
        label.flows.to_string(),
        label.frames.clone(),
        label.buffers.clone(),
        label.workers.to_string(),
        format!("{:.1}", old.median),
        range(old),
        format!("{:.1}", new.median),
        range(new),
        format!("{:.2}", new.median / old.median),
        Change::of(old, new).word().to_owned(),
        count(before),
        count(after),
        instructions.map(|change| format!("{:+.1} %", change * 100.0)).unwrap_or_default(),
    ]
}

/// What is different about the two beside the figures.
fn cautions(before: &Document, after: &Document) -> String {
    let mut text = format!("{} > {}\n", before.program.revision, after.program.revision);
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            text += &format!("caution: {what}: {a} > {b}\n");
        }
    };
    differ("CPU", before.machine.cpu.clone(), after.machine.cpu.clone());
    differ("compiler", before.program.rustc.clone(), after.program.rustc.clone());
    differ("compiled for", before.program.compiled_for.clone(), after.program.compiled_for.clone());
    differ("DPDK's C inlined", before.program.lto.to_string(), after.program.lto.to_string());
    differ("optimised", before.program.optimised.to_string(), after.program.optimised.to_string());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        machine::Machine,
        measurement::Outcome,
        scenario::{Name, Parameters},
    };

    fn row(name: Name, (min, median, max): (f64, f64, f64), instructions: f64) -> Row {
        Row {
            label: Label::new(&*name.with(&Parameters::default()), "mbuf", 32),
            work_cycles: Spread { min, median, max },
            total_cycles: 100.0,
            mpps: 23.0,
            instructions: Some(instructions),
            latency: Vec::new(),
            outcome: Outcome::default(),
            rounds: 7,
            interrupted: 0,
        }
    }

    #[test]
    fn only_ranges_that_do_not_meet_are_a_change() {
        let document = |rows| Document::new(Machine::here(), rows);
        let before = document(vec![
            row(Name::Ip4, (90.0, 100.0, 110.0), 500.0),
            row(Name::Snat, (90.0, 100.0, 110.0), 500.0),
            row(Name::Eip, (90.0, 100.0, 110.0), 500.0),
            row(Name::PfIn, (1.0, 1.0, 1.0), 1.0),
        ]);
        let after = document(vec![
            row(Name::Ip4, (85.0, 88.0, 91.0), 501.0),
            row(Name::Snat, (80.0, 85.0, 89.0), 450.0),
            row(Name::Eip, (111.0, 120.0, 130.0), 550.0),
            row(Name::Session, (1.0, 1.0, 1.0), 1.0),
        ]);
        let text = compared(&before, &after);
        let line = |name: &str| {
            text.lines().find(|line| line.trim().starts_with(name)).unwrap_or_default().to_owned()
        };
        let words = ["faster", "SLOWER", "-10.0 %", "+10.0 %"];
        let said = |name: &str| words.map(|word| line(name).contains(word));
        assert_eq!(said("ip4"), [false; 4], "{text}");
        assert_eq!(said("snat"), [true, false, true, false], "{text}");
        assert_eq!(said("eip"), [false, true, false, true], "{text}");
        assert!(
            text.contains("only in the second: session") && text.contains("only in the first: pf-in"),
            "{text}"
        );
        assert!(!text.contains("caution"), "{text}");
        let mut elsewhere = after;
        elsewhere.machine.cpu = "another".to_owned();
        assert!(compared(&before, &elsewhere).contains("caution: CPU"));
    }
}
