//! `gateway.api`: where the REST API is served, and to whom.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use super::{
    Report,
    gateway::{AT, number},
    text,
};
use crate::config::{
    Api, ApiLimits, ApiTls, Role,
    raw::{RawApi, RawApiLimits, RawApiTls, range as r},
};

pub(super) fn api(raw: &RawApi, report: &mut Report) -> Option<Api> {
    let listen = listen(raw, report);
    let tls = raw.tls.as_ref().map(|raw| tls(raw, report));
    let tokens = raw.tokens.as_deref().map(|file| path("api.tokens", Some(file), report));
    let certificates = certificates(raw, report);
    let anonymous = raw.anonymous.as_deref().and_then(Role::of);
    if raw.tokens.is_none() && raw.certificates.is_empty() && anonymous.is_none() {
        let way_out = "give `tokens` or `certificates`; on loopback addresses, `anonymous` does as well";
        report.lacks(AT, "api", "lets nobody in", way_out);
    }
    outside(raw, &listen, anonymous, report);
    Some(Api {
        listen: listen.into_iter().collect::<Option<_>>()?,
        tls: if raw.tls.is_some() { Some(tls??) } else { None },
        tokens: if raw.tokens.is_some() { Some(tokens??) } else { None },
        certificates,
        anonymous,
        limits: limits(raw.limits.as_ref().unwrap_or(&RawApiLimits::default())),
    })
}

fn path(key: &str, raw: Option<&str>, report: &mut Report) -> Option<PathBuf> {
    report.read(AT, key, raw, text::path)
}

fn listen(raw: &RawApi, report: &mut Report) -> Vec<Option<SocketAddr>> {
    let all = raw.listen.as_deref().unwrap_or_default();
    let read = report.read_all(AT, "api.listen", all, text::listen);
    let mut seen = HashSet::new();
    for (i, address) in read.iter().enumerate().filter_map(|(i, address)| Some((i, (*address)?))) {
        if !seen.insert(address) {
            report.add(AT, &format!("api.listen[{i}]"), address, "is in the list twice", "remove it");
        }
    }
    read
}

/// What can be reached from outside this host lets nobody in who is not known, and tells nobody else what it says.
fn outside(raw: &RawApi, listen: &[Option<SocketAddr>], anonymous: Option<Role>, report: &mut Report) {
    let is_known = raw.tokens.is_some() || !raw.certificates.is_empty();
    for (i, address) in listen.iter().enumerate().filter_map(|(i, address)| Some((i, (*address)?))) {
        if address.ip().is_loopback() {
            continue;
        }
        let mut refuse = |what: &str, way_out: &str| {
            let what = format!("can be reached from outside this host, and {what}");
            report.add(AT, &format!("api.listen[{i}]"), address, what, way_out);
        };
        if raw.tls.is_none() {
            refuse("what it says can be read there", "give `api.tls`, or listen on 127.0.0.1");
        }
        if !is_known {
            refuse(
                "nobody has to say who they are",
                "give `api.tokens` or `api.certificates`, or listen on 127.0.0.1",
            );
        }
        if anonymous.is_some() {
            let way_out = "remove `api.anonymous`, or listen on loopback addresses only";
            refuse("lets in whoever shows nothing", way_out);
        }
    }
}

fn tls(raw: &RawApiTls, report: &mut Report) -> Option<ApiTls> {
    let certificate = path("api.tls.certificate", raw.certificate.as_deref(), report);
    let key = path("api.tls.key", raw.key.as_deref(), report);
    let client_ca = raw.client_ca.as_deref().map(|file| path("api.tls.client_ca", Some(file), report));
    Some(ApiTls {
        certificate: certificate?,
        key: key?,
        client_ca: if raw.client_ca.is_some() { Some(client_ca??) } else { None },
    })
}

fn certificates(raw: &RawApi, report: &mut Report) -> BTreeMap<String, Role> {
    let mut all = BTreeMap::new();
    for (i, certificate) in raw.certificates.iter().enumerate() {
        let key = format!("api.certificates[{i}].common_name");
        let (Some(name), Some(role)) = (&certificate.common_name, &certificate.role) else { continue };
        let Some(role) = Role::of(role) else { continue };
        if name.is_empty() {
            report.add(AT, &key, "\"\"", "is no name", "give the CN of the certificate's subject");
        } else if all.insert(name.clone(), role).is_some() {
            report.add(AT, &key, name, "is in the list twice", "name each once");
        }
    }
    let has_ca = raw.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if !raw.certificates.is_empty() && !has_ca {
        let way_out = "give `api.tls.client_ca`, by which their certificates are checked";
        report.lacks(AT, "api.certificates", "cannot be told from anybody else", way_out);
    }
    all
}

fn limits(raw: &RawApiLimits) -> ApiLimits {
    let size = |raw: Option<u64>, default: u64| usize::try_from(raw.unwrap_or(default)).unwrap_or(usize::MAX);
    ApiLimits {
        connections: size(raw.connections, r::API_CONNECTIONS_DEFAULT),
        connections_per_client: size(raw.connections_per_client, r::API_PER_CLIENT_DEFAULT),
        requests_per_second: number(raw.requests_per_second, r::API_REQUESTS_DEFAULT),
        body: size(raw.body_bytes, r::API_BODY_DEFAULT),
        timeout: Duration::from_secs(raw.timeout_s.unwrap_or(r::API_TIMEOUT_DEFAULT)),
        watchers: size(raw.watchers, r::API_WATCHERS_DEFAULT),
    }
}

impl Default for ApiLimits {
    fn default() -> ApiLimits {
        limits(&RawApiLimits::default())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{self, Role};

    fn parse(api: &str) -> Result<config::Api, String> {
        let text = format!("gateway:\n  ports: [{{ id: lan, device: net_null0 }}]\n  api: {api}\n");
        let config = config::parse(&text).map_err(|problems| problems.to_string())?;
        config.gateway.api.ok_or_else(|| "no API".into())
    }

    #[test]
    fn an_api_that_holds() {
        let local = parse("{ listen: ['127.0.0.1:8080', '[::1]:8080'], anonymous: read }").unwrap();
        assert_eq!(
            (local.listen.len(), local.anonymous, local.limits.connections),
            (2, Some(Role::Read), 512)
        );
        let remote = parse(
            "{ listen: ['192.0.2.1:8443'], tls: { certificate: /c.pem, key: /k.pem, client_ca: /ca.pem }, tokens: /t, \
             certificates: [{ common_name: ops, role: write }], limits: { body_bytes: 4096, timeout_s: 3 } }",
        );
        let remote = remote.unwrap();
        assert_eq!(remote.certificates["ops"], Role::Write);
        assert_eq!((remote.limits.body, remote.limits.timeout.as_secs()), (4096, 3));
    }

    #[test]
    fn nobody_from_outside_comes_in_unseen() {
        for (api, expected) in [
            (
                "{ listen: ['192.0.2.1:8443'], tokens: /t }",
                "gateway.api.listen[0]: 192.0.2.1:8443 can be reached from outside this host, and what it says can be read there; give `api.tls`, or listen on 127.0.0.1",
            ),
            (
                "{ listen: ['[::]:8443'], tls: { certificate: /c, key: /k } }",
                "and nobody has to say who they are; give `api.tokens` or",
            ),
            (
                "{ listen: ['127.0.0.1:80', '192.0.2.1:8443'], tls: { certificate: /c, key: /k }, tokens: /t, anonymous: read }",
                "gateway.api.listen[1]: 192.0.2.1:8443 can be reached from outside this host, and lets in whoever shows nothing",
            ),
            ("{ listen: ['127.0.0.1:8080'] }", "gateway.api lets nobody in; give `tokens`"),
            (
                "{ listen: ['127.0.0.1:8080', '127.0.0.1:8080'], anonymous: write }",
                "gateway.api.listen[1]: 127.0.0.1:8080 is in the list twice",
            ),
            (
                "{ listen: ['127.0.0.1:80'], tls: { certificate: /c, key: /k }, certificates: [{ common_name: a, role: read }] }",
                "gateway.api.certificates cannot be told from",
            ),
            (
                "{ listen: ['127.0.0.1:80'], tls: { certificate: c, key: /k }, tokens: /t }",
                "gateway.api.tls.certificate: c",
            ),
            ("{ listen: [], anonymous: read }", "gateway.api.listen"),
        ] {
            let problems = parse(api).unwrap_err();
            let plain = problems.replace(": lets", " lets").replace(": cannot", " cannot");
            assert!(plain.contains(expected), "{expected}: {problems}");
        }
    }
}
