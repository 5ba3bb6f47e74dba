//! Many TCP connections that do nothing until they are asked whether they still live.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{Netns, netns::output, process::Running};

/// Threads that open them.
const OPENERS: usize = 4;
/// How long one of them may be silent when it is asked.
const SILENCE: Duration = Duration::from_secs(20);
/// How long the far end waits for one before it looks at the next.
const TURN: Duration = Duration::from_millis(500);
/// Says to [`serve`] where and how many.
const ADDRESS: &str = "TIDEGATE_LAB_IDLE";
/// What the server says when it listens.
const LISTENING: &str = "idle connections are waited for";

/// The clients' ends of the connections, and the process with the others.
#[derive(Debug)]
pub struct Idle {
    clients: Vec<TcpStream>,
    _server: Running,
}

impl Idle {
    /// Opens `count` connections from one namespace to an address in another, where this very program runs its test `serve`
    /// for them, which calls [`serve`].
    ///
    /// # Errors
    /// When one of them does not come up.
    pub fn open(from: &Netns, to: &Netns, address: SocketAddr, count: usize, serve: &str) -> Result<Idle> {
        let files = format!("--nofile={}:", count + 1_000);
        output(Command::new("prlimit").args(["--pid", &std::process::id().to_string(), &files]))?;
        let program = std::env::current_exe()?;
        let mut command = to.command(&program.display().to_string());
        command.args(["--exact", serve, "--nocapture"]).env(ADDRESS, format!("{address} {count}"));
        let server = Running::start(command)?.until(LISTENING)?;
        let shares = (0..OPENERS).map(|at| count / OPENERS + usize::from(at < count % OPENERS));
        let clients = from.enter(|| {
            // A new thread is in the namespace of the one that makes it.
            thread::scope(|scope| {
                let open = move |share| (0..share).map(|_| TcpStream::connect(address)).collect();
                let open = |share| scope.spawn(move || -> Result<Vec<_>, std::io::Error> { open(share) });
                let openers: Vec<_> = shares.map(open).collect();
                openers.into_iter().map(|opener| opener.join().expect("no panic")).collect::<Vec<_>>()
            })
        })?;
        let clients = clients.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Idle { clients: clients.into_iter().flatten().collect(), _server: server })
    }

    /// How many carry data both ways.
    pub fn alive(&mut self) -> usize {
        self.clients.iter_mut().for_each(say);
        self.clients.iter_mut().filter_map(|client| hear(client, SILENCE).then_some(())).count()
    }
}

/// The other end: answers on each connection in turn, again and again, until the process is ended. Returns at once where
/// nobody asked for it.
///
/// # Errors
/// When it cannot listen.
pub fn serve() -> Result<()> {
    let Ok(words) = std::env::var(ADDRESS) else { return Ok(()) };
    let (address, count) = words.split_once(' ').context("an address and a number")?;
    let listener = TcpListener::bind(address)?;
    std::io::stdout().write_all(format!("\n{LISTENING}\n").as_bytes())?;
    let mut streams = listener.incoming().take(count.parse()?).collect::<Result<Vec<_>, _>>()?;
    ensure!(!streams.is_empty(), "no connections");
    loop {
        for stream in &mut streams {
            // A connection that does not go on must not hold up the others for ever.
            if hear(stream, TURN) {
                say(stream);
            }
        }
    }
}

fn say(stream: &mut TcpStream) {
    // Who does not hear it says so.
    let _ = stream.write_all(b"ping");
}

fn hear(stream: &mut TcpStream, patience: Duration) -> bool {
    let mut word = [0; 4];
    stream.set_read_timeout(Some(patience)).is_ok()
        && stream.read_exact(&mut word).is_ok()
        && word == *b"ping"
}
