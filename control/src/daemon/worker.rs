//! Worker threads: pinned, started together, stopped together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow, bail};
use core_affinity::CoreId;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use tidegate_fastpath::{
    io::Io,
    worker::{Idle, Parts, Worker},
};
use tracing::warn;

use super::supervise::text;
use crate::config::LcoreId;

/// What a worker's thread does with ports of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work<I: Io, G> {
    /// Makes the thread known to whoever made the ports; the result lives as long as the thread polls.
    pub(super) register: fn(&I) -> Result<G, String>,
    /// Polls until it is stopped.
    pub(super) run: fn(Worker<I>, &AtomicBool, Idle) -> I,
}

/// All workers.
#[derive(Debug)]
pub(super) struct Workers {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Workers {
    /// One thread per lcore. Returns when all of them poll.
    ///
    /// # Errors
    /// When a thread cannot be pinned or registered; the others are stopped then.
    pub(super) fn start<I, G>(
        parts: Vec<Parts>,
        ios: Vec<I>,
        work: Work<I, G>,
        lcores: &[LcoreId],
        idle: Idle,
    ) -> Result<Workers>
    where
        I: Io + Send + 'static,
        I::Buffer: Send,
        G: 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, started) = mpsc::channel();
        let mut workers = Workers { threads: Vec::new(), stop };
        for ((parts, io), lcore) in parts.into_iter().zip(ios).zip(lcores) {
            let (stop, ready, lcore) = (workers.stop.clone(), ready.clone(), *lcore);
            let thread = move || {
                if !core_affinity::set_for_current(CoreId { id: lcore.0.into() }) {
                    let _ = ready.send(Err(format!(
                        "gateway.workers: cannot pin a worker to lcore {lcore}; give lcores that this process may use"
                    )));
                    return;
                }
                let registered = match (work.register)(&io) {
                    Ok(registered) => registered,
                    Err(error) => return drop(ready.send(Err(format!("worker on lcore {lcore}: {error}")))),
                };
                parts.tables.attach();
                let worker = Worker::new(parts, io);
                let _ = ready.send(Ok(()));
                drop(ready);
                let io = (work.run)(worker, &stop, idle);
                // The ports' buffers go back to their pool from a thread that is still registered.
                drop(io);
                drop(registered);
            };
            let thread = thread::Builder::new().name(format!("worker-{lcore}")).spawn(thread);
            workers.threads.push(thread.context("cannot start a thread")?);
        }
        drop(ready);
        for _ in 0..workers.threads.len() {
            let answer = started.recv().unwrap_or_else(|_| Err("a worker ended while it started".to_owned()));
            if let Err(why) = answer {
                let _ = workers.stop();
                bail!(why);
            }
        }
        Ok(workers)
    }

    /// Whether every worker still polls.
    pub(super) fn all_run(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Ends all workers after their present burst.
    ///
    /// # Errors
    /// What a worker that had failed said.
    pub(super) fn stop(self) -> Result<()> {
        self.stop.store(true, Relaxed);
        let ends: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        let failed = ends.into_iter().filter_map(Result::err).next();
        failed.map_or(Ok(()), |panic| {
            Err(anyhow!("a worker failed: {}; please report this", text(panic.as_ref())))
        })
    }
}

/// Keeps the calling thread, and threads it starts from now on, off the workers' lcores: onto `own` where it is given, else
/// onto all others that there are.
pub(super) fn keep_off(workers: &[LcoreId], own: Option<LcoreId>) {
    let set = || -> nix::Result<()> {
        let this = Pid::from_raw(0);
        let mut set = sched_getaffinity(this)?;
        match own {
            Some(lcore) => {
                set = CpuSet::new();
                set.set(lcore.0.into())?;
            }
            None => workers.iter().try_for_each(|lcore| set.unset(lcore.0.into()))?,
        }
        let empty = (0..CpuSet::count()).all(|cpu| !set.is_set(cpu).unwrap_or_default());
        if empty { Ok(()) } else { sched_setaffinity(this, &set) }
    };
    if let Err(error) = set() {
        warn!("the control thread stays where it is: {error}");
    }
}
