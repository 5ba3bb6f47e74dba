//! What `http` and `https` listeners have besides, and certificates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::range as r;

/// A certificate that `https` listeners show. It is read again with every reload.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawCertificate {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// A PEM file: the certificate, those that it was signed with, and the key. Keep it readable by root alone.
    #[schemars(required, extend("format" = "path"))]
    pub file: Option<String>,
}

/// What a proxy does for a listener of `http` or `https`; all of it may be left out but `tls` of `https`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawHttp {
    /// TLS towards clients: needed for `https`, refused for `http`. Backends are always asked without TLS.
    pub tls: Option<RawTls>,
    /// Sends clients to `https` instead of asking a backend; only for `http`.
    pub redirect: Option<RawRedirect>,
    /// Keeps a client on its backend by a cookie.
    pub cookie: Option<RawCookie>,
    /// The header before each connection to a backend that says whose it is: `v1` is text, `v2` binary. Backends must expect it.
    #[schemars(extend("enum" = ["none", "v1", "v2"], "default" = "none"))]
    pub proxy_protocol: Option<String>,
    /// `server_close` keeps connections of clients for many requests and those to backends for one; `keep_alive` keeps both, `close`
    /// neither.
    #[schemars(extend("enum" = ["server_close", "keep_alive", "close"], "default" = "server_close"))]
    pub connections: Option<String>,
    /// What answers of text are compressed with, where the client likes it and the backend did not: `gzip`, `deflate`,
    /// `raw-deflate`.
    #[serde(default)]
    #[schemars(length(max = 3), extend("x-item" = "name"))]
    pub compression: Vec<String>,
    /// Which groups serve which requests: the first rule that matches. Groups that no rule names serve the rest, together with the
    /// listener's own backends.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub rules: Vec<RawHttpRule>,
}

/// TLS towards clients.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawTls {
    /// Certificates, chosen by the name that the client asks for; the first one for all other names.
    #[schemars(required, length(min = 1, max = 64), extend("x-item" = "id"))]
    pub certificates: Option<Vec<String>>,
    /// The lowest version.
    #[schemars(extend("enum" = ["1.0", "1.1", "1.2", "1.3"], "default" = "1.2"))]
    pub min_version: Option<String>,
    /// The highest version.
    #[schemars(extend("enum" = ["1.0", "1.1", "1.2", "1.3"], "default" = "1.3"))]
    pub max_version: Option<String>,
    /// Whether HTTP/2 is offered.
    #[schemars(extend("default" = false))]
    pub h2: Option<bool>,
}

/// The answer that sends a client to `https`, with the same host and path.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawRedirect {
    /// The port there.
    #[schemars(range(min = 1, max = 65535), extend("default" = 443))]
    pub port: Option<u64>,
    /// The status code.
    #[schemars(extend("enum" = ["301", "302", "303", "307", "308"], "default" = "302"))]
    pub status: Option<String>,
}

/// A cookie that says which backend a client has.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawCookie {
    /// `insert`: the proxy sets it and backends do not see it. `rewrite`: the proxy changes one that backends set.
    #[schemars(required, extend("enum" = ["insert", "rewrite"]))]
    pub kind: Option<String>,
    /// Its name; needed for `rewrite`.
    #[schemars(extend("format" = "name", "default" = r::COOKIE_DEFAULT))]
    pub name: Option<String>,
    /// Of `insert`: seconds without a request after which the client may get another backend.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::COOKIE_IDLE_DEFAULT))]
    pub idle_s: Option<u64>,
}

/// Requests for one group. It has `host`, `path` or both, and both must match.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawHttpRule {
    /// The host that is asked for, without its port: a name, or `*.example.com` for all names below that one.
    #[schemars(extend("format" = "host"))]
    pub host: Option<String>,
    /// How the path begins, capital letters or not.
    #[schemars(extend("format" = "URL path"))]
    pub path: Option<String>,
    /// A group of this listener.
    #[schemars(required, extend("format" = "id"))]
    pub group: Option<String>,
}
