//! A report as one JSON document; `docs/bench.md` describes it field by field.

use std::{fs, io::Write, path::Path, time::SystemTime};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    machine::{Machine, Program},
    measurement::Row,
};

/// Raised when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

/// What was measured, by what, on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Version of this form.
    pub schema: u32,
    /// When the document was made, in seconds since 1970.
    pub time: u64,
    /// The command line.
    pub command: Vec<String>,
    /// The program.
    pub program: Program,
    /// The machine.
    pub machine: Machine,
    /// The measurements.
    pub rows: Vec<Row>,
}

impl Document {
    /// A document of this program on this machine, now.
    pub fn new(machine: Machine, rows: Vec<Row>) -> Document {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Document {
            schema: SCHEMA,
            time: since.map_or(0, |since| since.as_secs()),
            command: std::env::args().collect(),
            program: Program::this(),
            machine,
            rows,
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// No such file, or it is no document of this form.
    pub fn read(path: &Path) -> Result<Document> {
        let name = || path.display().to_string();
        let text = fs::read_to_string(path).with_context(name)?;
        let document: Document = serde_json::from_str(&text).with_context(name)?;
        let schema = document.schema;
        ensure!(schema == SCHEMA, "{}: schema {schema}; this program knows {SCHEMA}", name());
        Ok(document)
    }
}

/// Prints a table for people, and writes the same as JSON to a file; to standard output in place of the table for `-`.
///
/// # Errors
/// The file or standard output cannot be written.
pub fn tell(table: &str, what: &impl Serialize, json: Option<&Path>) -> Result<()> {
    let text = || Ok::<_, anyhow::Error>(serde_json::to_string_pretty(what)? + "\n");
    let printed = match json {
        Some(to) if to == Path::new("-") => text()?,
        Some(to) => {
            fs::write(to, text()?).with_context(|| to.display().to_string())?;
            table.to_owned()
        }
        None => table.to_owned(),
    };
    std::io::stdout().write_all(printed.as_bytes()).context("standard output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measurement::{Length, measure},
        pool::MemPool,
        replay::Replay,
        scenario::{Name, Parameters},
        traffic::Traffic,
    };

    #[test]
    fn a_document_has_the_promised_fields_and_reads_as_it_was_written() {
        let parameters = Parameters { flows: 300, ..Parameters::default() };
        let scenario = Name::Snat.with(&parameters);
        let traffic = Traffic::new(&*scenario).unwrap();
        let replay = Replay::new(scenario, traffic, MemPool::default(), 32).unwrap();
        let rows = measure(&mut [Box::new(replay)], 3, Length::Packets(320)).unwrap();
        let document = Document::new(Machine::here(), rows);
        let json = serde_json::to_value(&document).unwrap();
        let row = &json["rows"][0];
        for field in [
            "scenario",
            "flows",
            "frame_bytes",
            "burst",
            "workers",
            "services",
            "total_cycles",
            "instructions",
            "mpps",
            "sent",
            "received",
            "bytes_per_connection",
        ] {
            assert!(row.get(field).is_some(), "{field} is missing in {row}");
        }
        for field in ["min", "median", "max"] {
            assert!(row["work_cycles"][field].is_number(), "{row}");
        }
        assert_eq!((&row["services"][0], row["sent"].as_u64()), (&"snat".into(), row["received"].as_u64()));
        assert!(row["bytes_per_connection"].as_f64().is_some_and(|bytes| bytes > 128.0), "{row}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        tell("", &document, Some(&path)).unwrap();
        assert_eq!(Document::read(&path).unwrap(), document);
        let old = fs::read_to_string(&path).unwrap().replace("\"schema\": 1", "\"schema\": 0");
        fs::write(&path, old).unwrap();
        assert!(Document::read(&path).unwrap_err().to_string().contains("schema 0"));
    }
}
