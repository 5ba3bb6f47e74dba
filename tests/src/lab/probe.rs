//! What the lab asks of the network: echo, streams, captures; with the programs that operators use.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Netns, netns::output, process::Running, wait_for};

/// What `ping` saw.
#[derive(Clone, Debug, Default)]
pub struct Pings {
    /// Echo requests sent.
    pub sent: u32,
    /// Echo replies received.
    pub received: u32,
    /// TTL of the first reply.
    pub ttl: Option<u8>,
    /// Mean round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// ICMP errors, as `ping` words them: (from whom, what).
    pub errors: Vec<(String, String)>,
    /// All it wrote.
    pub text: String,
}

impl Pings {
    /// Whether every request was answered.
    pub fn all_answered(&self) -> bool {
        self.sent > 0 && self.sent == self.received
    }

    /// Whether nothing at all came back, neither reply nor error.
    pub fn silent(&self) -> bool {
        self.sent > 0 && self.received == 0 && self.errors.is_empty()
    }

    fn parse(text: &str) -> Pings {
        let mut pings = Pings { text: text.to_owned(), ..Pings::default() };
        for line in text.lines() {
            if let Some((sent, rest)) = line.split_once(" packets transmitted, ") {
                pings.sent = sent.trim().parse().unwrap_or(0);
                pings.received = rest.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            } else if let Some(rest) = line.strip_prefix("rtt min/avg/max/mdev = ") {
                pings.rtt_ms = rest.split('/').nth(1).and_then(|ms| ms.parse().ok());
            } else if let Some(error) = line.strip_prefix("From ") {
                let (from, what) = error.split_once(' ').unwrap_or((error, ""));
                let what = what.split_once(' ').map_or(what, |(_seq, what)| what);
                pings.errors.push((from.to_owned(), what.to_owned()));
            } else if let (None, Some((_, rest))) = (pings.ttl, line.split_once(" ttl=")) {
                pings.ttl = rest.split(' ').next().and_then(|n| n.parse().ok());
            }
        }
        pings
    }
}

/// `ping` with further options, such as `-c 3 -i 0.1 -M do -s 1400`. Waits 1 s for each answer unless told otherwise.
///
/// # Errors
/// When `ping` cannot run; answers that do not come are no error.
pub fn ping(from: &Netns, to: &str, options: &str) -> Result<Pings> {
    let out =
        from.command("ping").args(["-n", "-W", "1"]).args(options.split_whitespace()).arg(to).output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let pings = Pings::parse(&text);
    ensure!(pings.sent > 0, "ping {to}: {text}{}", String::from_utf8_lossy(&out.stderr));
    Ok(pings)
}

/// The hops that `traceroute` found with one probe each; `*` for one that kept silent.
///
/// # Errors
/// When it cannot run.
pub fn traceroute(from: &Netns, to: &str, options: &str) -> Result<Vec<String>> {
    let text = from.run(&format!("traceroute -n -q 1 -w 2 -m 8 {options} {to}"))?;
    let hops = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
    Ok(hops.map(str::to_owned).collect())
}

/// What `iperf3` measured.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Bytes that the receiver got.
    pub bytes: u64,
    /// Bits per second at the receiver.
    pub bits_per_second: f64,
    /// UDP: datagrams that the receiver did not read.
    pub lost: u64,
    /// UDP: those that came, but found its socket full, because it had no CPU to read on.
    pub overrun: u64,
    /// UDP: datagrams sent.
    pub datagrams: u64,
}

impl Stream {
    /// UDP: whether all datagrams came as far as the receiver's socket.
    #[must_use]
    pub fn all_came(&self) -> bool {
        self.datagrams > 0 && self.lost <= self.overrun
    }
}

/// Datagrams that found their socket full in a namespace, ever.
fn overruns(netns: &Netns) -> Result<u64> {
    let text = netns.run("nstat --noupdate --zeros --ignore UdpRcvbufErrors")?;
    text.split_whitespace().nth(2).context("nstat tells no UdpRcvbufErrors")?.parse().context(text)
}

/// Runs an `iperf3` server in `server` and a client in `client` against `address`, with further options for the client,
/// such as `-t 2` or `-u -b 20M`.
///
/// # Errors
/// When the client cannot connect or the stream breaks.
pub fn iperf3(server: &Netns, client: &Netns, address: &str, options: &str) -> Result<Stream> {
    let mut serve = server.command("iperf3");
    serve.args(["-s", "-1", "--forceflush"]);
    let _server = Running::start(serve)?.until("Server listening")?;
    let mut command = client.command("iperf3");
    command.args(["-J", "--connect-timeout", "3000", "-c", address]).args(options.split_whitespace());
    let overrun = overruns(server)?;
    let report: Value = serde_json::from_str(&output(&mut command)?)?;
    let end = &report["end"];
    let sum = if end["sum_received"].is_object() { &end["sum_received"] } else { &end["sum"] };
    Ok(Stream {
        bytes: sum["bytes"].as_u64().context("iperf3 tells no bytes")?,
        bits_per_second: sum["bits_per_second"].as_f64().context("iperf3 tells no rate")?,
        lost: end["sum"]["lost_packets"].as_u64().unwrap_or(0),
        overrun: overruns(server)? - overrun,
        datagrams: end["sum"]["packets"].as_u64().unwrap_or(0),
    })
}

/// A running `tcpdump`.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Running,
    file: PathBuf,
}

impl Capture {
    /// Captures what `filter` (a pcap expression) matches on an interface, into a file in `dir`. It captures already when
    /// this returns.
    ///
    /// # Errors
    /// When `tcpdump` does not start.
    pub fn start(netns: &Netns, interface: &str, filter: &str, dir: &Path) -> Result<Capture> {
        let file = dir.join(format!("{}-{interface}.pcap", netns.name()));
        let mut command = netns.command("tcpdump");
        command
            .args(["-i", interface, "-n", "-U", "--immediate-mode", "-Z", "root", "-w"])
            .arg(&file)
            .arg(filter);
        Ok(Capture { tcpdump: Running::start(command)?.until("listening on")?, file })
    }

    /// The packets so far, a line each, as `tcpdump -e -nn -v` prints them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn lines(&self) -> Result<Vec<String>> {
        let mut read = std::process::Command::new("tcpdump");
        let text = output(read.args(["-e", "-nn", "-t", "-r"]).arg(&self.file))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Waits until a captured packet's line contains `text`.
    ///
    /// # Errors
    /// When none comes.
    pub fn until(&self, text: &str) -> Result<String> {
        wait_for(&format!("a packet with `{text}`"), || {
            self.lines().ok()?.into_iter().find(|line| line.contains(text))
        })
    }

    /// Ends the capture and says how many of its packets each filter (a pcap expression) matches.
    ///
    /// # Errors
    /// When `tcpdump` does not end.
    pub fn counts<const N: usize>(mut self, filters: [&str; N]) -> Result<[usize; N]> {
        self.tcpdump.interrupt()?;
        let mut counts = [0; N];
        for (count, filter) in counts.iter_mut().zip(filters) {
            let mut read = std::process::Command::new("tcpdump");
            *count = output(read.args(["-nn", "-t", "-r"]).arg(&self.file).arg(filter))?.lines().count();
        }
        Ok(counts)
    }

    /// Ends the capture and returns its packets.
    ///
    /// # Errors
    /// When `tcpdump` does not end.
    pub fn stop(mut self) -> Result<Vec<String>> {
        self.tcpdump.interrupt()?;
        self.lines()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ping_output_is_understood() {
        let text = "PING 192.168.21.11 (192.168.21.11) 56(84) bytes of data.\n\
            64 bytes from 192.168.21.11: icmp_seq=1 ttl=63 time=0.412 ms\n\
            From 192.168.20.1 icmp_seq=2 Frag needed and DF set (mtu = 1400)\n\
            \n--- 192.168.21.11 ping statistics ---\n\
            2 packets transmitted, 1 received, +1 errors, 50% packet loss, time 1001ms\n\
            rtt min/avg/max/mdev = 0.412/0.413/0.414/0.000 ms\n";
        let pings = Pings::parse(text);
        assert_eq!((pings.sent, pings.received, pings.ttl, pings.rtt_ms), (2, 1, Some(63), Some(0.413)));
        assert_eq!(pings.errors, [("192.168.20.1".into(), "Frag needed and DF set (mtu = 1400)".into())]);
        assert!(!pings.all_answered() && !pings.silent());
    }
}
