//! What the gateway sent in answer to one step, until the test has expected all of it.

use tidegate_fastpath::types::{MacAddr, PortId};

use super::{Gateway, Station};
use crate::packet;

/// Frames that were sent and not yet expected. Dropping it with any left fails the test.
#[derive(Debug)]
pub struct Sent<'a> {
    gw: &'a mut Gateway,
    left: Vec<(PortId, Vec<u8>)>,
}

impl<'a> Sent<'a> {
    pub(super) fn new(gw: &'a mut Gateway, left: Vec<(PortId, Vec<u8>)>) -> Sent<'a> {
        Sent { gw, left }
    }

    /// The next frame on the station's port is for it and holds this.
    pub fn to(mut self, who: &Station, inner: &str) -> Sent<'a> {
        self.take(who.port, &who.gets(inner));
        self
    }

    /// A frame on the station's port is a broadcast on its network, for its VTEP where it has one; in any order, because
    /// control deals frames out to workers in turn.
    pub fn to_all(mut self, who: &Station, inner: &str) -> Sent<'a> {
        let expected = who.gets_as(MacAddr::BROADCAST, inner);
        let at = self.left.iter().position(|(on, frame)| *on == who.port && fits(&expected, frame).is_ok());
        let Some(at) = at else {
            panic!("no such frame was sent on port {}\nexpected: {expected}\n{}", who.port, self.rest());
        };
        self.left.remove(at);
        self
    }

    /// The next frame on a port.
    pub fn on(mut self, port: &str, expected: &str) -> Sent<'a> {
        let port = self.gw.port(port);
        self.take(port, expected);
        self
    }

    /// Leaves out ARP: what the gateway says of its own addresses and asks of its neighbours, whenever that comes.
    pub fn without_arp(mut self) -> Sent<'a> {
        self.left.retain(|(_, frame)| !packet::describe(frame).contains("| arp "));
        self
    }

    /// Nothing more was sent.
    pub fn nothing(self) {}

    /// Whatever was sent does not matter.
    pub fn ignore(mut self) {
        self.left.clear();
    }

    /// The frames, for a test that looks at bytes.
    pub fn frames(mut self) -> Vec<Vec<u8>> {
        self.left.drain(..).map(|(_, frame)| frame).collect()
    }

    /// The frames with the id of the port that sent them.
    pub fn by_port(mut self) -> Vec<(String, Vec<u8>)> {
        let left = std::mem::take(&mut self.left);
        left.into_iter().map(|(port, frame)| (self.gw.port_name(port), frame)).collect()
    }

    /// The frames in words, for a test that looks for something special in them.
    pub fn words(self) -> Vec<String> {
        self.frames().iter().map(|frame| packet::describe(frame)).collect()
    }

    fn take(&mut self, port: PortId, expected: &str) {
        let Some(at) = self.left.iter().position(|(on, _)| *on == port) else {
            panic!("nothing (more) was sent on port {port}\nexpected: {expected}\n{}", self.rest());
        };
        let (_, frame) = self.left.remove(at);
        if let Err(wrong) = fits(expected, &frame) {
            panic!("{wrong}\n{}", self.rest());
        }
    }

    fn rest(&mut self) -> String {
        let list = self.left.drain(..).map(|(port, f)| format!("  port {port}: {}\n", packet::describe(&f)));
        let list: String = list.collect();
        let moved = self.gw.ledger.read(self.gw.control.counters());
        format!("sent besides:\n{list}counters that moved: {moved:?}")
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.left.is_empty() && !std::thread::panicking() {
            panic!("frames that nobody expected were sent\n{}", self.rest());
        }
    }
}

/// # Errors
/// How the frame differs from what is expected.
fn fits(expected: &str, frame: &[u8]) -> Result<(), String> {
    packet::check(expected, frame).and_then(|()| nothing_odd(expected, frame))
}

/// Words that stand only where something is out of the ordinary; a test that does not expect it must not overlook it.
const ODD: [&str; 10] =
    ["df", "mf", "badsum", "badl4sum", "sum", "tos=", "off=", "opt=", "flags=", "reserved="];

/// # Errors
/// The first odd word of a header that `expected` does not state.
fn nothing_odd(expected: &str, frame: &[u8]) -> Result<(), String> {
    let described = packet::describe(frame);
    for (want, have) in expected.split('|').zip(described.split('|')) {
        let is_odd =
            |word: &&str| ODD.iter().any(|odd| word == odd || odd.ends_with('=') && word.starts_with(odd));
        let stated = |word: &&str| want.split_whitespace().any(|w| w == *word);
        if let Some(word) = have.split_whitespace().filter(is_odd).find(|word| !stated(word)) {
            return Err(format!("`{word}` was not expected\nexpected: {expected}\n     got: {described}"));
        }
    }
    Ok(())
}
