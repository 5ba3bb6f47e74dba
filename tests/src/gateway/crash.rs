//! A gateway whose flow table is in a file, killed and started again.

use std::{fs::OpenOptions, path::Path};

use tidegate_control::config::Config;
use tidegate_fastpath::{
    flow::{FileFor, FlowMemory, Recovery},
    nat::NatUsage,
    types::Nanos,
};

use super::Gateway;

impl Gateway {
    /// As [`Gateway::start`], with the flow table in `file`.
    ///
    /// # Panics
    /// When the configuration is refused, or the file system.
    pub fn start_in(file: &Path, config: &str, workers: usize) -> Gateway {
        let mut gw =
            Gateway::made(config, workers, Nanos::from_ms(1_000), |config| memory(file, config, workers));
        gw.meet_hosts();
        gw.pass(3_000).ignore();
        gw.ledger.begin(gw.control.counters());
        gw
    }

    /// The gateway is gone at once, in the middle of what it does, and another one begins with its file `gone_ms` later. What
    /// hosts and stations know is as it was. The caller lets it run.
    ///
    /// # Panics
    /// See [`Gateway::start_in`].
    pub fn crash(mut self, file: &Path, config: &str, gone_ms: u64) -> (Gateway, Recovery) {
        let workers = self.workers.drain(..).count();
        let now = Nanos(self.now.0 + gone_ms * 1_000_000);
        let alive = std::mem::take(&mut self.alive);
        drop(self);
        let mut gw = Gateway::made(config, workers, now, |config| memory(file, config, workers));
        gw.alive = alive;
        gw.meet_hosts();
        gw.ledger.begin(gw.control.counters());
        let recovery = gw.control.recovery();
        (gw, recovery)
    }

    /// The gateway has lived long enough to trust the file.
    pub fn trust_file(&mut self) {
        self.control.flows().settle();
    }

    /// How full port translation is.
    pub fn nat_usage(&self) -> NatUsage {
        self.control.nat().usage()
    }
}

fn memory(file: &Path, config: &Config, workers: usize) -> FlowMemory {
    let what = FileFor { capacity: config.gateway.limits.flows, workers, boot: 1, hugepages: false };
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file);
    let file = file.expect("the file can be made");
    if what.check(&file).is_err() {
        file.set_len(0).and_then(|()| file.set_len(what.bytes())).expect("there is room");
    }
    FlowMemory::of_file(file, &what).expect("there is memory")
}
