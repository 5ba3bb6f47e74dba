//! The REST API over TCP.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

impl Role {
    /// From the word for it.
    pub fn of(word: &str) -> Option<Role> {
        [Role::Read, Role::Write].into_iter().find(|role| role.name() == word)
    }

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Write => "write",
        }
    }
}

/// Where the API is served, and to whom. What is not a loopback address has TLS, and nobody is anonymous there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Its addresses; not empty.
    pub listen: Vec<SocketAddr>,
    /// TLS, on all of them.
    pub tls: Option<ApiTls>,
    /// The file of bearer tokens.
    pub tokens: Option<PathBuf>,
    /// Clients with a certificate, by common name.
    pub certificates: BTreeMap<String, Role>,
    /// Who shows nothing.
    pub anonymous: Option<Role>,
    /// What clients may use.
    pub limits: ApiLimits,
}

/// Files of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiTls {
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// CAs of clients.
    pub client_ca: Option<PathBuf>,
}

/// What clients of the API may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// Connections at a time.
    pub connections: usize,
    /// Of these from one address.
    pub connections_per_client: usize,
    /// Requests and new connections per second from one address, 1 or more.
    pub requests_per_second: u32,
    /// Largest body, in bytes.
    pub body: usize,
    /// How long a client may take for each part of what it does.
    pub timeout: Duration,
    /// Clients that watch at a time.
    pub watchers: usize,
}

impl fmt::Display for Api {
    /// All of it, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Api { listen, tls, tokens, certificates, anonymous, limits } = self;
        write!(f, "{listen:?}")?;
        if let Some(ApiTls { certificate, key, client_ca }) = tls {
            write!(f, " tls {} {}", certificate.display(), key.display())?;
            client_ca.iter().try_for_each(|file| write!(f, " {}", file.display()))?;
        }
        tokens.iter().try_for_each(|file| write!(f, " tokens {}", file.display()))?;
        certificates.iter().try_for_each(|(name, role)| write!(f, " {name:?} {}", role.name()))?;
        anonymous.iter().try_for_each(|role| write!(f, " anonymous {}", role.name()))?;
        write!(f, " {limits:?}")
    }
}
