//! Who comes in, and what they may do: by bearer token, by certificate, or as somebody of this host.
//!
//! Of a token only its SHA-256 is kept, in the file and in memory, and all of them are compared in the same time whatever was sent.
//! Tokens are long and random (`tidegate token` makes them), so a plain hash is enough.

use std::{
    fmt,
    fs::{self, Metadata},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use nix::unistd::{Uid, User};
use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use tracing::{info, warn};

use super::{Refusal, Why, tls};
use crate::{
    config::{Api, Role},
    desired::{Source, Who},
};

/// Largest file of tokens, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// A name for people: a user, `token NAME`, `certificate NAME`, `anonymous`.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Their address; `None` for those of the control socket.
    pub from: Option<IpAddr>,
}

impl Caller {
    /// As the history names them.
    pub(super) fn who(self) -> Who {
        let source = if self.from.is_some() { Source::Api } else { Source::Socket };
        Who { name: self.name, source, from: self.from }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Of the control socket, with their number.
    User(Option<u32>),
    /// Over TCP.
    Remote {
        /// Their address.
        address: IpAddr,
        /// The common name of their certificate, which one of our CAs signed.
        certificate: Option<String>,
    },
}

impl fmt::Display for Peer {
    /// Where they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::User(_) => f.write_str("socket"),
            Peer::Remote { address, .. } => address.fmt(f),
        }
    }
}

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    name: String,
    role: Role,
    sha256: [u8; 32],
}

/// What was read from files.
#[derive(Debug)]
struct Credentials {
    tokens: Vec<Token>,
    tls: Option<Arc<ServerConfig>>,
}

/// By what a file is told from the one that it was before.
type Stamp = Vec<Option<(u64, i64, i64, u64)>>;

/// Who may do what. Files are read again when they change.
#[derive(Debug)]
pub struct Access {
    api: Api,
    present: Mutex<(Stamp, Arc<Credentials>)>,
}

impl Access {
    /// As the configuration says.
    ///
    /// # Errors
    /// A sentence: a file that cannot be read, or what is wrong in it.
    pub fn new(api: Api) -> Result<Access, String> {
        let stamp = stamp(&api);
        let present = Mutex::new((stamp, Arc::new(Credentials::read(&api)?)));
        Ok(Access { api, present })
    }

    /// The section of the configuration.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// How TLS is spoken; `None` where it is not.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.present().1.tls.clone()
    }

    /// Reads files again that have changed. What does not hold is not taken.
    pub(super) fn refresh(&self) {
        let stamp = stamp(&self.api);
        if self.present().0 == stamp {
            return;
        }
        match Credentials::read(&self.api) {
            Ok(credentials) => {
                *self.present() = (stamp, Arc::new(credentials));
                info!("tokens and certificates of the API were read again");
            }
            Err(why) => {
                self.present().0 = stamp;
                warn!("tokens and certificates of the API stay as they were: {why}");
            }
        }
    }

    /// Who a request over TCP is from.
    fn remote(
        &self,
        address: IpAddr,
        certificate: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Caller, Refusal> {
        let known = |name: String, role| Ok(Caller { name, role, from: Some(address) });
        if let Some(said) = headers.get(AUTHORIZATION) {
            let secret = said.as_bytes().split_at_checked(7);
            let secret = secret.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
            let Some((_, secret)) = secret else {
                return Err(unknown("the header authorization is no `Bearer TOKEN`"));
            };
            let present = self.present().1.clone();
            let token = find(&present.tokens, secret.trim_ascii());
            let token = token.ok_or_else(|| unknown("nobody has this token"))?;
            return known(format!("token {}", token.name), token.role);
        }
        if let Some(name) = certificate {
            let role = self.api.certificates.get(name).copied();
            let what =
                || format!("the certificate's common name {name:?} is not in gateway.api.certificates");
            return known(format!("certificate {name}"), role.ok_or_else(|| unknown(&what()))?);
        }
        let role = self.api.anonymous.ok_or_else(|| unknown("the request does not say who asks"))?;
        known("anonymous".into(), role)
    }

    fn present(&self) -> MutexGuard<'_, (Stamp, Arc<Credentials>)> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who a request is from. Whoever may open the control socket may do everything.
pub(super) fn caller(access: Option<&Access>, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Refusal> {
    match (peer, access) {
        (Peer::User(uid), _) => Ok(Caller { name: user(*uid), role: Role::Write, from: None }),
        (Peer::Remote { address, certificate }, Some(access)) => {
            access.remote(*address, certificate.as_deref(), headers)
        }
        (Peer::Remote { .. }, None) => Err(unknown("nobody is let in over TCP")),
    }
}

fn unknown(what: &str) -> Refusal {
    let way_out = "send `authorization: Bearer TOKEN` with a token of gateway.api.tokens, or show a certificate of gateway.api.certificates";
    Refusal::new(Why::Unknown, format!("{what}; {way_out}"))
}

/// The name of a user, or their number.
fn user(uid: Option<u32>) -> String {
    let Some(uid) = uid else { return "unknown".to_owned() };
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// Looks at all of them, whichever it is.
fn find<'a>(tokens: &'a [Token], secret: &[u8]) -> Option<&'a Token> {
    let hash: [u8; 32] = Sha256::digest(secret).into();
    let (mut found, mut at) = (Choice::from(0), 0_u64);
    for (i, token) in (0_u64..).zip(tokens) {
        let is = token.sha256.ct_eq(&hash);
        at.conditional_assign(&i, is);
        found |= is;
    }
    usize::try_from(at).ok().filter(|_| found.into()).and_then(|at| tokens.get(at))
}

impl Credentials {
    fn read(api: &Api) -> Result<Credentials, String> {
        let tokens = api.tokens.as_deref().map(read_tokens).transpose()?.unwrap_or_default();
        let tls = api.tls.as_ref().map(tls::server).transpose()?.map(Arc::new);
        Ok(Credentials { tokens, tls })
    }
}

fn read_tokens(file: &Path) -> Result<Vec<Token>, String> {
    let said = |why: &dyn fmt::Display| format!("gateway.api.tokens: {}: {why}", file.display());
    if fs::metadata(file).map_err(|error| said(&error))?.len() > FILE_MAX {
        return Err(said(&format!("is larger than {FILE_MAX} bytes; it has one line for each token")));
    }
    parse(&fs::read_to_string(file).map_err(|error| said(&error))?).map_err(|why| said(&why))
}

/// Lines of name, role and hash; empty ones and what follows `#` say nothing.
fn parse(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    for (n, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let wrong =
            |what: &str| format!("line {n}: {what}; `tidegate token NAME --role read` writes such a line");
        let token = match words[..] {
            [] => continue,
            [name, role, sha256] => Token {
                name: name.to_owned(),
                role: Role::of(role).ok_or_else(|| wrong(&format!("`{role}` is neither read nor write")))?,
                sha256: bytes(sha256).ok_or_else(|| wrong("the third word is not 64 hexadecimal digits"))?,
            },
            _ => return Err(wrong("there are not three words, NAME ROLE SHA256")),
        };
        if tokens.iter().any(|other| other.name == token.name || other.sha256 == token.sha256) {
            return Err(wrong(&format!("`{}` or its token is there already", token.name)));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    let all: Option<Vec<u8>> =
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok()).collect();
    all?.try_into().ok()
}

/// The line of a token in the file.
pub fn line(name: &str, role: Role, secret: &str) -> String {
    let hash: String = Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {} {hash}", role.name())
}

fn stamp(api: &Api) -> Stamp {
    let tls = api.tls.iter().flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]);
    let files = tls.flatten().chain(&api.tokens);
    let of = |metadata: Metadata| (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len());
    files.map(|file: &PathBuf| fs::metadata(file).ok().map(of)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_by_their_hashes_alone() {
        let text = format!(
            "# who\n{}\n\n{} # looks\n",
            line("ops", Role::Write, "one"),
            line("eye", Role::Read, "two")
        );
        assert!(!text.contains("one"));
        let tokens = parse(&text).unwrap();
        let who =
            |secret: &str| find(&tokens, secret.as_bytes()).map(|token| (token.name.as_str(), token.role));
        assert_eq!((who("one"), who("two")), (Some(("ops", Role::Write)), Some(("eye", Role::Read))));
        assert_eq!((who("three"), who(""), who("on")), (None, None, None));
        assert_eq!(find(&[], b"one"), None);
    }

    #[test]
    fn a_file_of_tokens_that_does_not_hold_names_the_line() {
        let one = line("ops", Role::Write, "one");
        for (text, expected) in [
            ("ops write", "line 1: there are not three words"),
            ("\nops admin 00", "line 2: `admin` is neither read nor write"),
            ("ops read 00", "line 1: the third word is not 64"),
            (&format!("ops read {}", "é".repeat(32)), "line 1: the third word is not 64"),
            (&format!("{one}\n{one}"), "line 2: `ops` or its token is there already"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(expected), "{expected}: {why}");
        }
    }
}
