//! What a proxied listener (`http`, `https`) does beyond a forwarded one, and the certificates it shows.

use std::path::PathBuf;

use super::Id;

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// Its name.
    pub id: Id,
    /// A PEM file with the chain, leaf first, and the key.
    pub file: PathBuf,
}

/// What a proxied listener does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// TLS towards clients; just for `https`.
    pub tls: Option<Tls>,
    /// Sends clients to `https` instead of to a backend.
    pub redirect: Option<Redirect>,
    /// Keeps a client on its backend by a cookie.
    pub cookie: Option<Cookie>,
    /// Tells backends the client's address by a PROXY header before each connection.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How long connections to backends live.
    pub connections: Connections,
    /// What answers are compressed with, where clients like it.
    pub compression: Vec<Compression>,
    /// Which groups of backends serve which requests; the first rule that matches decides.
    pub rules: Vec<Rule>,
}

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// By name of the server that clients ask for; the first one for all others. Not empty.
    pub certificates: Vec<Id>,
    /// The lowest version.
    pub lowest: TlsVersion,
    /// The highest one.
    pub highest: TlsVersion,
    /// Whether HTTP/2 is offered.
    pub h2: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.0 (RFC 2246).
    V1_0,
    /// 1.1 (RFC 4346).
    V1_1,
    /// 1.2 (RFC 5246).
    V1_2,
    /// 1.3 (RFC 8446).
    V1_3,
}

impl TlsVersion {
    /// As it is written.
    pub const fn label(self) -> &'static str {
        match self {
            TlsVersion::V1_0 => "1.0",
            TlsVersion::V1_1 => "1.1",
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        }
    }
}

/// Sends clients to `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The port there.
    pub port: u16,
    /// 301, 302, 303, 307 or 308.
    pub code: u16,
}

/// Keeps a client on its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// The proxy sets a cookie of this name, which ends when it was not used for so long.
    Insert {
        /// Letters, digits, `_` and `-`.
        name: String,
        /// Seconds.
        idle_s: u32,
    },
    /// The proxy puts the backend into a cookie of this name that the backend sets.
    Rewrite {
        /// Letters, digits, `_` and `-`.
        name: String,
    },
}

/// The header before each connection (proxy-protocol.txt of HAProxy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// As text.
    V1,
    /// As binary.
    V2,
}

/// How long connections live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// Those of clients for many requests, those to backends for one.
    #[default]
    ServerClose,
    /// Both for many requests.
    KeepAlive,
    /// Both for one.
    Close,
}

/// A way to compress answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Deflate,
    /// RFC 1951.
    RawDeflate,
}

impl Compression {
    /// As it is written.
    pub const fn label(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Deflate => "deflate",
            Compression::RawDeflate => "raw-deflate",
        }
    }
}

/// Requests for a group of backends. It has a host, a path, or both; both must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The `Host` without its port: a name, or `*.` and a domain for all names below it. Lower case.
    pub host: Option<String>,
    /// How the path begins, from the slash on.
    pub path: Option<String>,
    /// Who serves them.
    pub group: Id,
}
