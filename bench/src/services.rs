//! What does one more service cost? Scenarios in the order in which services are switched on, each beside the one before it.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::scenario::Name;

/// A scenario, and what it has more than the one before; of the first one, what that is.
type Step = (Name, &'static str);

/// The ways on which services are switched on one after the other.
pub const LADDERS: [&[Step]; 6] = [
    &[
        (Name::Ip4, "IP to IP, each packet decided by the routes"),
        (Name::Session, "an entry for each flow"),
        (Name::Snat, "source NAT by leased ports, sessions with state and timeouts"),
    ],
    &[
        (Name::VxlanIp, "VXLAN to IP, an entry for each flow"),
        (Name::VxlanSnat, "source NAT by leased ports, sessions with state and timeouts"),
        (Name::VxlanSnatQos, "a rate limit on each public address"),
    ],
    &[
        (Name::VxlanSnat, "VXLAN to IP with source NAT"),
        (Name::VxlanSnatColour, "a rate limit that gives each packet a colour (srTCM)"),
    ],
    &[
        (Name::VxlanIp, "VXLAN to IP, an entry for each flow"),
        (Name::Eip, "an address of its own for each VM"),
    ],
    &[
        (Name::PfIn, "IP to VXLAN with a port forward for each VM"),
        (Name::PfInQos, "a rate limit on the public address"),
    ],
    &[
        (Name::LbIn, "IP to VXLAN with a load balancer"),
        (Name::LbInFullNat, "the client's address hidden (full NAT)"),
    ],
];

/// What counting is told of.
pub const COUNTED: [Name; 4] = [Name::Ip4, Name::Session, Name::VxlanVxlan, Name::VxlanSnat];

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The scenario.
    pub scenario: String,
    /// What it has more than the one before.
    pub service: String,
    /// Instructions per packet of an established flow.
    pub instructions: f64,
    /// How many more than the one before; `None` of the first one.
    pub more: Option<f64>,
}

/// All lines: a list for each ladder, and one for counters.
pub type Ladders = Vec<Vec<Line>>;

/// Puts counts side by side; `uncounted` are of a build that counts nothing, where there is one.
///
/// # Errors
/// A scenario was not counted.
pub fn ladders(counts: &BTreeMap<Name, f64>, uncounted: Option<&BTreeMap<Name, f64>>) -> Result<Ladders> {
    let of = |counts: &BTreeMap<Name, f64>, name: Name| {
        counts.get(&name).copied().with_context(|| format!("{name} was not counted"))
    };
    let mut ladders = Ladders::new();
    for steps in LADDERS {
        let mut lines: Vec<Line> = Vec::new();
        for (name, service) in steps {
            let more = lines.last().map(|before| before.instructions);
            lines.push(line(*name, service, of(counts, *name)?, more));
        }
        ladders.push(lines);
    }
    for name in uncounted.iter().flat_map(|_| COUNTED) {
        let Some(uncounted) = uncounted else { break };
        let without = of(uncounted, name)?;
        let counters = "counters of ports, networks and flows, packets and bytes of each";
        ladders.push(vec![
            line(name, "nothing counted", without, None),
            line(name, counters, of(counts, name)?, Some(without)),
        ]);
    }
    Ok(ladders)
}

fn line(name: Name, service: &str, instructions: f64, before: Option<f64>) -> Line {
    let more = before.map(|before| instructions - before);
    Line { scenario: name.to_string(), service: service.to_owned(), instructions, more }
}

/// The scenarios that ladders are made of, each once.
pub fn scenarios() -> Vec<Name> {
    let mut names: Vec<Name> = LADDERS.iter().flat_map(|steps| steps.iter().map(|(name, _)| *name)).collect();
    names.extend(COUNTED);
    names.sort_unstable();
    names.dedup();
    names
}

/// As a table of Markdown, as docs/performance.md has it.
pub fn table(ladders: &Ladders) -> String {
    let mut text = "| scenario | with | instructions | more |\n|---|---|---|---|\n".to_owned();
    for lines in ladders {
        for Line { scenario, service, instructions, more } in lines {
            let (plus, more) = match more {
                Some(more) => ("+ ", format!("{more:+.0}")),
                None => ("", String::new()),
            };
            let _ = writeln!(text, "| `{scenario}` | {plus}{service} | {instructions:.0} | {more} |");
        }
    }
    text
}

/// Whether a program is there, so that its absence is told before anything was counted.
///
/// # Errors
/// It is not.
pub fn check_program(path: &Path) -> Result<()> {
    path.metadata().map(drop).with_context(|| format!("{}: `make bench-services` builds it", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_told_against_the_one_before() {
        let counts: BTreeMap<Name, f64> =
            scenarios().into_iter().zip((1..).map(|n| f64::from(n * 100))).collect();
        let without: BTreeMap<Name, f64> =
            COUNTED.into_iter().map(|name| (name, counts[&name] - 30.0)).collect();
        let told = ladders(&counts, Some(&without)).unwrap();
        assert_eq!(told.len(), LADDERS.len() + COUNTED.len());
        assert_eq!(
            (told[0][0].more, told[0][1].more),
            (None, Some(counts[&Name::Session] - counts[&Name::Ip4]))
        );
        assert!(told[LADDERS.len()..].iter().all(|lines| lines[1].more == Some(30.0)), "{told:?}");
        let table = table(&told);
        assert!(table.contains("| `session` | + an entry for each flow | 200 | +100 |"), "{table}");
        assert_eq!(table.matches("nothing counted").count(), COUNTED.len());
        assert_eq!(ladders(&counts, None).unwrap().len(), LADDERS.len());
        assert!(ladders(&BTreeMap::new(), None).is_err());
    }

    #[test]
    fn what_a_step_adds_is_a_service_of_its_scenario() {
        let services = |name: Name| name.with(&crate::scenario::Parameters::default()).services();
        for steps in LADDERS {
            for pair in steps.windows(2) {
                let [before, after] = [pair[0].0, pair[1].0].map(services);
                let tracked = !pair[0].0.is_tracked() && pair[1].0.is_tracked();
                assert!(after.len() > before.len() || before != after || tracked, "{pair:?}");
            }
        }
    }
}
