//! What is rendered, and what HAProxy says to it where it is installed.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use proptest::prelude::*;

use super::{
    quote::tests::words,
    render::{Front, Instance, Place, instances, render},
};
use crate::config::{
    Config, Id,
    balance::{Access, Algorithm, DeadSessions, Probe},
    http::{Compression, Connections, Cookie, ProxyProtocol, Redirect, Rule, Tls, TlsVersion},
    parse,
};

const EXAMPLE: &str = include_str!("../../../docs/examples/http.yaml");

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn example() -> (Config, Instance) {
    let config = parse(EXAMPLE).unwrap_or_else(|problems| panic!("{problems}"));
    let mut all = instances(&config);
    assert_eq!(all.len(), 1);
    (config, all.remove(0))
}

fn place(dir: &Path) -> Place {
    let certificates = [(id("example"), dir.join("example.pem"))].into();
    Place { socket: dir.join("stats"), certificates }
}

/// Lines of a section, without their indent.
fn section<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let after = text.lines().skip_while(move |line| *line != head).skip(1);
    after.take_while(|line| line.starts_with(' ')).map(str::trim).collect()
}

#[test]
fn the_example_is_rendered() {
    let text = render(&example().1, &place(Path::new("/run/x")));
    assert_eq!(
        section(&text, "frontend secure"),
        [
            "bind 203.0.113.93:443 ssl crt /run/x/example.pem ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.3 alpn h2,http/1.1",
            "maxconn 50000",
            "timeout client 120s",
            "option http-server-close",
            "option forwardfor",
            "http-request set-header X-Forwarded-Proto https",
            "compression algo gzip",
            "compression type text/html text/plain text/css text/javascript application/javascript application/json",
            "use_backend secure:api if { req.hdr(host),field(1,:),lower -m str -- api.example.com } { path_beg -i -- /v2 }",
            "default_backend secure",
        ]
    );
    assert_eq!(
        section(&text, "backend secure"),
        [
            "balance roundrobin",
            "timeout server 120s",
            "timeout tunnel 120s",
            "option http-server-close",
            "cookie tidegate insert indirect nocache maxidle 60s",
            "timeout check 2s",
            "option httpchk",
            "http-check send meth HEAD uri /health ver HTTP/1.1 hdr Host www.example.com",
            "http-check expect status 200-299,300-399",
            "server 10.1.1.11:8080 10.1.1.11:8080 source 10.1.1.1 weight 100 check inter 2s rise 2 fall 3 cookie ead09b061b047ba6",
            "server 10.1.1.12:8080 10.1.1.12:8080 source 10.1.1.1 weight 50 check inter 2s rise 2 fall 3 cookie 8c62c5f171ed0c71",
        ]
    );
    assert_eq!(section(&text, "backend secure:api").len(), 10, "{text}");
    let plain = section(&text, "frontend plain");
    assert!(
        plain.contains(
            &"http-request redirect code 302 location 'https://%[req.hdr(host),field(1,:)]%[pathq]'"
        )
    );
    assert!(section(&text, "global").contains(&"maxconn 250000"), "those of both listeners");
}

/// A change of a listener, and what it is.
type Variant = (&'static str, fn(&mut Front));

/// Every way in which a listener may differ.
fn variants() -> Vec<Variant> {
    vec![
        ("as it is", |_| ()),
        ("access allow", |f| f.listener.access = Access::Allow(vec!["198.51.100.0/24".parse().unwrap(); 80])),
        ("access deny", |f| f.listener.access = Access::Deny(vec!["198.51.100.0/24".parse().unwrap()])),
        ("leastconn", |f| f.listener.algorithm = Algorithm::LeastConnections),
        ("source", |f| f.listener.algorithm = Algorithm::Source),
        ("persistence", |f| f.listener.persistence_s = Some(300)),
        ("reset", |f| f.listener.dead_sessions = DeadSessions::Reset),
        ("slow start", |f| f.listener.slow_start_s = 30),
        ("drain", |f| f.listener.backends[0].drain = true),
        ("backend connections", |f| f.listener.backends[0].max_connections = 10),
        ("large weight", |f| f.listener.backends[0].weight = u16::MAX),
        ("no check", |f| f.listener.health_check = None),
        ("tcp check elsewhere", |f| {
            let check = f.listener.health_check.as_mut().unwrap();
            (check.probe, check.port) = (Probe::Tcp, Some(81));
        }),
        ("check with hostile texts", |f| {
            f.listener.health_check.as_mut().unwrap().probe = Probe::Http {
                method: "GET",
                path: "/a'b\"c#d$HOME\\%[env(PATH)]".to_owned(),
                host: Some("x%[env(PATH)]'\"${HOME}".to_owned()),
                expect: vec![(200, 204), (301, 301)],
            }
        }),
        ("rule with hostile texts", |f| {
            f.listener.http.rules = vec![
                Rule { host: Some("*.example.com".into()), path: None, group: id("api") },
                Rule {
                    host: None,
                    path: Some("/a'b\"c#d$HOME} or { always_true }".into()),
                    group: id("api"),
                },
            ];
        }),
        ("redirect elsewhere", |f| f.listener.http.redirect = Some(Redirect { port: 8443, code: 308 })),
        ("rewrite", |f| f.listener.http.cookie = Some(Cookie::Rewrite { name: "SESSION".into() })),
        ("proxy v1", |f| f.listener.http.proxy_protocol = Some(ProxyProtocol::V1)),
        ("proxy v2", |f| f.listener.http.proxy_protocol = Some(ProxyProtocol::V2)),
        ("keep alive", |f| f.listener.http.connections = Connections::KeepAlive),
        ("close", |f| f.listener.http.connections = Connections::Close),
        ("compression", |f| {
            f.listener.http.compression = vec![Compression::Deflate, Compression::RawDeflate]
        }),
        ("old tls", |f| {
            let certificates = vec![id("example")];
            let (lowest, highest) = (TlsVersion::V1_0, TlsVersion::V1_2);
            f.listener.http.tls = Some(Tls { certificates, lowest, highest, h2: false });
        }),
    ]
}

/// A certificate that nobody trusts, made as an operator would.
fn certificate(dir: &Path) -> PathBuf {
    let (file, key) = (dir.join("example.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=www.example.com"
                .split(' '),
        )
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&file)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(&file, [fs::read(&file).unwrap(), fs::read(&key).unwrap()].concat()).unwrap();
    file
}

#[test]
fn haproxy_takes_whatever_is_rendered() {
    if Command::new("haproxy").arg("-v").output().is_err() {
        eprintln!("skipped: haproxy is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    for (what, change) in variants() {
        let (_, mut instance) = example();
        instance.fronts.iter_mut().filter(|f| f.listener.http.tls.is_some()).for_each(change);
        let text = render(&instance, &place(dir.path()));
        let file = dir.path().join("haproxy.cfg");
        fs::write(&file, &text).unwrap();
        let said = Command::new("haproxy").args(["-c", "-f"]).arg(&file).output().unwrap();
        let said = (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned());
        assert!(said.0 && !said.1.contains("WARNING"), "{what}: {}\n{text}", said.1);
    }
}

#[test]
fn one_instance_serves_a_vpc_and_knows_its_certificates() {
    let (config, instance) = example();
    assert_eq!((instance.vpc.as_str(), instance.fronts.len(), instance.certificates.len()), ("vpc-1", 2, 1));
    assert_eq!(instance.fronts[0].address, Ipv4Addr::new(203, 0, 113, 93));
    let mut none = config;
    none.load_balancers = [].into_iter().collect();
    assert!(instances(&none).is_empty());
}

proptest! {
    /// Whatever a path or host says: as many lines as without it, and it stands there as one word.
    #[test]
    fn no_text_makes_a_line_or_a_word(path in any::<String>(), host in any::<String>()) {
        let (_, mut instance) = example();
        let usual = render(&instance, &place(Path::new("/run/x"))).lines().count();
        let front = &mut instance.fronts[1];
        front.listener.http.rules[0].path = Some(path.clone());
        front.listener.health_check.as_mut().unwrap().probe =
            Probe::Http { method: "GET", path: path.clone(), host: Some(host.clone()), expect: vec![(200, 200)] };
        let text = render(&instance, &place(Path::new("/run/x")));
        prop_assert_eq!(text.lines().count(), usual);
        let kept = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
        let send = text.lines().find(|line| line.contains("http-check send")).unwrap();
        let expected = ["http-check", "send", "meth", "GET", "uri", &kept(&path), "ver", "HTTP/1.1", "hdr", "Host", &kept(&host).replace('%', "%%")];
        prop_assert_eq!(words(send), expected);
        let rule = text.lines().find(|line| line.contains("use_backend")).unwrap();
        prop_assert_eq!(words(rule)[14].clone(), kept(&path));
    }
}
