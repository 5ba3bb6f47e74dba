//! The thread that writes: a file and a socket, whoever is slow.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::Builder,
    time::{Duration, Instant},
};

use tracing::warn;

use super::{Entry, LogCounts, LogEvent, ipfix::Exporter, line::line, wall_ms};
use crate::config::{Ipfix, NatLog};

/// Batches that wait for the writer, each of at most [`TAKE_MAX`](super::TAKE_MAX) records per worker.
pub(super) const BATCHES_MAX: usize = 64;
/// Longest time that a record waits for others.
const FLUSH: Duration = Duration::from_millis(200);
/// Between two tries to open what could not be opened.
const RETRY: Duration = Duration::from_secs(1);
/// How long the end waits for the last records.
const FINISH: Duration = Duration::from_secs(1);

/// Control's end of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    batches: SyncSender<Vec<Entry>>,
    /// Where to write from now on.
    orders: Arc<Mutex<Option<NatLog>>>,
    /// Closed when the thread is done.
    done: Receiver<()>,
    counts: Arc<LogCounts>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(to: NatLog, counts: Arc<LogCounts>) -> io::Result<Writer> {
        let (batches, inbox) = sync_channel(BATCHES_MAX);
        let (ended, done) = sync_channel(0);
        let orders = Arc::new(Mutex::new(Some(to)));
        let (taken, counted) = (Arc::clone(&orders), Arc::clone(&counts));
        Builder::new().name("nat-log".to_owned()).spawn(move || {
            write(&inbox, &taken, &counted);
            drop(ended);
        })?;
        Ok(Writer { batches, orders, done, counts })
    }

    /// Writes there from now on; a file is opened anew. Takes [`FLUSH`] at most to come into force.
    pub(super) fn open(&self, to: NatLog) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
    }

    /// Hands records over; those that do not fit are counted. Never waits.
    pub(super) fn write(&self, batch: Vec<Entry>) {
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
            self.batches.try_send(batch)
        {
            self.counts.add(LogEvent::Lost, batch.len());
        }
    }

    /// Lets the thread write what it has, and end.
    pub(super) fn finish(self) {
        let Writer { batches, done, .. } = self;
        drop(batches);
        let _ = done.recv_timeout(FINISH);
    }
}

/// The thread.
fn write(inbox: &Receiver<Vec<Entry>>, orders: &Mutex<Option<NatLog>>, counts: &LogCounts) {
    let mut sinks = Sinks::default();
    let mut flushed = Instant::now();
    loop {
        let batch = inbox.recv_timeout(FLUSH);
        if let Some(to) = orders.lock().unwrap_or_else(PoisonError::into_inner).take() {
            sinks.flush(counts);
            sinks = Sinks::new(to);
        }
        for entry in batch.iter().flatten() {
            sinks.write(entry, counts);
        }
        if batch.is_err() || flushed.elapsed() >= FLUSH {
            sinks.flush(counts);
            flushed = Instant::now();
        }
        if batch == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Where records go.
#[derive(Default)]
struct Sinks {
    file: Option<FileSink>,
    ipfix: Option<IpfixSink>,
}

impl Sinks {
    fn new(to: NatLog) -> Sinks {
        let file = to.file.map(|path| FileSink { path, file: Retried::default(), lines: 0 });
        let ipfix = to.ipfix.map(|to| {
            let exporter = Exporter::new(to.observation_domain);
            IpfixSink { to, socket: Retried::default(), exporter }
        });
        let mut sinks = Sinks { file, ipfix };
        // At once, so that a wrong path shows before the first record.
        if let Some(sink) = &mut sinks.file {
            let _ = sink.open();
        }
        sinks
    }

    fn write(&mut self, entry: &Entry, counts: &LogCounts) {
        if let Some(file) = &mut self.file {
            file.write(entry, counts);
        }
        if let Some(ipfix) = &mut self.ipfix {
            ipfix.write(entry, counts);
        }
    }

    fn flush(&mut self, counts: &LogCounts) {
        if let Some(file) = &mut self.file {
            file.flush(counts);
        }
        if let Some(ipfix) = &mut self.ipfix {
            ipfix.flush(counts);
        }
    }
}

/// Something that is opened again after it failed, but not all the time.
struct Retried<T> {
    open: Option<T>,
    failed: Option<Instant>,
}

impl<T> Default for Retried<T> {
    fn default() -> Retried<T> {
        Retried { open: None, failed: None }
    }
}

impl<T> Retried<T> {
    fn get(&mut self, what: &str, open: impl FnOnce() -> io::Result<T>) -> Option<&mut T> {
        if self.open.is_none() && self.failed.is_none_or(|at| at.elapsed() >= RETRY) {
            match open() {
                Ok(opened) => (self.open, self.failed) = (Some(opened), None),
                Err(error) => self.fail(what, &error),
            }
        }
        self.open.as_mut()
    }

    /// Says so once, until it goes well again.
    fn fail(&mut self, what: &str, error: &io::Error) {
        if self.failed.is_none() {
            warn!("the session log cannot write to {what}: {error}");
        }
        (self.open, self.failed) = (None, Some(Instant::now()));
    }
}

struct FileSink {
    path: PathBuf,
    file: Retried<BufWriter<File>>,
    /// Lines that are not known to be written.
    lines: usize,
}

impl FileSink {
    fn open(&mut self) -> Option<&mut BufWriter<File>> {
        // Whose addresses and ports these are is nobody else's business.
        let open = || OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path);
        self.file.get(&self.path.display().to_string(), || open().map(BufWriter::new))
    }

    fn write(&mut self, entry: &Entry, counts: &LogCounts) {
        let Some(file) = self.open() else { return counts.add(LogEvent::FileError, 1) };
        let written = file.write_all(line(entry).as_bytes());
        self.lines += 1;
        if let Err(error) = written {
            self.lost(&error, counts);
        }
    }

    fn flush(&mut self, counts: &LogCounts) {
        let Some(file) = self.file.open.as_mut() else { return };
        match file.flush() {
            Ok(()) => counts.add(LogEvent::Line, std::mem::take(&mut self.lines)),
            Err(error) => self.lost(&error, counts),
        }
    }

    /// What was in the buffer is gone.
    fn lost(&mut self, error: &io::Error, counts: &LogCounts) {
        counts.add(LogEvent::FileError, std::mem::take(&mut self.lines));
        if let Some(buffer) = self.file.open.take() {
            // Not written once more when it is dropped.
            drop(buffer.into_parts());
        }
        self.file.fail(&self.path.display().to_string(), error);
    }
}

struct IpfixSink {
    to: Ipfix,
    socket: Retried<UdpSocket>,
    exporter: Exporter,
}

impl IpfixSink {
    fn write(&mut self, entry: &Entry, counts: &LogCounts) {
        if let Some(message) = self.exporter.push(entry, now_s()) {
            self.send(&message.bytes, message.records, counts);
        }
    }

    fn flush(&mut self, counts: &LogCounts) {
        if let Some(message) = self.exporter.take(now_s()) {
            self.send(&message.bytes, message.records, counts);
        }
    }

    fn send(&mut self, bytes: &[u8], records: u32, counts: &LogCounts) {
        let (to, name) = (self.to, format!("IPFIX collector {}", self.to.collector));
        let socket = self.socket.get(&name, || connect(to));
        let sent = socket.map(|socket| socket.send(bytes));
        let event = if matches!(sent, Some(Ok(_))) { LogEvent::Ipfix } else { LogEvent::IpfixError };
        counts.add(event, records as usize);
        // An earlier ICMP error is reported here (nobody listens); the socket stays good.
        if let Some(Err(error)) = sent
            && error.kind() != io::ErrorKind::ConnectionRefused
        {
            self.socket.fail(&name, &error);
        }
    }
}

fn connect(to: Ipfix) -> io::Result<UdpSocket> {
    let any =
        if to.collector.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(to.source.unwrap_or(any), 0))?;
    socket.connect(to.collector)?;
    socket.set_write_timeout(Some(RETRY))?;
    Ok(socket)
}

/// The time of day in seconds since 1970 (UTC), as IPFIX has it.
fn now_s() -> u32 {
    (wall_ms() / 1_000) as u32
}
