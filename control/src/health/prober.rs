//! The thread that makes the probes. It enters the namespace of each probe for as long as it takes to open a socket: a
//! socket stays in the namespace where it was made. Everything after that is asynchronous, so thousands of backends that do
//! not answer cost a timer each and delay nobody.

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use nix::sched::{CloneFlags, setns};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError, unbounded_channel};

use super::{
    Outcome, Probe, ProbeId, Target,
    probe::{self, Socket},
};

/// A probe, and where it is made from.
#[derive(Clone, Debug)]
pub struct Job {
    /// The probe.
    pub probe: Probe,
    /// The namespace, as a path.
    pub namespace: PathBuf,
}

/// The thread. It ends when this is dropped; probes that are under way then have no outcome.
#[derive(Debug)]
pub struct Prober {
    jobs: Option<UnboundedSender<Job>>,
    outcomes: UnboundedReceiver<(ProbeId, Outcome)>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    /// Starts the thread. It may run where the calling thread may.
    ///
    /// # Errors
    /// When there is no thread, or no runtime.
    pub fn start() -> io::Result<Prober> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // How many wait is bounded by how many the monitor lets be under way.
        let (jobs, inbox) = unbounded_channel();
        let (results, outcomes) = unbounded_channel();
        let work = move || {
            runtime.block_on(serve(inbox, results));
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("health".to_owned()).spawn(work)?;
        Ok(Prober { jobs: Some(jobs), outcomes, thread: Some(thread) })
    }

    /// Starts a probe. False when the thread is gone.
    pub fn probe(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    /// The next outcome that lies ready.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn outcome(&mut self) -> Result<Option<(ProbeId, Outcome)>, Gone> {
        match self.outcomes.try_recv() {
            Ok(outcome) => Ok(Some(outcome)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Gone),
        }
    }
}

/// The thread that makes probes has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread of the health checks ended")]
pub struct Gone;

impl Drop for Prober {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It ends with the queue and waits for nothing.
            let _ = thread.join();
        }
    }
}

async fn serve(mut inbox: UnboundedReceiver<Job>, results: UnboundedSender<(ProbeId, Outcome)>) {
    let home = File::open("/proc/thread-self/ns/net");
    while let Some(Job { probe: Probe { id, target }, namespace }) = inbox.recv().await {
        let socket = match &home {
            Ok(home) => open_in(&namespace, home, &target),
            Err(error) => Err(format!("cannot find the way back from a namespace: {error}")),
        };
        match socket {
            Ok(socket) => {
                let results = results.clone();
                tokio::spawn(async move {
                    let outcome = probe::ask(socket, &target).await;
                    let _ = results.send((id, outcome));
                });
            }
            Err(why) => drop(results.send((id, Outcome::NotTried(why)))),
        }
    }
}

/// A socket in a namespace. The thread comes back `home`: a thread keeps the namespace alive in which it is.
fn open_in(namespace: &Path, home: &File, target: &Target) -> Result<Socket, String> {
    let cannot = |what: &str, why: &dyn fmt::Display| format!("cannot {what} {}: {why}", namespace.display());
    let inside = File::open(namespace).map_err(|e| cannot("find", &e))?;
    setns(inside, CloneFlags::CLONE_NEWNET).map_err(|e| cannot("enter", &e))?;
    let socket = probe::open(target).map_err(|e| format!("no socket from {}: {e}", target.source));
    setns(home, CloneFlags::CLONE_NEWNET).map_err(|e| cannot("leave", &e))?;
    socket
}
