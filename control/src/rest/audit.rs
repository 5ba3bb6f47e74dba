//! Who did what: one line of JSON for each request that would change something, and for each that is not let in. The log is kept for every
//! gateway, beside its desired state, and is bounded: the file is renamed when it is full, and the oldest one goes.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use serde::Serialize;
use tracing::warn;

/// The file, below `gateway.state`.
pub const NAME: &str = "audit.jsonl";
/// When a file is full, in bytes.
const BYTES_MAX: u64 = 16 << 20;
/// Full files that are kept: `audit.jsonl.1` is the newest.
const FILES: u32 = 4;

/// One request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry<'a> {
    /// RFC 3339, UTC.
    pub(super) when: String,
    /// A user, `token NAME`, `certificate NAME`, `anonymous`; `null` where nobody was let in.
    pub(super) who: Option<&'a str>,
    /// An address, or `socket`.
    pub(super) from: &'a str,
    pub(super) method: &'a str,
    /// With its query.
    pub(super) path: &'a str,
    pub(super) status: u16,
    /// The generation that it ended with.
    pub(super) generation: Option<u64>,
    /// The type of the problem document, behind `urn:tidegate:problem:`.
    pub(super) problem: Option<&'static str>,
}

impl Entry<'_> {
    /// The time as it is written.
    pub(super) fn now() -> String {
        humantime::format_rfc3339_millis(SystemTime::now()).to_string()
    }
}

/// The log.
#[derive(Debug)]
pub(super) struct Audit {
    path: PathBuf,
    bytes_max: u64,
    open: Mutex<Option<(File, u64)>>,
}

impl Audit {
    /// A log in this directory.
    pub(super) fn new(directory: &Path) -> Audit {
        Audit { path: directory.join(NAME), bytes_max: BYTES_MAX, open: Mutex::new(None) }
    }

    /// Adds a line. What cannot be written is lost; false then.
    pub(super) fn write(&self, entry: &Entry<'_>) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match self.append(&mut open, entry) {
            Ok(()) => true,
            Err(error) => {
                *open = None;
                warn!("the audit log {} lacks a line: {error}", self.path.display());
                false
            }
        }
    }

    fn append(&self, open: &mut Option<(File, u64)>, entry: &Entry<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if open.as_ref().is_some_and(|(_, bytes)| *bytes >= self.bytes_max) {
            *open = None;
            self.rotate()?;
        }
        let (file, bytes) = match open {
            Some(open) => open,
            None => {
                let file = File::options().create(true).append(true).mode(0o600).open(&self.path)?;
                let bytes = file.metadata()?.len();
                open.insert((file, bytes))
            }
        };
        // Whole, or the line that follows begins a line of its own.
        file.write_all(&line)?;
        *bytes += line.len() as u64;
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        let name = |n: u32| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..FILES).rev() {
            match fs::rename(name(n), name(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, name(1))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn entry(path: &str) -> Entry<'_> {
        Entry {
            when: Entry::now(),
            who: Some("token ops"),
            from: "192.0.2.7",
            method: "PUT",
            path,
            status: 200,
            generation: Some(42),
            problem: None,
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit { bytes_max: 1000, ..Audit::new(folder.path()) };
        (0..200).for_each(|n| assert!(audit.write(&entry(&format!("/v1/nics/n-{n}\n\"")))));
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.3", "audit.jsonl.4"]
        );
        let mut seen = Vec::new();
        for name in names.iter().rev() {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(text.len() < 1300, "{}", text.len());
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                seen.push(line["path"].as_str().unwrap().to_owned());
            }
        }
        let last: Vec<_> = (200 - seen.len()..200).map(|n| format!("/v1/nics/n-{n}\n\"")).collect();
        assert!(seen.len() > 20 && seen == last);
    }

    #[test]
    fn it_goes_on_where_it_was_and_says_what_it_lost() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Audit::new(folder.path()).write(&entry("/a")));
        assert!(Audit::new(folder.path()).write(&entry("/b")));
        let text = fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(!Audit::new(&folder.path().join("gone")).write(&entry("/c")));
    }
}
