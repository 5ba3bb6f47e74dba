//! Every scenario passes its own check, and the check sees what is wrong.

use std::sync::Arc;

use tidegate_fastpath::types::PortId;

use super::*;
use crate::{
    measurement::{Length, Subject},
    pool::MemPool,
    replay::Replay,
    traffic::Traffic,
};

const SMALL: Parameters = Parameters {
    flows: 3000,
    frames: FrameSize::Fixed(64),
    popularity: Popularity::Uniform,
    tracked: None,
    sources: 100,
    destinations: 70,
    routes: 1,
    vpcs: 1,
};

fn replay(scenario: &Arc<dyn Scenario>, burst: usize) -> Replay<MemPool> {
    let traffic = Traffic::new(&**scenario).unwrap();
    Replay::new(Arc::clone(scenario), traffic, MemPool::default(), burst).unwrap()
}

/// Runs a scenario; every frame of the first passes is checked.
fn pass(name: Name, parameters: Parameters) {
    let mut replay = replay(&name.with(&parameters), 7);
    replay.verify().unwrap_or_else(|error| panic!("{name}: {error:#}"));
    replay.round(Length::Packets(100)).unwrap();
    let outcome = replay.finish().unwrap();
    assert!(outcome.received == outcome.sent && outcome.sent >= 100, "{name}: {outcome:?}");
    assert!(outcome.drops.is_empty(), "{name}: {outcome:?}");
}

#[test]
fn every_scenario_passes_its_own_check() {
    for name in Name::ALL {
        pass(name, SMALL);
        pass(name, Parameters { flows: 1, frames: FrameSize::Fixed(1450), ..SMALL });
        pass(name, Parameters { flows: 100, frames: FrameSize::Imix, popularity: Popularity::Zipf, ..SMALL });
    }
}

#[test]
fn plain_forwarding_works_on_both_paths() {
    for tracked in [false, true] {
        for name in [Name::Ip4, Name::VxlanVxlan, Name::VxlanIp] {
            pass(name, Parameters { tracked: Some(tracked), ..SMALL });
        }
        pass(Name::Ip4, Parameters { tracked: Some(tracked), flows: 1000, routes: 2000, ..SMALL });
    }
}

#[test]
fn translation_without_flow_entries_is_refused() {
    for name in [Name::Snat, Name::VxlanSnat, Name::Eip, Name::PfIn, Name::LbIn] {
        assert!(name.with(&Parameters { tracked: Some(false), ..SMALL }).gateway().is_err(), "{name}");
    }
}

#[test]
fn a_session_has_two_entries_and_a_flow_one() {
    for (name, entries) in
        [(Name::Session, 1), (Name::Eip, 1), (Name::VxlanSnat, 2), (Name::PfInQos, 2), (Name::LbIn, 2)]
    {
        let scenario = name.with(&SMALL);
        let mut replay = replay(&scenario, 32);
        replay.verify().unwrap();
        let outcome = replay.finish().unwrap();
        assert_eq!(outcome.entries, Some(entries * 3000), "{name}");
        let bytes = outcome.bytes_per_connection.unwrap();
        assert!(bytes > 64.0 * entries as f64, "{name}: {bytes}");
    }
}

#[test]
fn a_frame_with_any_byte_changed_fails_the_check() {
    // Any upper source port will do for a tunnel: the check knows only the range.
    let free_in_tunnel = [34, 35];
    let cases: [(Name, PortId, &[usize]); 6] = [
        (Name::VxlanVxlan, PortId(0), &free_in_tunnel),
        (Name::VxlanIp, PortId(1), &[]),
        (Name::Ip4, PortId(1), &[]),
        (Name::Eip, PortId(1), &[]),
        (Name::PfIn, PortId(0), &free_in_tunnel),
        (Name::LbIn, PortId(0), &free_in_tunnel),
    ];
    for (name, port, free) in cases {
        let scenario = name.with(&Parameters { flows: 1, ..SMALL });
        let right = replay(&scenario, 1).emitted().unwrap();
        scenario.check(0, 64, port, &right).unwrap();
        for at in (0..right.len()).filter(|at| !free.contains(at)) {
            let mut wrong = right.clone();
            wrong[at] ^= 0x10;
            assert!(scenario.check(0, 64, port, &wrong).is_err(), "{name}: byte {at}");
        }
        assert!(scenario.check(0, 64, PortId(2), &right).is_err(), "{name}");
    }
}

#[test]
fn a_name_that_does_not_exist_says_what_does() {
    let told = |text: &str| text.parse::<Name>().unwrap_err().to_string();
    assert!(told("vxlan-snat+lb").contains("\"lb\""), "{}", told("vxlan-snat+lb"));
    assert!(told("nothing").contains("ip4, session, vxlan-vxlan"), "{}", told("nothing"));
    for name in Name::ALL {
        assert_eq!(name.as_str().parse::<Name>().unwrap(), name);
    }
}
