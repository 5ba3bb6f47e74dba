//! Servers and clients that people use: `nginx`, `curl` and `wrk`, `dnsmasq`, `nc`, `socat`, `vsftpd`.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{Netns, process::Running, wait_for};

/// A running `nginx` on port 80. `/name` says whose it is, `/who` who asks, `/up/` takes files; the rest are files.
#[derive(Debug)]
pub struct Web {
    nginx: Running,
    dir: TempDir,
}

impl Web {
    /// Starts it; it answers when this returns.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(netns: &Netns, name: &str) -> Result<Web> {
        let dir = tempfile::tempdir()?;
        let here = dir.path().display();
        fs::create_dir(dir.path().join("up"))?;
        let temps: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {here}/temp;\n"))
            .concat();
        let config = format!(
            "daemon off; master_process off; user root; pid {here}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{ access_log off; keepalive_requests 1000000; {temps}\n\
             server {{ listen 80; root {here}; client_max_body_size 64m;\n\
             location = /name {{ return 200 {name}; }}\n\
             location = /who {{ return 200 $remote_addr; }}\n\
             location /up/ {{ dav_methods PUT; }} }} }}\n"
        );
        let file = dir.path().join("nginx.conf");
        fs::write(&file, config)?;
        let mut command = netns.command("nginx");
        command.args(["-e", "stderr", "-p"]).arg(dir.path()).arg("-c").arg(file);
        let nginx = Running::start(command)?;
        wait_for("nginx to answer", || netns.enter(|| TcpStream::connect("127.0.0.1:80")).ok()?.ok())
            .with_context(|| nginx.text())?;
        Ok(Web { nginx, dir })
    }

    /// Kills it, as the kernel does that runs out of memory: at once, whatever it was doing.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(mut self) -> Result<()> {
        self.nginx.signal(Signal::SIGKILL)?;
        self.nginx.wait().map(drop)
    }

    /// Offers a file.
    ///
    /// # Errors
    /// From the file system.
    pub fn offer(&self, name: &str, content: &[u8]) -> Result<()> {
        Ok(fs::write(self.dir.path().join(name), content)?)
    }

    /// Where a file under `/up/` lies.
    pub fn uploaded(&self, name: &str) -> PathBuf {
        self.dir.path().join("up").join(name)
    }
}

/// So many bytes of which each stretch of eight says where it belongs.
pub fn numbered(bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(8)).flat_map(|n| (n as u64).to_be_bytes()).take(bytes).collect()
}

/// What `wrk` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that were answered.
    pub answered: u64,
    /// Connections that could not be opened.
    pub not_connected: u64,
    /// Connections that ended before the answer.
    pub broken: u64,
    /// Requests without an answer in time.
    pub late: u64,
    /// Answers that are errors.
    pub refused: u64,
}

/// `wrk` with so many connections, each of which asks again and again; for so many seconds.
///
/// # Errors
/// When it does not start.
pub fn load(from: &Netns, url: &str, connections: usize, seconds: u32) -> Result<Running> {
    let mut command = from.command("wrk");
    let (connections, seconds) = (format!("-c{connections}"), format!("-d{seconds}s"));
    command.args(["-t1", &connections, &seconds, "--timeout", "20s", url]);
    Running::start(command)
}

/// What that did, after its end.
///
/// # Errors
/// When it fails.
pub fn loaded(mut wrk: Running) -> Result<Load> {
    ensure!(wrk.wait()?.success(), wrk.text());
    let text = wrk.text();
    // `Socket errors: connect 0, read 10, write 0, timeout 0`; not there without any.
    let after = |word: &str| {
        let number = text.split(word).nth(1)?.trim_start().split([',', '\n']).next()?;
        number.trim().parse::<u64>().ok()
    };
    let answered = text.lines().find_map(|line| line.split(" requests in ").next()?.trim().parse().ok());
    Ok(Load {
        answered: answered.with_context(|| text.clone())?,
        not_connected: after("errors: connect").unwrap_or(0),
        broken: after(", read").unwrap_or(0) + after(", write").unwrap_or(0),
        late: after(", timeout").unwrap_or(0),
        refused: after("Non-2xx or 3xx responses:").unwrap_or(0),
    })
}

/// `curl` with further options; gives what it wrote.
///
/// # Errors
/// When it exits with another code than 0, with what it said.
pub fn curl(from: &Netns, url: &str, options: &str) -> Result<Vec<u8>> {
    let mut command = from.command("curl");
    command.args(["-sS", "--connect-timeout", "5", "--max-time", "60"]);
    finished(command.args(options.split_whitespace()).arg(url).output()?, url)
}

/// The same for short answers.
///
/// # Errors
/// See [`curl`].
pub fn curl_text(from: &Netns, url: &str) -> Result<String> {
    Ok(String::from_utf8(curl(from, url, "")?)?)
}

/// A `dnsmasq` on port 53 that knows `name`.
///
/// # Errors
/// When it does not start.
pub fn dns_server(netns: &Netns, name: &str, address: &str) -> Result<Running> {
    let mut command = netns.command("dnsmasq");
    command.args("--keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root".split(' '));
    command.args(["--pid-file=", "--log-facility=-"]).arg(format!("--host-record={name},{address}"));
    Running::start(command)?.until("started, version")
}

/// What `dig +short` finds at a server, with further options.
///
/// # Errors
/// When there is no answer.
pub fn dig(from: &Netns, server: &str, name: &str, options: &str) -> Result<String> {
    let line = format!("dig @{server} {name} +short +tries=1 +time=3 {options}");
    Ok(from.run(&line)?.trim().to_owned())
}

/// `nc -l PORT`; it listens when this returns, and what it hears is its output.
///
/// # Errors
/// When it does not start.
pub fn nc_listen(netns: &Netns, port: u16) -> Result<Running> {
    let mut command = netns.command("nc");
    command.args(["-l", &port.to_string()]);
    let nc = Running::start(command)?;
    let listens = || netns.run(&format!("ss -Hltn sport = :{port}")).is_ok_and(|list| !list.is_empty());
    wait_for("nc to listen", || listens().then_some(())).with_context(|| nc.text())?;
    Ok(nc)
}

/// Says a line with `nc`, and that it was all.
///
/// # Errors
/// When nobody takes it.
pub fn nc_say(from: &Netns, address: &str, port: u16, line: &str) -> Result<()> {
    let mut command = from.command("nc");
    command.args(["-N", "-w", "5", address, &port.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("a piped stdin is there")?.write_all(format!("{line}\n").as_bytes())?;
    finished(child.wait_with_output()?, address).map(drop)
}

/// A `socat` that sends each datagram back.
///
/// # Errors
/// When it does not start.
pub fn udp_echo(netns: &Netns, port: u16) -> Result<Running> {
    let mut command = netns.command("socat");
    command.args(["-d", "-d", "-b", "65536", &format!("UDP4-RECVFROM:{port},fork"), "PIPE"]);
    Running::start(command)?.until("receiving on")
}

/// Sends one datagram with `socat` and gives what came back within a second.
///
/// # Errors
/// When it cannot be sent.
pub fn udp_exchange(from: &Netns, address: &str, port: u16, datagram: &[u8]) -> Result<Vec<u8>> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(datagram)?;
    let mut command = from.command("socat");
    command.args(["-b", "65536", "-t", "1", "-", &format!("UDP4:{address}:{port}")]);
    finished(command.stdin(File::open(file.path())?).output()?, address)
}

/// A `vsftpd` on port 21 that gives the files of `dir` to everybody.
///
/// # Errors
/// When it does not start.
pub fn ftp_server(netns: &Netns, dir: &Path) -> Result<Running> {
    let empty = dir.join("empty");
    fs::create_dir(&empty)?;
    let file = dir.join("vsftpd.conf");
    let root = dir.display();
    fs::write(
        &file,
        format!(
            "listen=YES\nbackground=NO\nanonymous_enable=YES\nanon_root={root}\nsecure_chroot_dir={}\n\
             connect_from_port_20=YES\nseccomp_sandbox=NO\n",
            empty.display()
        ),
    )?;
    let mut command = netns.command("vsftpd");
    command.arg(file);
    let ftp = Running::start(command)?;
    wait_for("vsftpd to answer", || netns.enter(|| TcpStream::connect("127.0.0.1:21")).ok()?.ok())
        .with_context(|| ftp.text())?;
    Ok(ftp)
}

fn finished(out: Output, whom: &str) -> Result<Vec<u8>> {
    ensure!(out.status.success(), "{whom}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    Ok(out.stdout)
}
