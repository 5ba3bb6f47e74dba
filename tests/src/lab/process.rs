//! Processes that run beside a test and end with it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::wait_for;

/// A process in the background; SIGTERM on drop, then SIGKILL. Its output is kept.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
    /// They read its output.
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts it. It ends with the thread that started it, however that one ends.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn start(mut command: Command) -> Result<Running> {
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program()).args(command.get_args());
        guarded.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
        command = guarded;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{command:?} cannot start"))?;
        let output = Arc::default();
        let readers = [collect(child.stdout.take(), &output), collect(child.stderr.take(), &output)];
        Ok(Running { child, output, readers: readers.into_iter().flatten().collect() })
    }

    /// Waits until a line of its output contains `text`; such a program is ready then.
    ///
    /// # Errors
    /// When it ends or is silent.
    pub fn until(self, text: &str) -> Result<Running> {
        wait_for(&format!("the line `{text}`"), || {
            self.output_lines().iter().any(|line| line.contains(text)).then_some(())
        })
        .with_context(|| self.text())?;
        Ok(self)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().try_into()?), signal)?)
    }

    /// Its pid.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// From the kernel.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end, and until all that it wrote was read.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = wait_for("a process to end", || self.child.try_wait().transpose())?
            .context("waiting for a process")?;
        // A child of it may hold the streams open; then there is no end to wait for.
        let read = || self.readers.iter().all(JoinHandle::is_finished).then_some(());
        let _ = wait_for("the end of its output", read);
        Ok(status)
    }

    /// SIGINT, and waits for the end; for programs that finish their work on it.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn interrupt(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGINT)?;
        self.wait()
    }

    /// What it has written so far, both streams.
    pub fn output_lines(&self) -> Vec<String> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has written so far, as one text.
    pub fn text(&self) -> String {
        self.output_lines().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::SIGTERM);
            if self.wait().is_err() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

/// Reads lines on a thread of its own until the stream ends.
fn collect(
    stream: Option<impl Read + Send + 'static>,
    output: &Arc<Mutex<Vec<String>>>,
) -> Option<JoinHandle<()>> {
    let stream = stream?;
    let output = Arc::clone(output);
    Some(thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            output.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }))
}
