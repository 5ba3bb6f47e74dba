//! The loop of the daemon: whatever comes in goes to the core, whatever the core says is done.

use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use futures_util::FutureExt;
use nix::time::{ClockId, clock_gettime};
use tidegate_zsnp::{Keyring, Sender};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};
use tracing::{info, warn};

use super::{
    Options,
    attach::Follower,
    frame::Frame,
    local, metrics,
    privilege::{self, KEPT},
    raw::Raw,
    ready::Ready,
    snapshot::{self, Snapshot},
    status::{self, Ask},
};
use crate::{
    bpf::{Event, Programs, agent_of, sweep},
    core::{Agent, Input, Note, Output, Settings},
    host::{Change, Inventory, Netlink},
};

/// Longest sleep: a clock that stands still must not stop the probes.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Frames of gateways whose tunnel end is not known yet.
const STRANGERS_MAX: usize = 64;
/// How often all facts are asked for again, in case the kernel could not tell a change, in ns.
const AGAIN_NS: u64 = 30_000_000_000;

/// Everything the agent holds.
struct Rim {
    agent: Agent,
    programs: Programs,
    netlink: Netlink,
    raw: Raw,
    host: Inventory,
    follower: Follower,
    /// ZSNP whose sender is not in the forwarding table yet: the kernel tells of both by different ways.
    strangers: Vec<(u64, u32, Vec<u8>)>,
    changed: bool,
    routes_changed: bool,
    dumped_ns: u64,
    unsent: u64,
}

/// Runs the agent until SIGTERM or SIGINT. SIGHUP reads the keys again.
///
/// # Errors
/// When it cannot start: no keys, no permission, no programs.
pub async fn run(options: Options) -> Result<()> {
    let mut rim = Rim::start(&options).await?;
    let (asks, mut asked) = mpsc::channel(16);
    status::serve(&options.socket, asks.clone())?;
    if let Some(address) = options.metrics {
        metrics::serve(address, asks.clone()).await?;
    }
    if let Some(address) = options.local_api {
        local::serve(address, asks).await?;
    }
    privilege::drop_all_but_kept().context("capabilities cannot be given back")?;
    info!(kept = ?KEPT, "the agent runs");
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hup = signal(SignalKind::hangup())?;
    let ring = Ready::of(rim.programs.events_fd())?;
    loop {
        rim.settle().await;
        let nap = sleep(rim.sleep());
        let Rim { netlink, raw, .. } = &mut rim;
        tokio::select! {
            biased;
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => rim.rekey(&options),
            change = netlink.next() => rim.changes(change.context("the kernel closed the netlink socket")?),
            ready = ring.wait() => {
                ready?;
                rim.events();
            }
            ready = raw.readable() => {
                ready?;
                rim.messages();
            }
            Some(ask) = asked.recv() => rim.answer(ask).await,
            () = nap => rim.input(Input::Tick),
        }
    }
    rim.follower.leave(&mut rim.programs, &rim.netlink).await;
    let _ = std::fs::remove_file(&options.socket);
    info!("the agent has ended; nothing of it is left on any device");
    Ok(())
}

impl Rim {
    async fn start(options: &Options) -> Result<Rim> {
        let keys = load_keys(options)?;
        std::fs::create_dir_all(&options.state)
            .with_context(|| format!("no state directory {}", options.state.display()))?;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let sender = Sender::start(&options.state.join("sender"), u64::try_from(now_ms)?)?;
        let grace_ns = u64::try_from(options.grace.as_nanos())?;
        let settings = Settings { keys, limits: options.limits, grace_ns };
        let programs = Programs::load(crate::bpf::Options {
            protocol: options.protocol,
            shortcuts_max: options.limits.shortcuts_max,
            attach: options.attach,
        })?;
        let netlink = Netlink::open()?;
        let mut rim = Rim {
            agent: Agent::new(settings, sender),
            programs,
            netlink,
            raw: Raw::open(options.protocol)?,
            host: Inventory::new(options.underlay.clone()),
            follower: Follower::default(),
            strangers: Vec::new(),
            changed: true,
            routes_changed: false,
            dumped_ns: 0,
            unsent: 0,
        };
        rim.dump().await?;
        let left = rim.host.links().filter(|link| sweep(&link.name)).count();
        if left > 0 {
            info!(devices = left, "took over from an agent that was killed");
        }
        Ok(rim)
    }

    async fn dump(&mut self) -> Result<()> {
        self.dumped_ns = boot_ns();
        for change in self.netlink.dump().await? {
            self.host.apply(change);
        }
        self.changed = true;
        Ok(())
    }

    /// Brings kernel and core up to what is known of the host, and does what the core says.
    async fn settle(&mut self) {
        if boot_ns() > self.dumped_ns + AGAIN_NS && self.dump().await.is_err() {
            warn!("the kernel does not say what the host is");
        }
        if std::mem::take(&mut self.changed) {
            let view = self.follower.follow(&self.host, &mut self.programs, &self.netlink).await;
            self.input(Input::View(view));
            self.meet_strangers();
        }
        if std::mem::take(&mut self.routes_changed) {
            let vteps: Vec<Ipv4Addr> = self.agent.paths().map(|(vtep, _)| vtep).collect();
            for vtep in vteps {
                self.route(vtep).await;
            }
        }
        while let Some(output) = self.agent.output() {
            self.perform(output).await;
        }
    }

    async fn perform(&mut self, output: Output) {
        match output {
            Output::Send { from, to, payload } => {
                // What is not sent is as good as lost on the way; both ends ask again.
                self.unsent += u64::from(self.raw.send(from, to, &payload).is_err());
            }
            Output::Install { pair, rule, fresh } => {
                let cleared = if fresh { self.programs.clear(rule.slot) } else { Ok(()) };
                if let Err(why) = cleared.and_then(|()| self.programs.install(pair, &rule)) {
                    warn!(vni = %pair.vni, address = %pair.address, "cannot install a shortcut: {why}");
                }
            }
            Output::Remove(pair) => self.programs.remove(pair),
            Output::AskRoute(vtep) => self.route(vtep).await,
            Output::Note(note) => log(&note),
        }
    }

    async fn route(&mut self, vtep: Ipv4Addr) {
        let out = self.netlink.route(vtep).await;
        self.input(Input::Route { vtep, out });
    }

    fn input(&mut self, input: Input<'_>) {
        let programs = &self.programs;
        let counts = |slot| programs.count(slot).unwrap_or_default();
        self.agent.input(boot_ns(), &counts, input);
    }

    fn changes(&mut self, first: Change) {
        let mut next = Some(first);
        while let Some(change) = next {
            match change {
                Change::Routes => self.routes_changed = true,
                Change::Behind { .. } => {
                    self.host.apply(change);
                    self.meet_strangers();
                }
                _ => {
                    self.host.apply(change);
                    self.changed = true;
                }
            }
            next = self.netlink.next().now_or_never().flatten();
        }
    }

    /// Frames that the programs handed over.
    fn events(&mut self) {
        while let Some(event) = self.programs.event() {
            match event {
                Event::Zsnp { ifindex, frame } => {
                    if !self.zsnp(ifindex, &frame) && self.strangers.len() < STRANGERS_MAX {
                        self.strangers.push((boot_ns(), ifindex, frame));
                    }
                }
                Event::Stray { ifindex, frame } => self.stray(ifindex, &frame),
            }
        }
    }

    /// Returns whether it is known where the frame came from.
    fn zsnp(&mut self, ifindex: u32, bytes: &[u8]) -> bool {
        let (Some(frame), Some(vni)) = (Frame::parse(bytes), self.host.vni_of(ifindex)) else { return true };
        let Some(from) = self.host.vtep_of(ifindex, frame.from_mac) else { return false };
        self.input(Input::Overlay { vni, from, payload: frame.payload });
        true
    }

    fn meet_strangers(&mut self) {
        let now = boot_ns();
        for (came, ifindex, frame) in std::mem::take(&mut self.strangers) {
            if !self.zsnp(ifindex, &frame) && now < came + 1_000_000_000 {
                self.strangers.push((came, ifindex, frame));
            }
        }
    }

    fn stray(&mut self, ifindex: u32, bytes: &[u8]) {
        let (Some((mac, from, address)), Some(vni)) = (Frame::heads(bytes), self.host.vni_of(ifindex)) else {
            return;
        };
        if let Some(from) = agent_of(from) {
            self.input(Input::Stray { vni, mac, address, from });
        }
    }

    /// Messages from the underlay.
    fn messages(&mut self) {
        while let Some(it) = self.raw.receive() {
            self.input(Input::Underlay { from: it.from, to: it.to, payload: &it.payload });
        }
    }

    fn rekey(&mut self, options: &Options) {
        match load_keys(options) {
            Ok(keys) => {
                info!(signs = %keys.signing().id(), "read the keys again");
                self.agent.rekey(keys);
            }
            Err(why) => warn!("the keys stay as they were: {why:#}"),
        }
    }

    async fn answer(&mut self, ask: Ask) {
        // Who asked may be gone.
        match ask {
            Ask::Snapshot(answer) => _ = answer.send(self.snapshot()),
            Ask::Switch(on, answer) => {
                info!(on, "shortcuts of this host were switched");
                self.input(Input::Switch(on));
                self.settle().await;
                let _ = answer.send(());
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        snapshot::take(&self.agent, &self.programs, &self.host, self.unsent, boot_ns())
    }

    fn sleep(&self) -> Duration {
        let wake = self.agent.wakes_ns().map(|at| Duration::from_nanos(at.saturating_sub(boot_ns())));
        wake.unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
    }
}

/// `CLOCK_BOOTTIME`, in ns: the clock by which the programs let shortcuts expire.
fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn load_keys(options: &Options) -> Result<Keyring> {
    Keyring::load(&options.key_file).with_context(|| format!("key file {}", options.key_file.display()))
}

fn log(note: &Note) {
    match note {
        Note::Installed(grant) => {
            let (from, to) = (grant.matches.vni, grant.matches.destination);
            info!(%from, %to, vtep = %grant.action.vtep, "shortcut installed");
        }
        Note::Withdrawn(pair, reason) => {
            info!(from = %pair.vni, to = %pair.address, ?reason, "shortcut withdrawn");
        }
        Note::Expired(pair) => info!(from = %pair.vni, to = %pair.address, "shortcut expired"),
        Note::Unreachable(vtep, shortcuts) => {
            warn!(%vtep, shortcuts, "a host no longer answers; its traffic takes the gateway again");
        }
    }
}
