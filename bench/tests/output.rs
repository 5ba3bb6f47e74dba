//! What a run prints and writes.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::{fs, process::Command};

use serde_json::Value;

/// Standard output of a short run of the program.
fn printed(json: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"));
    command.args([
        "run",
        "session",
        "--on",
        "mem",
        "--flows",
        "64",
        "--rounds",
        "1",
        "--packets",
        "320",
        "--json",
        json,
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_file_gets_the_document_and_people_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.json");
    let table = printed(file.to_str().unwrap());
    assert!(table.contains("session") && !table.contains('{'), "{table}");
    let document: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(document["rows"][0]["scenario"], "session");
}

#[test]
fn standard_output_has_the_document_alone() {
    let document: Value = serde_json::from_str(&printed("-")).unwrap();
    assert_eq!(
        (&document["rows"][0]["scenario"], document["rows"].as_array().unwrap().len()),
        (&"session".into(), 1)
    );
}
