//! The documented examples load, in YAML and as JSON; what is not built is refused by name; mangled documents of any kind
//! are refused or read, never worse.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which may panic")]

use std::{fs, path::Path};

use proptest::prelude::*;
use tidegate_control::config::{Config, Problems, parse};

const VOCABULARY: &str = include_str!("fixtures/vocabulary.yaml");

fn examples() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let mut examples: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()))
        .collect();
    examples.sort();
    examples
}

fn loaded(name: &str, result: Result<Config, Problems>) -> Config {
    result.unwrap_or_else(|problems| panic!("{name}:\n{problems}"))
}

#[test]
fn every_example_loads_and_reads_the_same_as_json() {
    let examples = examples();
    assert!(examples.len() >= 3);
    for (name, text) in examples {
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let json = serde_json::to_string_pretty(&value).unwrap().replace("  ", "\t");
        assert_eq!(loaded(&name, parse(&text)), loaded(&name, parse(&json)));
    }
}

#[test]
fn defaults_follow_from_the_links() {
    let minimal = examples().into_iter().find(|(name, _)| name.ends_with("minimal.yaml")).unwrap().1;
    let config = parse(&minimal).unwrap();
    assert_eq!(config.networks.iter().map(|n| n.mtu.get()).collect::<Vec<_>>(), [1450, 1450]);
    assert_eq!(config.pools.iter().next().unwrap().vtep.to_string(), "172.31.0.1");
    let large =
        parse(&minimal.replace("addresses: [172.31.0.1/16]", "mtu: 1550, addresses: [172.31.0.1/16]"));
    assert_eq!(large.unwrap().networks.iter().next().unwrap().mtu.get(), 1500, "1500 on a 1550 underlay");
}

#[test]
fn what_is_not_built_is_refused_each_by_its_name() {
    let problems = parse(VOCABULARY).unwrap_err().0;
    let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
    let unbuilt = ["vpc_networks[0].dns", "security_groups"];
    assert_eq!(paths, unbuilt);
    assert!(problems.iter().all(|p| p.what.contains("which this version does not have yet")));
}

#[test]
fn an_empty_list_of_what_is_not_built_asks_for_nothing() {
    let minimal = examples().into_iter().find(|(name, _)| name.ends_with("minimal.yaml")).unwrap().1;
    let empty = format!("{minimal}\nload_balancers: []\nsecurity_groups: []\n");
    assert_eq!(parse(&empty).unwrap(), parse(&minimal).unwrap());
    assert!(parse(&format!("{minimal}\nsecurity_groups: {{}}\n")).is_err());
}

#[test]
fn a_missing_file_is_a_problem() {
    let problems = tidegate_control::config::read(Path::new("/nonexistent/tidegate.yaml")).unwrap_err();
    let line = problems.to_string();
    assert!(line.starts_with("document: cannot be read from /nonexistent/tidegate.yaml: "), "{line}");
}

#[test]
fn hostile_documents_have_a_bounded_answer() {
    let keys: String = (0..20_000).map(|i| format!("k{i}: [1]\n")).collect();
    assert_eq!(parse(&keys).unwrap_err().0.len(), 1001, "the rest is counted");
    let ports =
        format!("gateway: {{ports: [{}]}}", "{id: x, device: y, addresses: [1.2.3.4/8]},".repeat(50_000));
    assert!(parse(&ports).unwrap_err().0.len() <= 1001);
}

/// Cuts, repeats and overwrites pieces of a text.
fn mangle(text: &str, edits: &[(prop::sample::Index, prop::sample::Index, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, len, with) in edits {
        if chars.is_empty() {
            break;
        }
        let at = at.index(chars.len());
        let end = (at + len.index(24)).min(chars.len());
        chars.splice(at..end, with.chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn mangled_examples_never_panic(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[-a-z0-9:{}\\[\\]\",.&* \n/é]{0,6}"), 1..8),
    ) {
        let mut texts: Vec<String> = examples().into_iter().map(|(_, text)| text).collect();
        texts.push(VOCABULARY.to_owned());
        let text = mangle(&texts[which.index(texts.len())], &edits);
        if let Err(problems) = parse(&text) {
            prop_assert!(!problems.0.is_empty());
            for problem in problems.0 {
                let line = problem.to_string();
                prop_assert!(!line.contains('\n') && !problem.what.is_empty(), "{line:?}");
            }
        }
    }

    #[test]
    fn any_text_never_panics(text in any::<String>()) {
        let _ = parse(&text);
    }
}
