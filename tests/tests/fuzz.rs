//! Replays the corpora of the fuzz targets, so that what once went wrong stays right.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tidegate_fastpath::reason::{DropReason, Event, PuntReason};
use tidegate_tests::fuzz::{Reached, TARGETS, counted, shortcuts_reached};

#[test]
fn every_input_of_the_corpora_holds() {
    for (name, target) in TARGETS {
        for (file, input) in corpus(name) {
            // The name of the file tells more than the backtrace: it is printed when the test fails.
            println!("{file}");
            target(&input);
        }
    }
}

/// What no script can provoke.
const OUT_OF_REACH: [&str; 2] = [
    "flow_busy", // takes two workers at once
    "shutdown",  // counted when the worker stops, after the script
];

#[test]
fn the_corpus_of_the_pipeline_leads_to_every_way_out() {
    let mut missing: BTreeSet<&str> = DropReason::ALL.iter().map(|r| r.label()).collect();
    missing.extend(PuntReason::ALL.iter().map(|r| r.label()));
    missing.extend(Event::ALL.iter().map(|e| e.label()));
    for (_, input) in corpus("pipeline") {
        let counted = counted(&input);
        missing.retain(|label| !counted.contains(label));
    }
    assert_eq!(missing, BTreeSet::from(OUT_OF_REACH));
}

#[test]
fn the_corpus_of_shortcuts_leads_to_every_end_of_one() {
    let all = corpus("shortcuts").into_iter().map(|(_, input)| shortcuts_reached(&input));
    let Reached { installed, withdrawn, expired, unreachable, prolonged, moved, again, refused } =
        all.fold(Reached::default(), Reached::and);
    let counts = [installed, withdrawn, expired, unreachable, prolonged, moved, again, refused];
    assert!(!counts.contains(&0), "{counts:?}");
}

/// Names and inputs, in order.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&dir).expect("the corpus is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", dir.display());
    let read = |file: &PathBuf| (file.display().to_string(), fs::read(file).expect("can be read"));
    files.iter().map(read).collect()
}
