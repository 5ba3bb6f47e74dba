//! Reads the tree and keeps the shape of ARCHITECTURE.md: which crate may import which, where `unsafe` and DPDK may be
//! named, what the packet path must not contain, how long a file may be, and that documents point at things that exist.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longest source file, in lines. Past it a noun is missing.
const FILE_LINES_MAX: usize = 600;

/// The crates, in the order of their imports, with the crates of ours that each may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("ffi", &[]),
    ("zsnp", &[]),
    ("agent", &["tidegate-zsnp"]),
    ("fastpath", &["dpdk-sys"]),
    ("control", &["tidegate-fastpath", "tidegate-zsnp"]),
    ("bench", &["dpdk-sys", "tidegate-zsnp", "tidegate-fastpath", "tidegate-control"]),
    ("tests", &["dpdk-sys", "tidegate-zsnp", "tidegate-agent", "tidegate-fastpath", "tidegate-control"]),
];

/// Files outside `ffi` that may say `unsafe`; each has its reason in `#[expect(unsafe_code, reason = ..)]`.
const AUDITED: &[&str] = &[
    "agent/src/daemon/ready.rs",
    "fastpath/src/pages.rs",
    "fastpath/src/prefetch.rs",
    "fastpath/src/flow/lanes.rs",
    "fastpath/src/flow/region.rs",
    "fastpath/src/flow/tests/loom_model.rs",
];

/// A source file: its path from the top of the tree and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines that are code, with their numbers: without comments, without what is quoted, without the
    /// `#[cfg(test)]` module at the foot.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        let lines = self.text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
        lines.map(|(n, line)| {
            let unquoted: String = line.split('"').step_by(2).collect();
            (n + 1, unquoted.split("//").next().unwrap_or_default().to_owned())
        })
    }

    /// Whether a code line has this word, letters and `_` around it not counting as the same word.
    fn names(&self, word: &str) -> Vec<String> {
        let inside = |c: char| c.is_alphanumeric() || c == '_';
        let has = |line: &str| {
            line.match_indices(word)
                .any(|(at, _)| !line[..at].ends_with(inside) && !line[at + word.len()..].starts_with(inside))
        };
        self.matching(has)
    }

    /// The code lines that `is` accepts, with their place.
    fn matching(&self, is: impl Fn(&str) -> bool) -> Vec<String> {
        let hits = self.code().filter(|(_, line)| is(line));
        hits.map(|(n, line)| format!("{}:{n}: {}", self.path, line.trim())).collect()
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies one below the top").to_owned()
}

/// Every file below `dir` with one of these extensions; build output left out.
fn files(dir: &str, extensions: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut todo = vec![top().join(dir)];
    while let Some(path) = todo.pop() {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && !(name.starts_with('.') && path != top()) {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e)) {
            let relative = path.strip_prefix(top()).unwrap().display().to_string();
            found.push(Source { text: fs::read_to_string(&path).unwrap(), path: relative });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn rust(dir: &str) -> Vec<Source> {
    files(dir, &["rs"])
}

/// Asserts that `found` is empty and prints it otherwise.
fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn crates_import_one_way() {
    let ours = |name: &str| name == "dpdk-sys" || name.starts_with("tidegate-");
    for (dir, allowed) in EDGES {
        let text = fs::read_to_string(top().join(dir).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names = manifest.get(section).and_then(|s| s.as_table()).into_iter().flat_map(|s| s.keys());
            let wrong = names.filter(|name| ours(name) && !allowed.contains(&name.as_str()));
            none(wrong.cloned().collect(), &format!("{dir} must not depend on"));
        }
    }
}

#[test]
fn only_the_dpdk_rim_names_the_binding() {
    let rim = |path: &str| path.starts_with("fastpath/src/io/dpdk");
    let sources = rust("fastpath").into_iter().chain(rust("control"));
    let found = sources.filter(|s| !rim(&s.path)).flat_map(|s| s.names("dpdk_sys")).collect();
    none(found, "only fastpath::io::dpdk names dpdk_sys");
}

#[test]
fn control_never_touches_an_mbuf() {
    let found = rust("control").iter().flat_map(|s| [s.names("Mbuf"), s.names("mbuf")]).flatten().collect();
    none(found, "control never touches an mbuf");
}

#[test]
fn wire_knows_only_types() {
    let foreign = |line: &str| {
        ["crate::", "super::super::"].iter().any(|p| line.contains(p))
            && !line.contains("crate::types")
            && !line.contains("crate::wire")
    };
    let sources = rust("fastpath/src").into_iter().filter(|s| s.path.starts_with("fastpath/src/wire"));
    let found = sources.flat_map(|s| s.matching(foreign));
    none(found.collect(), "wire imports only types");
}

#[test]
fn stages_read_tables_and_never_store() {
    let sources = rust("fastpath/src").into_iter().filter(|s| s.path.starts_with("fastpath/src/stage"));
    let found = sources.flat_map(|s| [s.names("Writer"), s.names("NeighbourWriter"), s.names("FlowWorker")]);
    none(found.flatten().collect(), "a stage reads tables and never stores");
}

#[test]
fn the_packet_path_does_no_io_asks_no_clock_and_does_not_log() {
    let core = |s: &Source| !s.path.starts_with("fastpath/src/io");
    let words =
        ["std::fs", "Instant", "SystemTime", "UdpSocket", "TcpStream", "println", "eprintln", "tracing"];
    let sources = rust("fastpath/src").into_iter().filter(core);
    let found = sources.flat_map(|s| words.iter().flat_map(|w| s.names(w)).collect::<Vec<_>>());
    none(found.collect(), "only fastpath::io does I/O or asks a clock");
}

#[test]
fn unsafe_stays_in_ffi_and_the_audited_files() {
    let audited = |s: &Source| s.path.starts_with("ffi/") || AUDITED.contains(&s.path.as_str());
    let found = rust("").into_iter().filter(|s| !audited(s)).flat_map(|s| s.names("unsafe"));
    none(found.collect(), "unsafe outside ffi and the audited files");
}

#[test]
fn files_stay_short() {
    let long = files("", &["rs", "c", "h"]).into_iter().filter_map(|s| {
        let lines = s.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", s.path))
    });
    none(long.collect(), "files longer than the limit");
}

#[test]
fn links_in_documents_resolve() {
    let broken = files("", &["md"]).into_iter().flat_map(|s| {
        let here = top().join(&s.path).parent().expect("a file has a folder").to_owned();
        let targets = s.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let local =
            targets.filter(|t| !t.contains("://") && !t.starts_with('#') && !t.contains(char::is_whitespace));
        let file = |t: &str| t.split('#').next().unwrap_or_default().to_owned();
        let missing = local.filter(|t| !here.join(file(t)).exists());
        missing.map(|t| format!("{}: {t}", s.path)).collect::<Vec<_>>()
    });
    none(broken.collect(), "links to nothing");
}
