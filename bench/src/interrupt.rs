//! What a run must not leave behind: directories, processes, reserved hugepages. Each is undone when its guard is dropped, and
//! also when the run is interrupted or told to end (SIGINT, SIGTERM, SIGHUP), which drops nothing.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result};

type Undoing = Box<dyn FnOnce() + Send>;

/// What is still to be undone, in the order in which it was done.
static PENDING: Mutex<Vec<(u64, Undoing)>> = Mutex::new(Vec::new());
/// The exit status that shells give an interrupted program.
const INTERRUPTED: i32 = 130;

fn pending() -> MutexGuard<'static, Vec<(u64, Undoing)>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes something once: on drop, or when the run is interrupted.
#[derive(Debug)]
pub struct Undo(u64);

impl Undo {
    /// `undoing` must not wait for anything but what it undoes.
    pub fn new(undoing: impl FnOnce() + Send + 'static) -> Undo {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // Somebody else may have set one, as tests do; then it is theirs to end well.
            let _ = ctrlc::set_handler(|| {
                undo_all();
                std::process::exit(INTERRUPTED);
            });
        });
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        pending().push((id, Box::new(undoing)));
        Undo(id)
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let mut pending = pending();
        let at = pending.iter().position(|(id, _)| *id == self.0);
        let undoing = at.map(|at| pending.remove(at).1);
        drop(pending);
        if let Some(undoing) = undoing {
            undoing();
        }
    }
}

/// Undoes everything, what was done last first.
fn undo_all() {
    loop {
        let Some((_, undoing)) = pending().pop() else { return };
        undoing();
    }
}

/// A directory for the time of a run.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _undo: Undo,
}

impl Scratch {
    /// A new one.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Scratch> {
        let path =
            tempfile::Builder::new().prefix("tidegate-bench-").tempdir().context("a directory")?.keep();
        let gone = path.clone();
        let _undo = Undo::new(move || {
            // Nobody is there to be told; what stays has our name.
            let _ = std::fs::remove_dir_all(gone);
        });
        Ok(Scratch { path, _undo })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A process for the time of a run: killed at its end.
#[derive(Debug)]
pub struct Process {
    child: Arc<Mutex<Child>>,
    id: u32,
    _undo: Undo,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Result<Process> {
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        let id = child.id();
        let child = Arc::new(Mutex::new(child));
        let killed = Arc::clone(&child);
        let _undo = Undo::new(move || {
            let mut child = killed.lock().unwrap_or_else(PoisonError::into_inner);
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        });
        Ok(Process { child, id, _undo })
    }

    /// Its process id.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Whether it is there still.
    pub fn is_running(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(child.try_wait(), Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_undone_with_its_guard() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        let process = Process::start(Command::new("sleep").arg("1000")).unwrap();
        let proc = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(process.is_running() && proc.exists() && path.exists());
        drop((process, scratch));
        assert!(!proc.exists() && !path.exists());
    }
}
