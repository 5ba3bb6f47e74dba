//! What a packet may cost: the targets of docs/performance.md, beside what VPP costs for the same on this kind of machine.
//! Cycles are for 64-byte frames in bursts of 32, on one worker.

use crate::measurement::{Label, Phase};

/// Bounds of one measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Most cycles of work per packet.
    pub cycles: f64,
    /// VPP's, with vectors of 256 packets; the best of the peers.
    pub vpp: Option<f64>,
}

/// Of a scenario the flows up to which a target counts (or the routes, for `ip4`), the target, VPP's figure.
type Line = (&'static str, u32, f64, Option<f64>);

const CYCLES: [Line; 14] = [
    ("ip4", 1, 36.0, Some(62.0)),
    ("ip4", 1_000_000, 60.0, Some(258.0)),
    ("vxlan-vxlan", 10_000, 85.0, Some(288.0)),
    ("vxlan-ip", 10_000, 75.0, Some(244.0)),
    ("snat", 10_000, 75.0, Some(306.0)),
    ("snat", 100_000, 85.0, Some(609.0)),
    ("snat", 1_000_000, 120.0, Some(848.0)),
    ("vxlan-snat", 10_000, 85.0, Some(465.0)),
    ("vxlan-snat", 100_000, 95.0, Some(805.0)),
    ("vxlan-snat", 1_000_000, 130.0, Some(1237.0)),
    ("session", 10_000, 75.0, Some(171.0)),
    ("session", 1_000_000, 120.0, Some(295.0)),
    ("lb-in", 10_000, 80.0, None),
    ("lb-in", 1_000_000, 125.0, None),
];

/// Most instructions per packet, and VPP's.
const INSTRUCTIONS: [(&str, f64, f64); 4] = [
    ("ip4", 150.0, 236.0),
    ("vxlan-vxlan", 320.0, 1047.0),
    ("snat", 260.0, 721.0),
    ("vxlan-snat", 330.0, 1307.0),
];

/// Most bytes of memory of a connection.
pub const BYTES_PER_CONNECTION: f64 = 256.0;

/// Most cycles for the first packet of a flow, with translation: a million per second of one core at 2.3 GHz.
const NEW: f64 = 2_300.0;

/// The target of what a label says; `None` where there is none.
pub fn of(label: &Label) -> Option<Target> {
    if (label.frames.as_str(), label.burst, label.workers, label.popularity.as_str())
        != ("64", 32, 1, "uniform")
    {
        return None;
    }
    if !label.is_ours() || label.has_driver() || label.vpcs > 1 {
        return None;
    }
    match label.phase {
        Phase::Established => {}
        Phase::New => return Some(Target { cycles: NEW, vpp: None }),
        _ => return None,
    }
    let size = if label.scenario == "ip4" { label.routes.unwrap_or(1) } else { label.flows };
    let line = CYCLES.iter().find(|(scenario, up_to, ..)| *scenario == label.scenario && size <= *up_to);
    line.map(|(.., cycles, vpp)| Target { cycles: *cycles, vpp: *vpp })
}

/// Most instructions per packet of a scenario with one route, and VPP's.
pub fn instructions(label: &Label) -> Option<(f64, f64)> {
    let line = INSTRUCTIONS.iter().find(|(scenario, ..)| *scenario == label.scenario);
    let is_usual = label.is_ours() && !label.has_driver() && label.vpcs == 1;
    line.filter(|_| is_usual && label.routes.unwrap_or(1) == 1 && label.phase == Phase::Established)
        .map(|(_, ours, vpp)| (*ours, *vpp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Name, Parameters};

    #[test]
    fn a_target_belongs_to_the_flows_up_to_which_it_was_set() {
        let target = |name: Name, flows, routes| {
            let parameters = Parameters { flows, routes, ..Parameters::default() };
            of(&Label::new(&*name.with(&parameters), "mem", 32)).map(|target| target.cycles)
        };
        assert_eq!(target(Name::Snat, 1, 1), Some(75.0));
        assert_eq!(target(Name::Snat, 100_000, 1), Some(85.0));
        assert_eq!(target(Name::Snat, 2_000_000, 1), None);
        assert_eq!(target(Name::Ip4, 10_000, 1), Some(36.0));
        assert_eq!(target(Name::Ip4, 10_000, 1_000_000), Some(60.0));
        assert_eq!(target(Name::Eip, 1, 1), None);
    }

    #[test]
    fn every_target_is_of_a_scenario_that_exists() {
        let named = CYCLES.iter().map(|line| line.0).chain(INSTRUCTIONS.iter().map(|line| line.0));
        assert!(named.into_iter().all(|name| name.parse::<Name>().is_ok()));
    }
}
