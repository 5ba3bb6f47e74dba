//! What `http` and `https` listeners have besides, and certificates.

use super::{At, Known, Report, text};
use crate::config::{
    Id,
    balance::{Backend, ListenerProtocol},
    http::{
        Certificate, Compression, Connections, Cookie, Http, ProxyProtocol, Redirect, Rule, Tls, TlsVersion,
    },
    raw::{RawCertificate, RawCookie, RawHttp, RawHttpRule, RawListener, RawTls, range as r},
};

pub(super) fn certificates(raw: &[RawCertificate], report: &mut Report) -> Known<Certificate> {
    Known::collect(
        "certificates",
        raw,
        |raw| raw.id.as_deref(),
        report,
        |at, id, raw, report| {
            let file = report.read(at, "file", raw.file.as_deref(), text::path);
            Some(Certificate { id: id?, file: file? })
        },
    )
}

/// What a listener says in `http`; what does not fit its protocol is a problem.
pub(super) fn http(
    at: At<'_>,
    listener: &RawListener,
    protocol: ListenerProtocol,
    backends: &[Option<Backend>],
    known: &Known<Certificate>,
    report: &mut Report,
) -> Option<Http> {
    if !protocol.is_proxied() {
        if listener.http.is_some() {
            let what = format!("means nothing to a listener of {}", protocol.label());
            report.lacks(at, "http", what, "remove it, or choose http or https");
        }
        return Some(Http::default());
    }
    not_proxied(at, listener, report);
    let empty = RawHttp::default();
    let raw = listener.http.as_ref().unwrap_or(&empty);
    let tls = match (protocol, &raw.tls) {
        (ListenerProtocol::Https, Some(raw)) => Some(tls(at, raw, known, report)?),
        (ListenerProtocol::Https, None) => {
            report.lacks(at, "http.tls", "is missing", "give `certificates`, or choose http");
            return None;
        }
        (_, Some(_)) => {
            report.lacks(at, "http.tls", "means nothing to a listener of http", "remove it, or choose https");
            None
        }
        (_, None) => None,
    };
    let redirect = raw.redirect.as_ref().map(|raw| Redirect {
        port: raw.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
        code: raw.status.as_deref().and_then(|code| code.parse().ok()).unwrap_or(302),
    });
    if redirect.is_some() && protocol == ListenerProtocol::Https {
        report.lacks(at, "http.redirect", "would lead https to https", "remove it, or choose http");
    }
    let compression = report.read_all(at, "http.compression", &raw.compression, compression);
    let cookie = match &raw.cookie {
        Some(raw) => Some(cookie(at, raw, report)?),
        None => None,
    };
    let rules = raw.rules.iter().enumerate();
    let rules: Vec<_> = rules.map(|(i, raw)| rule(at, i, raw, backends, report)).collect();
    Some(Http {
        tls,
        redirect,
        cookie,
        proxy_protocol: match raw.proxy_protocol.as_deref() {
            Some("v1") => Some(ProxyProtocol::V1),
            Some("v2") => Some(ProxyProtocol::V2),
            _ => None,
        },
        connections: match raw.connections.as_deref() {
            Some("keep_alive") => Connections::KeepAlive,
            Some("close") => Connections::Close,
            _ => Connections::ServerClose,
        },
        compression: compression.into_iter().collect::<Option<_>>()?,
        rules: rules.into_iter().collect::<Option<_>>()?,
    })
}

/// What only workers do.
fn not_proxied(at: At<'_>, raw: &RawListener, report: &mut Report) {
    let by_workers = "is for listeners of tcp and udp";
    if raw.algorithm.as_deref() == Some("consistent") {
        report.add(at, "algorithm", "consistent", by_workers, "choose source or another one");
    }
    if raw.mode.is_some() {
        report.lacks(at, "mode", by_workers, "remove it; a proxy asks from the gateway's address");
    }
    if raw.all_down.as_deref() == Some("open") {
        report.add(at, "all_down", "open", by_workers, "remove it; the proxy answers with status 503");
    }
    let check = raw.health_check.as_ref();
    if check.and_then(|check| check.kind.as_deref()) == Some("udp") {
        report.add(at, "health_check.kind", "udp", by_workers, "choose tcp or http");
    }
}

fn tls(at: At<'_>, raw: &RawTls, known: &Known<Certificate>, report: &mut Report) -> Option<Tls> {
    let names = raw.certificates.as_deref()?.iter().enumerate();
    let certificates = names.map(|(i, name)| {
        let key = format!("http.tls.certificates[{i}]");
        known.refer(at, &key, Some(name), "certificates", report).map(|certificate| certificate.id.clone())
    });
    let certificates: Vec<Option<Id>> = certificates.collect();
    let version = |raw: &Option<String>, default| match raw.as_deref() {
        Some("1.0") => TlsVersion::V1_0,
        Some("1.1") => TlsVersion::V1_1,
        Some("1.2") => TlsVersion::V1_2,
        Some("1.3") => TlsVersion::V1_3,
        _ => default,
    };
    let lowest = version(&raw.min_version, TlsVersion::V1_2);
    let highest = version(&raw.max_version, TlsVersion::V1_3);
    if lowest > highest {
        let what = format!("is above max_version {}", highest.label());
        report.add(at, "http.tls.min_version", lowest.label(), what, "lower it");
    }
    let certificates = certificates.into_iter().collect::<Option<_>>()?;
    Some(Tls { certificates, lowest, highest, h2: raw.h2.unwrap_or(false) })
}

fn cookie(at: At<'_>, raw: &RawCookie, report: &mut Report) -> Option<Cookie> {
    let rewrite = raw.kind.as_deref()? == "rewrite";
    if rewrite && raw.name.is_none() {
        report.lacks(at, "http.cookie.name", "is missing", "give the name of the cookie that backends set");
        return None;
    }
    let name = raw.name.as_deref().unwrap_or(r::COOKIE_DEFAULT);
    let name = report.read(at, "http.cookie.name", Some(name), text::cookie_name)?;
    if rewrite {
        return Some(Cookie::Rewrite { name });
    }
    let idle_s = u32::try_from(raw.idle_s.unwrap_or(r::COOKIE_IDLE_DEFAULT)).ok()?;
    Some(Cookie::Insert { name, idle_s })
}

fn rule(
    at: At<'_>,
    i: usize,
    raw: &RawHttpRule,
    backends: &[Option<Backend>],
    report: &mut Report,
) -> Option<Rule> {
    let key = |key: &str| format!("http.rules[{i}].{key}");
    let host = raw.host.as_deref().map(|host| report.read(at, &key("host"), Some(host), text::rule_host));
    let path = raw.path.as_deref().map(|path| report.read(at, &key("path"), Some(path), text::url_path));
    if host.is_none() && path.is_none() {
        report.lacks(at, &format!("http.rules[{i}]"), "matches everything", "give `host` or `path`");
    }
    let group = Id::new(raw.group.as_deref()?)?;
    let is_there = |backend: &Option<Backend>| {
        backend.as_ref().is_none_or(|backend| backend.group.as_ref() == Some(&group))
    };
    if !backends.iter().any(is_there) {
        report.add(at, &key("group"), &group, "is no group of this listener", "name one of `groups`");
    }
    let flat = |text: Option<Option<String>>| match text {
        Some(None) => None,
        Some(text) => Some(text),
        None => Some(None),
    };
    Some(Rule { host: flat(host)?, path: flat(path)?, group })
}

fn compression(text: &str) -> Result<Compression, text::Wrong> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "deflate" => Ok(Compression::Deflate),
        "raw-deflate" => Ok(Compression::RawDeflate),
        _ => text::wrong("is no way to compress", "give gzip, deflate or raw-deflate"),
    }
}
