//! `docs/drops.md`: every word that a counter can carry, with its phrase.

use tidegate_fastpath::reason::{DropReason, Event, PuntReason};

use crate::{
    gateway::RingEvent, health::HealthEvent, local::LocalEvent, nat::LogEvent, neighbour::NeighbourEvent,
    rest::Limit, zsnp::ZsnpEvent, zstack::server::AgentEvent,
};

/// The page.
pub fn page() -> String {
    let mut page = String::from(
        "# Drops, punts and events\n\n\
         <!-- Written by `make docs-update` from fastpath/src/reason.rs. -->\n\n\
         `tidegate show drops` and the metrics use these words. Every packet that enters ends in tx, a drop, a punt or a hold.\n",
    );
    section(
        &mut page,
        "Drops",
        "the packet is gone",
        DropReason::ALL.iter().map(|r| (r.label(), r.phrase())),
    );
    section(
        &mut page,
        "Punts",
        "the control thread has it",
        PuntReason::ALL.iter().map(|r| (r.label(), r.phrase())),
    );
    section(
        &mut page,
        "Events",
        "happened beside, ends no packet",
        Event::ALL.iter().map(|r| (r.label(), r.phrase())),
    );
    section(
        &mut page,
        "Session log events",
        "of `gateway.nat_log`, in records",
        LogEvent::ALL.iter().map(|r| (r.label(), r.phrase())),
    );
    let neighbours = NeighbourEvent::ALL.iter().map(|r| (r.label(), r.phrase()));
    section(&mut page, "Neighbour events", "of the ARP state machine", neighbours);
    section(
        &mut page,
        "Ring events",
        "between workers and control",
        RingEvent::ALL.iter().map(|r| (r.label(), r.phrase())),
    );
    section(
        &mut page,
        "Local events",
        "of delivery into namespaces",
        LocalEvent::ALL.iter().map(|r| (r.label(), r.phrase())),
    );
    section(
        &mut page,
        "Health events",
        "of backends that are checked",
        HealthEvent::ALL.iter().map(|r| (r.label(), r.phrase())),
    );
    section(
        &mut page,
        "Router agent events",
        "of ZStack managers, by agent",
        AgentEvent::ALL.iter().map(|r| (r.label(), r.phrase())),
    );
    section(
        &mut page,
        "ZSNP events",
        "of the gateway's end of ZSNP",
        ZsnpEvent::ALL.iter().map(|r| (r.label(), r.phrase())),
    );
    section(
        &mut page,
        "Limits of the REST API",
        "that clients met, and why they were not let in",
        Limit::ALL.iter().map(|r| (r.label(), r.phrase())),
    );
    page
}

fn section<'a>(page: &mut String, title: &str, what: &str, words: impl Iterator<Item = (&'a str, &'a str)>) {
    *page += &format!("\n## {title}\n{what}\n\n| word | meaning |\n|---|---|\n");
    for (label, phrase) in words {
        *page += &format!("| `{label}` | {phrase} |\n");
    }
}
