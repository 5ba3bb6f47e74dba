//! The words of the command line, as one program or the other gets them. A compute host without a gateway has this program under the
//! name `tidegate`, too (a link), so that `tidegate agent …` is said everywhere alike.

use std::{ffi::OsString, path::Path};

/// The words without `agent`, where the program was called as `tidegate`; and `--dry-run` alone is `run --dry-run`.
///
/// # Errors
/// When `tidegate` is asked for something else, which this program is not.
pub(super) fn settle(words: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, String> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let called = words.first().and_then(|program| Path::new(program).file_name());
    if called.is_some_and(|name| name == "tidegate") {
        if words.get(1).is_none_or(|word| word != "agent") {
            return Err("this host has the agent, not the gateway; say `tidegate agent …`".to_owned());
        }
        words.remove(1);
    }
    if words.get(1).is_some_and(|word| word == "--dry-run") {
        words.insert(1, "run".into());
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(line: &str) -> Option<String> {
        let words = settle(line.split(' ').map(OsString::from)).ok()?;
        Some(words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn both_names_lead_to_the_same_commands() {
        for (said, meant) in [
            ("tidegate-agent run", Some("tidegate-agent run")),
            ("tidegate-agent --dry-run", Some("tidegate-agent run --dry-run")),
            ("/usr/bin/tidegate agent show paths", Some("/usr/bin/tidegate show paths")),
            ("tidegate agent --dry-run --underlay eth0", Some("tidegate run --dry-run --underlay eth0")),
            ("tidegate show flows", None),
            ("tidegate", None),
        ] {
            assert_eq!(settled(said).as_deref(), meant, "{said}");
        }
    }
}
