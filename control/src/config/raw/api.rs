//! The section about the REST API over TCP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::range as r;

/// The REST API over TCP; docs/api.md. It is always served on the control socket.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawApi {
    /// Addresses and TCP ports. One that is not a loopback address needs `tls`, and `tokens` or `certificates`.
    #[schemars(required, length(min = 1, max = 16), extend("x-item" = "address:port"))]
    pub listen: Option<Vec<String>>,
    /// Speak TLS, on all of them.
    pub tls: Option<RawApiTls>,
    /// A file of bearer tokens, one a line: name, `read` or `write`, SHA-256 in hexadecimal digits. `tidegate token` makes them. It is
    /// read again when it changes.
    #[schemars(extend("format" = "path"))]
    pub tokens: Option<String>,
    /// Clients that show a certificate of `tls.client_ca`.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub certificates: Vec<RawApiCertificate>,
    /// What those may do who show neither token nor certificate: any program of this host, as only loopback addresses may have it.
    #[schemars(extend("enum" = ["nothing", "read", "write"], "default" = "nothing"))]
    pub anonymous: Option<String>,
    /// What clients over TCP may use.
    pub limits: Option<RawApiLimits>,
}

/// TLS of the REST API.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawApiTls {
    /// The gateway's certificate and those between it and its CA, PEM. The files are read again when they change.
    #[schemars(required, extend("format" = "path"))]
    pub certificate: Option<String>,
    /// Its key, PEM.
    #[schemars(required, extend("format" = "path"))]
    pub key: Option<String>,
    /// The CAs of clients' certificates, PEM.
    #[schemars(extend("format" = "path"))]
    pub client_ca: Option<String>,
}

/// A client that shows a certificate.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawApiCertificate {
    /// The common name (CN) of its subject.
    #[schemars(required)]
    pub common_name: Option<String>,
    /// What it may do: `read` looks, `write` changes.
    #[schemars(required, extend("enum" = ["read", "write"]))]
    pub role: Option<String>,
}

/// What clients over TCP may use. Whoever asks for more is turned away and counted (`tidegate_api_refused_total`).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawApiLimits {
    /// Connections at a time, all clients together.
    #[schemars(range(min = 1, max = r::API_CONNECTIONS_MAX), extend("default" = r::API_CONNECTIONS_DEFAULT))]
    pub connections: Option<u64>,
    /// Connections at a time from one address (of IPv6, one /64).
    #[schemars(range(min = 1, max = r::API_CONNECTIONS_MAX), extend("default" = r::API_PER_CLIENT_DEFAULT))]
    pub connections_per_client: Option<u64>,
    /// Requests per second of one address, new connections among them; as many may come at once.
    #[schemars(range(min = 1, max = r::RATE_MAX), extend("default" = r::API_REQUESTS_DEFAULT))]
    pub requests_per_second: Option<u64>,
    /// Largest file or transaction, in bytes; an object has 1 MiB at most.
    #[schemars(range(min = r::API_BODY_MIN, max = r::API_BODY_MAX), extend("default" = r::API_BODY_DEFAULT))]
    pub body_bytes: Option<u64>,
    /// Seconds that a client may take for the handshake of TLS, for the head of a request (a connection that is idle so long is
    /// closed), for a body, and between two pieces of an answer that it reads.
    #[schemars(range(min = 1, max = 3600), extend("default" = r::API_TIMEOUT_DEFAULT))]
    pub timeout_s: Option<u64>,
    /// Clients that watch (`GET /v1/watch`) at a time.
    #[schemars(range(min = 0, max = r::API_CONNECTIONS_MAX), extend("default" = r::API_WATCHERS_DEFAULT))]
    pub watchers: Option<u64>,
}
