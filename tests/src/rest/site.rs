//! The API of a test on addresses of its own: the control socket, a loopback address that lets anybody in, and one with TLS, tokens and
//! certificates.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tidegate_control::{
    config::{Api, ApiLimits, ApiTls, Role},
    rest::{self, Access, ApiCounts, ApiSample, Doors, Limit, Server},
};

use super::{Client, Desk};

/// How the API is served.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// With TLS, tokens and certificates; otherwise anybody may do everything.
    pub tls: bool,
    /// What clients may use.
    pub limits: ApiLimits,
}

impl Default for Settings {
    /// Nobody is turned away.
    fn default() -> Settings {
        let limits =
            ApiLimits { requests_per_second: 1_000_000, connections_per_client: 512, ..ApiLimits::default() };
        Settings { tls: false, limits }
    }
}

/// An API that is served.
#[derive(Debug)]
pub struct Site {
    /// What is behind it.
    pub desk: Arc<Desk>,
    /// Where it is.
    pub address: SocketAddr,
    counts: Arc<ApiCounts>,
    folder: TempDir,
    _server: Server,
}

/// Tokens of a site: of the role write, and of the role read.
pub const TOKENS: [&str; 2] = ["secret-of-ops", "secret-of-eye"];

impl Site {
    /// Serves it.
    ///
    /// # Panics
    /// Where that does not work.
    pub fn start(file: &str, settings: Settings) -> Site {
        let folder = TempDir::new().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let api = Api {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            tls: settings.tls.then(|| {
                certificates(folder.path(), &["127.0.0.1"]);
                let client_ca = Some(path("ca.pem"));
                ApiTls { certificate: path("gateway.pem"), key: path("gateway.key"), client_ca }
            }),
            tokens: settings.tls.then(|| {
                let lines = [("ops", Role::Write), ("eye", Role::Read)].into_iter().zip(TOKENS);
                let lines = lines.map(|((name, role), secret)| rest::line(name, role, secret) + "\n");
                fs::write(path("tokens"), lines.collect::<String>()).expect("a file");
                path("tokens")
            }),
            certificates: [("manager".to_owned(), Role::Write), ("viewer".to_owned(), Role::Read)].into(),
            anonymous: (!settings.tls).then_some(Role::Write),
            limits: settings.limits,
        };
        let listener = TcpListener::bind(api.listen[0]).expect("a free port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        let socket = UnixListener::bind(path("control.sock")).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        let access = Arc::new(Access::new(api).unwrap_or_else(|why| panic!("{why}")));
        let doors = Doors { socket: Some(socket), tcp: Some((vec![listener], access)) };
        let (desk, counts) = (Desk::new(file), Arc::<ApiCounts>::default());
        let server = Server::start(doors, Arc::clone(&desk) as _, Arc::clone(&counts), folder.path());
        Site { desk, address, counts, folder, _server: server.expect("a thread") }
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Somebody at its control socket.
    pub fn user(&self) -> Client {
        Client::of_socket(&self.path("control.sock"))
    }

    /// Somebody who comes over TCP and shows nothing.
    pub fn stranger(&self) -> Client {
        let client = Client::new(self.address);
        if self.path("ca.pem").exists() { client.with_tls(&self.path("ca.pem"), None) } else { client }
    }

    /// Somebody with a certificate of this name.
    pub fn holder(&self, name: &str) -> Client {
        let own = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        Client::new(self.address).with_tls(&self.path("ca.pem"), Some((&own.0, &own.1)))
    }

    /// What it counted.
    pub fn counts(&self) -> ApiSample {
        self.counts.sample()
    }

    /// How often a limit was met.
    pub fn met(&self, limit: Limit) -> u64 {
        self.counts().limits[limit.index()]
    }

    /// Waits until a limit was met so often.
    pub async fn wait_met(&self, limit: Limit, times: u64) {
        while self.met(limit) < times {
            tokio::task::yield_now().await;
        }
    }

    /// The audit log, line by line.
    ///
    /// # Panics
    /// Where there is none.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(rest::AUDIT)).expect("an audit log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// Writes a CA (`ca.pem`), a certificate of the gateway at these addresses, some of clients, and one that another CA signed, with their keys.
///
/// # Panics
/// Where they cannot be written.
pub fn certificates(folder: &Path, addresses: &[&str]) {
    let (ours, others) = (authority(), authority());
    write(folder, "ca.pem", &ours.0);
    for (name, authority) in [
        ("gateway", &ours.1),
        ("manager", &ours.1),
        ("viewer", &ours.1),
        ("nobody", &ours.1),
        ("foreign", &others.1),
    ] {
        let names = addresses.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, if name == "foreign" { "manager" } else { name });
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, authority).expect("a certificate");
        write(folder, &format!("{name}.pem"), &certificate.pem());
        write(folder, &format!("{name}.key"), &key.serialize_pem());
    }
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "a CA");
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    (pem, Issuer::new(params, key))
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("a file");
}
