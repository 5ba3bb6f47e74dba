//! The frames that are replayed: one per flow, in random order, in one piece of memory.

use std::sync::Arc;

use crate::scenario::Scenario;

/// The order of the flows is that of every run and machine.
const SEED: u64 = 0x7469_6465_6761_7465;

/// Frames of equal length, in the order in which they are sent. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Traffic {
    frames: Arc<Frames>,
}

#[derive(Debug)]
struct Frames {
    /// Back to back.
    bytes: Vec<u8>,
    len: usize,
    /// Which flow a frame is of.
    flows: Vec<u32>,
}

impl Traffic {
    /// The frames of all flows of a scenario.
    ///
    /// # Panics
    /// Where the scenario's frames differ in length: a mistake of the scenario.
    pub fn new(scenario: &dyn Scenario) -> Traffic {
        let mut flows: Vec<u32> = (0..scenario.load().flows).collect();
        fastrand::Rng::with_seed(SEED).shuffle(&mut flows);
        let len = scenario.arriving(0).len();
        let mut bytes = Vec::with_capacity(len * flows.len());
        for flow in &flows {
            bytes.extend(scenario.arriving(*flow));
        }
        assert_eq!(bytes.len(), len * flows.len(), "all frames of a scenario are of one length");
        Traffic { frames: Arc::new(Frames { bytes, len, flows }) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.frames.flows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame at a place, counted round.
    #[inline]
    pub fn frame(&self, at: usize) -> &[u8] {
        let start = at % self.len() * self.frames.len;
        &self.frames.bytes[start..start + self.frames.len]
    }

    /// The flow of that frame.
    pub fn flow(&self, at: usize) -> u32 {
        self.frames.flows[at % self.len()]
    }
}
