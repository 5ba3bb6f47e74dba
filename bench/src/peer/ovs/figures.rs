//! What OVS tells of the thread that works packets.

use anyhow::{Context, Result};

/// Counters of the thread since they were cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) received: u64,
    pub(super) sent: u64,
    /// In which there was something to do; it never rests while frames come from a capture.
    pub(super) cycles: u64,
    /// Packets of flows that it did not know.
    pub(super) upcalls: u64,
}

impl Figures {
    /// From what `dpif-netdev/pmd-perf-show` prints.
    ///
    /// # Errors
    /// It prints something else.
    pub(super) fn read(told: &str) -> Result<Figures> {
        let after = |words: &str| {
            let line = told.lines().find_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(words));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).with_context(|| format!("no {words:?} in: {told}"))
        };
        Ok(Figures {
            received: after("Rx packets:")?,
            sent: after("Tx packets:")?,
            cycles: after("Used TSC cycles:")?,
            upcalls: after("Upcalls:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_it_prints() {
        let told = "
pmd thread numa_id 0 core_id 0:

  Iterations:                32708  (62.26 us/it)
  - Used TSC cycles:    4276126862  (100.0 % of total cycles)
  - idle iterations:             0  (  0.0 % of used cycles)
  Rx packets:              1046688  (514 Kpps, 4085 cycles/pkt)
  Datapath passes:         2093376  (2.00 passes/pkt)
  - Upcalls:                     3  (  0.0 %, 0.0 us/upcall)
  - Lost upcalls:                0  (  0.0 %)
  Tx packets:              1046656  (514 Kpps)
  Tx batches:                32708  (32.00 pkts/batch)
";
        let figures = Figures { received: 1_046_688, sent: 1_046_656, cycles: 4_276_126_862, upcalls: 3 };
        assert_eq!(Figures::read(told).unwrap(), figures);
        assert!(Figures::read("no such thread").is_err());
    }
}
