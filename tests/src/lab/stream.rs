//! A stream of numbered UDP datagrams between two namespaces that knows about every loss.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{Netns, wait_for};

/// UDP port of the receiver.
const PORT: u16 = 7001;
/// Datagrams that leave together; the pause between two such groups follows from the rate.
const GROUP: u64 = 4;

/// The stream; runs until [`Datagrams::stop`].
#[derive(Debug)]
pub struct Datagrams {
    state: Arc<State>,
    sender: JoinHandle<std::io::Result<u64>>,
    receiver: JoinHandle<std::io::Result<()>>,
}

#[derive(Debug, Default)]
struct State {
    received: AtomicU64,
    stop_sending: AtomicBool,
    stop_receiving: AtomicBool,
}

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many were sent.
    pub sent: u64,
    /// How many different ones arrived.
    pub received: u64,
}

impl Datagrams {
    /// Sends `per_second` datagrams of 200 bytes from one namespace to `address` in another.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn start(from: &Netns, to: &Netns, address: &str, per_second: u64) -> Result<Datagrams> {
        let target: SocketAddr = format!("{address}:{PORT}").parse()?;
        let incoming = to.enter(|| UdpSocket::bind(("0.0.0.0", PORT)))??;
        let outgoing =
            from.enter(|| UdpSocket::bind("0.0.0.0:0").and_then(|s| s.connect(target).map(|()| s)))??;
        let state = Arc::new(State::default());
        let (sending, receiving) = (Arc::clone(&state), Arc::clone(&state));
        Ok(Datagrams {
            state,
            sender: thread::spawn(move || send(&outgoing, &sending, per_second)),
            receiver: thread::spawn(move || receive(&incoming, &receiving)),
        })
    }

    /// How many have arrived.
    pub fn received(&self) -> u64 {
        self.state.received.load(Relaxed)
    }

    /// Waits until so many more have arrived.
    ///
    /// # Errors
    /// When they do not.
    pub fn until_received(&self, more: u64) -> Result<()> {
        let goal = self.received() + more;
        wait_for("datagrams to arrive", || (self.received() >= goal).then_some(()))
    }

    /// Ends the stream and waits for what is under way.
    ///
    /// # Errors
    /// When sending or receiving failed.
    pub fn stop(self) -> Result<Count> {
        self.state.stop_sending.store(true, Relaxed);
        let Ok(sent) = self.sender.join() else { bail!("the sender panicked") };
        let sent = sent?;
        // Whatever is still missing after a while is lost; the caller will say so.
        let _ = wait_for("the last datagrams", || (self.state.received.load(Relaxed) >= sent).then_some(()));
        self.state.stop_receiving.store(true, Relaxed);
        let Ok(received) = self.receiver.join() else { bail!("the receiver panicked") };
        received?;
        Ok(Count { sent, received: self.state.received.load(Relaxed) })
    }
}

/// Sends at the rate, catching up after a pause of the scheduler by at most one group.
fn send(socket: &UdpSocket, state: &State, per_second: u64) -> std::io::Result<u64> {
    let pause = Duration::from_nanos(1_000_000_000 * GROUP / per_second);
    let (mut sent, mut next) = (0u64, Instant::now());
    let mut datagram = [0u8; 200];
    while !state.stop_sending.load(Relaxed) {
        for _ in 0..GROUP {
            datagram[..8].copy_from_slice(&sent.to_be_bytes());
            // An ICMP error that came for an earlier datagram surfaces here; this one has not been sent then.
            socket.send(&datagram).or_else(|_| socket.send(&datagram))?;
            sent += 1;
        }
        next = (next + pause).max(Instant::now());
        thread::park_timeout(next.saturating_duration_since(Instant::now()).max(pause / 2));
    }
    Ok(sent)
}

/// Counts datagrams that are new: a repeated number is no proof that nothing was lost.
fn receive(socket: &UdpSocket, state: &State) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut seen = std::collections::HashSet::new();
    let mut datagram = [0u8; 256];
    while !state.stop_receiving.load(Relaxed) {
        let Ok(len) = socket.recv(&mut datagram) else { continue };
        if let Some(number) = datagram[..len].first_chunk::<8>()
            && seen.insert(u64::from_be_bytes(*number))
        {
            state.received.store(seen.len() as u64, Relaxed);
        }
    }
    Ok(())
}
