//! Host agents, and somebody who grants them shortcuts by hand: a gateway's ZSNP end whose every word is the test's.

use std::{
    collections::HashMap,
    env,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tempfile::{NamedTempFile, TempDir};
use tidegate_zsnp::{
    Capabilities, Keyring, Message, PROTOCOL, Receiver, Scope, Sender, SenderId, Shortcut, Status,
    Transaction, VpcTag, WithdrawReason,
};

use super::{ComputeHost, Lab, Netns, Underlay, netns::output, process::Running, wait_for};

/// The key that agents and gateways of a lab share, as a line of a key file.
pub fn key() -> String {
    format!("1 {}\n", "ab".repeat(32))
}

/// A private file with [`key`].
///
/// # Errors
/// From the file system.
pub fn key_file() -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(key().as_bytes())?;
    Ok(file)
}

/// A running `tidegate-agent run` on a compute host.
#[derive(Debug)]
pub struct Agent {
    process: Running,
    netns: String,
    dir: TempDir,
    binary: PathBuf,
}

impl Agent {
    /// Starts one, with further options, and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer, with what it wrote.
    pub fn start(lab: &Lab, host: &ComputeHost, options: &str) -> Result<Agent> {
        let dir = tempfile::Builder::new().prefix(&lab.unique("agent")).tempdir()?;
        let keys = dir.path().join("keys");
        std::fs::write(&keys, key())?;
        std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o600))?;
        let binary = binary()?;
        let process = run(host.netns(), &binary, dir.path(), options)?;
        let mut agent = Agent { process, netns: host.netns().name().to_owned(), dir, binary };
        agent.ready()?;
        Ok(agent)
    }

    /// Starts one that has ended again.
    ///
    /// # Errors
    /// See [`Agent::start`].
    pub fn start_again(&mut self, host: &ComputeHost, options: &str) -> Result<()> {
        self.process = run(host.netns(), &self.binary, self.dir.path(), options)?;
        self.ready()
    }

    fn ready(&mut self) -> Result<()> {
        let answers = || self.show("counters").is_ok().then_some(());
        wait_for("the agent to answer", answers).with_context(|| self.process.text())
    }

    /// `tidegate-agent show WHAT --json`.
    ///
    /// # Errors
    /// What it wrote to standard error.
    pub fn show(&self, what: &str) -> Result<Value> {
        let mut command = std::process::Command::new(&self.binary);
        command.args(["show", what, "--json", "--socket"]).arg(self.dir.path().join("sock"));
        Ok(serde_json::from_str(&output(&mut command)?)?)
    }

    /// One of its counters; 0 for one that it does not have.
    ///
    /// # Errors
    /// See [`Agent::show`].
    pub fn counter(&self, name: &str) -> Result<u64> {
        Ok(self.show("counters")?[name].as_u64().unwrap_or(0))
    }

    /// How many shortcuts it has.
    ///
    /// # Errors
    /// See [`Agent::show`].
    pub fn shortcuts(&self) -> Result<usize> {
        Ok(self.show("shortcuts")?.as_array().map_or(0, Vec::len))
    }

    /// The process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.process
    }

    /// The namespace that it looks after.
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// SIGKILL. Nothing is cleaned up.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait().map(drop)
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait().map(drop)
    }
}

/// `TIDEGATE_AGENT`, or the binary beside the gateway's.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    let beside = || Some(super::gateway::binary().ok()?.with_file_name("tidegate-agent"));
    let path = env::var_os("TIDEGATE_AGENT").map(PathBuf::from).or_else(beside);
    let path = path.filter(|path| path.exists());
    path.context("there is no tidegate-agent; build it, or name it by TIDEGATE_AGENT")
}

fn run(netns: &Netns, binary: &Path, dir: &Path, options: &str) -> Result<Running> {
    let mut command = netns.command(&binary.display().to_string());
    command.arg("--socket").arg(dir.join("sock")).args(["run", "--key-file"]);
    command.arg(dir.join("keys")).arg("--state").arg(dir).args(options.split_whitespace());
    Running::start(command)
}

/// What the granter knows.
#[derive(Debug)]
struct State {
    keys: Keyring,
    sender: Sender,
    receiver: Receiver,
    acks: HashMap<Transaction, Status>,
    granted: HashMap<(Ipv4Addr, tidegate_zsnp::Match), Shortcut>,
    renewed: u64,
    installed: u64,
}

/// A gateway's ZSNP end at an address of the underlay. It answers HELLO, renews what it is asked to renew, and grants and
/// withdraws what the test says.
#[derive(Debug)]
pub struct Granter {
    socket: Arc<Socket>,
    state: Arc<Mutex<State>>,
    silent: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _netns: Netns,
}

/// Where it is.
pub const GRANTER: &str = "10.172.11.92";

const VPC: VpcTag = VpcTag(5);

impl Granter {
    /// Connects one to the underlay.
    ///
    /// # Errors
    /// What `ip` or the kernel said.
    pub fn new(lab: &Lab, underlay: &Underlay) -> Result<Granter> {
        let netns = lab.netns("granter")?;
        underlay.connect(&netns, "eth0", &format!("{GRANTER}/24"))?;
        let socket = netns.enter(|| -> Result<Socket> {
            let protocol = Protocol::from(i32::from(PROTOCOL));
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            socket.set_recv_buffer_size(32 << 20)?;
            Ok(socket)
        })??;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
        let state = Arc::new(Mutex::new(State {
            keys: Keyring::parse(&key())?,
            sender: Sender::new(SenderId(0x92), u64::try_from(now)?),
            receiver: Receiver::new(64),
            acks: HashMap::new(),
            granted: HashMap::new(),
            renewed: 0,
            installed: 0,
        }));
        let (silent, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let socket = Arc::new(socket);
        let thread = std::thread::spawn({
            let (socket, state, silent, end) = (socket.clone(), state.clone(), silent.clone(), end.clone());
            move || listen(&socket, &state, &silent, &end)
        });
        Ok(Granter { socket, state, silent, end, thread: Some(thread), _netns: netns })
    }

    /// Grants a shortcut to the agent at `host`, again and again as a gateway does, and returns what it answered last.
    ///
    /// # Errors
    /// When it answers nothing but that it does not trust us yet.
    pub fn grant(&self, host: &str, shortcut: Shortcut) -> Result<Status> {
        let host: Ipv4Addr = host.parse()?;
        let mut asked: Vec<Transaction> = Vec::new();
        wait_for("an ACK", || {
            if asked.len() < 1000 {
                asked.push(self.say(host, shortcut).ok()?);
            }
            std::thread::park_timeout(Duration::from_millis(100));
            let state = self.state();
            let acks = asked.iter().filter_map(|question| state.acks.get(question));
            acks.copied().find(|ack| *ack != Status::Refused(tidegate_zsnp::RefusedWhy::NotFresh))
        })
    }

    /// Grants a shortcut and does not wait.
    ///
    /// # Errors
    /// From the kernel.
    pub fn say(&self, host: Ipv4Addr, shortcut: Shortcut) -> Result<Transaction> {
        let question = Transaction::random();
        self.state().granted.insert((host, shortcut.matches), shortcut);
        self.send(host, question, &Message::Shortcut(shortcut))?;
        Ok(question)
    }

    /// Takes away all that was granted at `host`, and waits for its answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn withdraw(&self, host: &str, scope: Scope) -> Result<()> {
        let (host, question) = (host.parse()?, Transaction::random());
        self.state().granted.clear();
        self.send(host, question, &Message::Withdraw { scope, reason: WithdrawReason::SwitchedOff })?;
        wait_for("an ACK", || self.state().acks.get(&question).copied()).map(drop)
    }

    /// The bytes of a message as it would be sent, with the lab's key or another.
    ///
    /// # Errors
    /// When it is too long.
    pub fn sealed(&self, keys: Option<&Keyring>, message: &Message) -> Result<Vec<u8>> {
        let State { keys: ours, sender, .. } = &mut *self.state();
        Ok(sender.seal(keys.unwrap_or(ours), VPC, Transaction::random(), message)?)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// From the kernel.
    pub fn send_bytes(&self, host: Ipv4Addr, payload: &[u8]) -> Result<()> {
        self.socket.send_to(payload, &SockAddr::from(SocketAddrV4::new(host, 0)))?;
        Ok(())
    }

    /// Whether it says nothing any more, as a gateway that is gone.
    pub fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Relaxed);
    }

    /// How many shortcuts were renewed.
    pub fn renewed(&self) -> u64 {
        self.state().renewed
    }

    /// How many ACKs said `installed`.
    pub fn installed(&self) -> u64 {
        self.state().installed
    }

    fn send(&self, host: Ipv4Addr, question: Transaction, message: &Message) -> Result<()> {
        let payload = {
            let State { keys, sender, .. } = &mut *self.state();
            sender.seal(keys, VPC, question, message)?
        };
        self.send_bytes(host, &payload)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Granter {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has no more to say than that it panicked, which it printed.
            let _ = thread.join();
        }
    }
}

fn listen(socket: &Socket, state: &Mutex<State>, silent: &AtomicBool, end: &AtomicBool) {
    let mut packet = [0; 2048];
    let mut ears = socket;
    while !end.load(Relaxed) {
        let Ok(len) = ears.read(&mut packet) else { continue };
        if silent.load(Relaxed) {
            continue;
        }
        // A packet that is not answered is one that the agent says again.
        let _ = hear(socket, state, &packet[..len]);
    }
}

fn hear(socket: &Socket, state: &Mutex<State>, packet: &[u8]) -> Result<()> {
    let head = usize::from(packet.first().context("empty")? & 15) * 4;
    let from: [u8; 4] = packet.get(12..16).context("cut")?.try_into()?;
    let from = Ipv4Addr::from(from);
    let state = &mut *state.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(it) = state.receiver.open(&state.keys, packet.get(head..).context("cut")?) else {
        bail!("refused")
    };
    let mut answers = Vec::new();
    match it.message {
        Message::Ack(status) => {
            state.installed += u64::from(status == Status::Installed);
            state.acks.insert(it.header.transaction, status);
        }
        Message::Hello { .. } => {
            let hello = Message::Hello { capabilities: Capabilities(0), counters: None, paths: Vec::new() };
            answers.push((it.header.transaction, hello));
        }
        Message::Renew(hits) => {
            for hit in hits {
                if let Some(shortcut) = state.granted.get(&(from, hit.matches)) {
                    state.renewed += 1;
                    answers.push((Transaction::random(), Message::Shortcut(*shortcut)));
                }
            }
        }
        _ => {}
    }
    for (transaction, message) in answers {
        let payload = state.sender.seal(&state.keys, VPC, transaction, &message)?;
        socket.send_to(&payload, &SockAddr::from(SocketAddrV4::new(from, 0)))?;
    }
    Ok(())
}
