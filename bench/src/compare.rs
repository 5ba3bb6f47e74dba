//! Two documents side by side: what changed, beyond what moves by itself.

use comfy_table::{CellAlignment, Table, presets};

use crate::{
    document::Document,
    measurement::{Label, Row, Spread},
    report,
};

/// Counts of instructions move by less through the random key of the flow hash.
const INSTRUCTIONS_NOISE: f64 = 0.005;

/// Between two runs of one program medians move by as much that are of quiet rounds: pages and caches are not the same.
const PLACEMENT_NOISE: f64 = 0.05;
/// Of fewer measurements than this the middle one may be one that changed by itself.
const SHARED_MIN: usize = 8;

/// How cycles of work changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The ranges of the rounds overlap, or the medians are as good as the same.
    Noise,
    /// No more than what changed for all measurements: the machine, or something that all do.
    AsAll,
    /// All rounds took less than any before.
    Faster,
    /// All rounds took more than any before.
    Slower,
}

impl Change {
    /// Where everything together took `shared` times as much.
    fn of(before: &Spread, after: &Spread, shared: f64) -> Change {
        match (Change::plain(before, after), Change::plain(&before.times(shared), after)) {
            (Change::Noise, _) => Change::Noise,
            (plain, relative) if plain == relative => plain,
            _ => Change::AsAll,
        }
    }

    fn plain(before: &Spread, after: &Spread) -> Change {
        let ratio = after.median / before.median;
        if after.max < before.min && ratio < 1.0 - PLACEMENT_NOISE {
            Change::Faster
        } else if after.min > before.max && ratio > 1.0 + PLACEMENT_NOISE {
            Change::Slower
        } else {
            Change::Noise
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Change::Noise => "",
            Change::AsAll => "as all",
            Change::Faster => "faster",
            Change::Slower => "SLOWER",
        }
    }
}

/// How many times as much everything took, in the middle; 1 where there is too little to say.
fn shared(before: &Document, after: &Document) -> f64 {
    let ratio = |row: &Row| {
        let old = before.rows.iter().find(|old| is_same(&old.label, &row.label))?;
        Some(row.work_cycles.median / old.work_cycles.median)
    };
    let ratios: Vec<f64> = after.rows.iter().filter_map(ratio).collect();
    let middle = Spread::of(ratios.iter().copied()).filter(|_| ratios.len() >= SHARED_MIN);
    middle.map_or(1.0, |ratios| ratios.median)
}

/// The two as text: a line per measurement that both have, and what stands against the comparison.
pub fn compared(before: &Document, after: &Document) -> String {
    let (mut text, shared) = (cautions(before, after), shared(before, after));
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
            Some(old) => drop(table.add_row(line(old, row, shared))),
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
    if shared != 1.0 {
        text += &format!(
            "all measurements together: {shared:.2} times; rows that changed no more than that say `as all`. It may be the machine: instructions \
             tell\n"
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

fn line(before: &Row, after: &Row, shared: f64) -> Vec<String> {
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
        Change::of(old, new, shared).word().to_owned(),
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
            row(Name::LbIn, (99.0, 100.0, 101.0), 500.0),
        ]);
        let after = document(vec![
            row(Name::Ip4, (85.0, 88.0, 91.0), 501.0),
            row(Name::Snat, (80.0, 85.0, 89.0), 450.0),
            row(Name::Eip, (111.0, 120.0, 130.0), 550.0),
            row(Name::Session, (1.0, 1.0, 1.0), 1.0),
            row(Name::LbIn, (102.0, 103.0, 104.0), 500.0),
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
        assert_eq!(said("lb-in"), [false; 4], "quiet rounds, and next to no difference: {text}");
        assert!(
            text.contains("only in the second: session") && text.contains("only in the first: pf-in"),
            "{text}"
        );
        assert!(!text.contains("caution"), "{text}");
        let mut elsewhere = after;
        elsewhere.machine.cpu = "another".to_owned();
        assert!(compared(&before, &elsewhere).contains("caution: CPU"));
    }

    /// A run of every scenario on a busy machine: rounds take up to half as much again as they should, each its own, and everything `slowdown` times as
    /// much; those of `worse` take so many times as much besides.
    fn run(seed: u64, slowdown: f64, worse: Option<(Name, f64)>) -> Document {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rounds =
            |cycles: f64| Spread::of((0..7).map(|_| cycles * (1.0 + 0.5 * random.f64().powi(3)))).unwrap();
        let rows = Name::ALL.into_iter().zip(1..).map(|(name, n)| {
            let factor = worse.filter(|(worse, _)| *worse == name).map_or(1.0, |(_, factor)| factor);
            let Spread { min, median, max } = rounds(f64::from(50 + 10 * n) * slowdown * factor);
            row(name, (min, median, max), 500.0 * factor)
        });
        Document::new(Machine::here(), rows.collect())
    }

    fn count(text: &str, word: &str) -> usize {
        text.lines().filter(|line| line.contains(word)).count()
    }

    #[test]
    fn two_runs_of_one_program_say_next_to_nothing() {
        let mut flagged = 0;
        for seed in 0..50 {
            for slowdown in [1.0, 1.6] {
                let (a, b) = (run(2 * seed, 1.0, None), run(2 * seed + 1, slowdown, None));
                for text in [compared(&a, &b), compared(&b, &a)] {
                    flagged += count(&text, "faster") + count(&text, "SLOWER");
                }
            }
        }
        // Of 2600 lines.
        assert!(flagged < 10, "{flagged}");
    }

    #[test]
    fn what_one_scenario_takes_more_is_seen_through_noise_and_in_both_directions() {
        for (seed, slowdown) in [(1, 1.0), (2, 1.3), (3, 0.8)] {
            let (a, b) = (run(seed, 1.0, None), run(seed + 100, slowdown, Some((Name::Snat, 2.0))));
            for (text, word, other) in
                [(compared(&a, &b), "SLOWER", "faster"), (compared(&b, &a), "faster", "SLOWER")]
            {
                assert_eq!((count(&text, word), count(&text, other)), (1, 0), "{text}");
                let line = text.lines().find(|line| line.contains(word)).unwrap();
                assert!(line.contains("snat") && !line.contains("vxlan"), "{text}");
            }
        }
    }

    #[test]
    fn what_all_take_more_is_said_once() {
        let (a, b) = (run(5, 1.0, None), run(6, 3.0, None));
        let text = compared(&a, &b);
        assert!(
            text.contains("all measurements together: 3.") || text.contains("all measurements together: 2.9"),
            "{text}"
        );
        assert_eq!((count(&text, "SLOWER"), count(&text, "as all")), (0, Name::ALL.len() + 1), "{text}");
    }
}
