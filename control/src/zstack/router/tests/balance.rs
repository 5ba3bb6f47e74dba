//! Listeners: parameters, groups, certificates.

use super::*;

fn shop() -> Value {
    json!({ "lbUuid": "55555555555555555555555555555555", "listenerUuid": "55555555555555555555555555555501",
        "vip": "203.0.113.30", "publicNic": PUBLIC, "nicIps": ["192.0.2.150", "192.0.2.151"], "instancePort": 8080,
        "loadBalancerPort": 80, "mode": "http", "parameters": ["balancerAlgorithm::weightroundrobin",
        "balancerWeight::192.0.2.150::70", "balancerWeight::192.0.2.151::30", "healthCheckTarget::http:default",
        "healthCheckParameter::GET:/health:http_2xx", "healthCheckInterval::5", "healthCheckTimeout::2",
        "healthyThreshold::2", "unhealthyThreshold::6", "connectionIdleTimeout::60", "maxConnection::200000",
        "sessionPersistence::insert", "sessionIdleTimeout::60", "accessControlStatus::enable", "aclType::black",
        "aclEntry::198.51.100.7,198.51.100.64/26", "Nbprocess::4"],
        "serverGroups": [{ "name": "g1", "serverGroupUuid": "55555555555555555555555555555502", "isDefault": false,
        "backendServers": [{ "ip": "192.0.2.150", "weight": 70 }, { "ip": "192.0.2.151", "weight": 30 }] }],
        "redirectRules": [], "enableFullLog": false })
}

fn bench() -> Bench {
    let mut bench = Bench::with_network();
    bench.ok("/createvip", vips(&["203.0.113.30"]));
    bench
}

#[test]
fn the_weighted_http_listener_of_the_sheet() {
    let mut bench = bench();
    bench.ok("/lb/refresh", json!({ "enableHaproxyLog": false, "lbs": [shop()] }));
    let document = bench.document(Kind::LoadBalancer, "r1.lb-55555555555555555555555555555501");
    assert_eq!(document["vip"], "r1.vip-203.0.113.30");
    assert_eq!(
        document["listeners"],
        json!([{
            "id": "55555555555555555555555555555501", "protocol": "http", "port": 80, "algorithm": "weightroundrobin",
            "max_connections": 200_000, "idle_timeout_s": 60,
            "access": { "policy": "deny", "cidrs": ["198.51.100.7/32", "198.51.100.64/26"] },
            "health_check": { "kind": "http", "interval_s": 5, "timeout_s": 2, "healthy": 2, "unhealthy": 6,
                              "method": "GET", "path": "/health" },
            "http": { "connections": "server_close", "cookie": { "kind": "insert", "name": "zstack_cookie", "idle_s": 60 } },
            "backends": [{ "nic": "r1.nic-192.0.2.150", "port": 8080, "weight": 70 },
                         { "nic": "r1.nic-192.0.2.151", "port": 8080, "weight": 30 }],
        }])
    );
    bench.holds();
    assert_eq!(bench.ok("/lb/refresh", json!({ "lbs": [shop()] })), [], "unchanged: nothing to do");
}

#[test]
fn a_tcp_listener_has_the_stock_defaults() {
    let mut bench = bench();
    bench.ok(
        "/lb/refresh",
        refresh(listener("l1", json!({ "parameters": ["accessControlStatus::enable", "aclEntry::"] }))),
    );
    assert_eq!(
        bench.document(Kind::LoadBalancer, "r1.lb-l1")["listeners"][0],
        json!({ "id": "l1", "protocol": "tcp", "port": 80, "algorithm": "roundrobin", "max_connections": 200_000,
                "idle_timeout_s": 60,
                "health_check": { "kind": "tcp", "interval_s": 5, "timeout_s": 2, "healthy": 2, "unhealthy": 6 },
                "backends": [{ "nic": "r1.nic-192.0.2.150", "port": 8080 }] }),
        "an empty access list is off"
    );
    bench.holds();
}

#[test]
fn a_listener_without_vms_goes_and_one_that_is_not_named_stays() {
    let mut bench = bench();
    bench.ok("/lb/refresh", refresh(listener("l1", json!({}))));
    bench.ok("/lb/refresh", refresh(listener("l2", json!({ "loadBalancerPort": 81 }))));
    assert_eq!(bench.ids(Kind::LoadBalancer), ["r1.lb-l1", "r1.lb-l2"]);
    let groups =
        json!([{ "serverGroupUuid": "g", "isDefault": true, "backendServers": [{ "ip": "192.0.2.150" }] }]);
    bench.ok("/lb/refresh", refresh(listener("l1", json!({ "nicIps": [], "serverGroups": groups }))));
    assert_eq!(bench.ids(Kind::LoadBalancer), ["r1.lb-l2"], "judged by nicIps alone");
    bench.ok("/lb/delete", refresh(listener("l2", json!({}))));
    bench.ok("/lb/delete", refresh(listener("l2", json!({}))));
    assert_eq!(bench.ids(Kind::LoadBalancer), [""; 0]);
}

#[test]
fn a_certificate_may_come_before_or_after_its_listener() {
    let pem = "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n";
    let https = || {
        refresh(listener(
            "l1",
            json!({ "mode": "https", "certificateUuid": "c1", "securityPolicyType": "tls_cipher_policy_1_2" }),
        ))
    };
    let create = || json!({ "uuid": "c1", "certificate": pem });
    let mut first = bench();
    first.ok("/certificate/create", create());
    assert_eq!(first.ids(Kind::Certificate), [""; 0], "no listener names it");
    first.ok("/lb/refresh", https());
    let mut second = bench();
    second.ok("/lb/refresh", https());
    assert_eq!(second.waits(Service::Listener, "l1"), "certificate c1 is not there yet");
    second.ok("/certificates/create", json!({ "certs": { "c1": pem } }));
    assert_eq!(first.router.documents(), second.router.documents());
    let tls = &first.document(Kind::LoadBalancer, "r1.lb-l1")["listeners"][0]["http"]["tls"];
    assert_eq!(
        tls,
        &json!({ "certificates": ["r1.cert-c1"], "h2": false, "min_version": "1.2", "max_version": "1.2" })
    );
    let files: Vec<_> = first.router.certificates().iter().collect();
    assert_eq!(files, [(&PathBuf::from("/var/lib/tidegate/certificates/c1.pem"), &pem.to_owned())]);
    first.holds();
    // No certificate at all: the listener goes.
    first.ok("/lb/refresh", refresh(listener("l1", json!({ "mode": "https" }))));
    assert_eq!((first.ids(Kind::LoadBalancer), first.ids(Kind::Certificate)), (vec![], vec![]));
    assert!(first.router.certificates().is_empty());
}

#[test]
fn a_certificate_that_a_listener_names_is_not_replaced() {
    let pem = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}");
    let mut bench = bench();
    bench.ok("/certificate/create", json!({ "uuid": "c1", "certificate": pem("1") }));
    bench.ok("/certificate/create", json!({ "uuid": "c1", "certificate": pem("2") }));
    bench.ok("/lb/refresh", refresh(listener("l1", json!({ "mode": "https", "certificateUuid": "c1" }))));
    bench.ok("/certificate/create", json!({ "uuid": "c1", "certificate": pem("3") }));
    assert_eq!(bench.router.certificates().values().collect::<Vec<_>>(), [&pem("2")]);
    bench.refused("/certificate/create", json!({ "uuid": "../../etc/passwd", "certificate": pem("1") }));
    bench.refused("/certificate/create", json!({ "uuid": "c2", "certificate": "no PEM" }));
    assert!(!format!("{:?}", bench.router.state).contains("BEGIN"), "keys are not for logs");
}

#[test]
fn groups_are_merged_without_rules_and_apart_with_them() {
    let groups = json!([
        { "serverGroupUuid": "api", "isDefault": false, "backendServers": [{ "ip": "192.0.2.150" }] },
        { "serverGroupUuid": "defaultServerGroup", "isDefault": true, "backendServers": [{ "ip": "192.0.2.151" }] },
    ]);
    let mut bench = bench();
    let plain = json!({ "mode": "http", "serverGroups": groups, "nicIps": ["192.0.2.150", "192.0.2.151"] });
    bench.ok("/lb/refresh", refresh(listener("l1", plain.clone())));
    let listeners = |bench: &Bench| bench.document(Kind::LoadBalancer, "r1.lb-l1")["listeners"][0].clone();
    assert_eq!(listeners(&bench)["backends"].as_array().unwrap().len(), 2);
    let mut ruled = plain;
    ruled["redirectRules"] =
        json!([{ "redirectRuleUuid": "r", "redirectRule": "path_beg -i /api", "serverGroupUuid": "api" }]);
    bench.ok("/lb/refresh", refresh(listener("l1", ruled)));
    let listener = listeners(&bench);
    assert_eq!(
        listener["groups"],
        json!([{ "id": "api", "backends": [{ "nic": "r1.nic-192.0.2.150", "port": 8080 }] }])
    );
    assert_eq!(listener["backends"], json!([{ "nic": "r1.nic-192.0.2.151", "port": 8080 }]));
    assert_eq!(listener["http"]["rules"], json!([{ "path": "/api", "group": "api" }]));
    bench.holds();
}

#[test]
fn parameters_one_by_one() {
    for (mode, parameter, key, expected) in [
        ("tcp", "balancerAlgorithm::source", "/algorithm", json!("source")),
        ("tcp", "balancerAlgorithm::leastconn", "/algorithm", json!("leastconn")),
        ("tcp", "healthCheckTarget::tcp:9000", "/health_check/port", json!(9000)),
        ("udp", "connectionIdleTimeout::90", "/health_check/kind", json!("udp")),
        ("tcp", "maxConnection::7", "/max_connections", json!(7)),
        ("http", "sessionPersistence::iphash", "/algorithm", json!("source")),
        ("http", "httpMode::http-keep-alive", "/http/connections", json!("keep_alive")),
        ("http", "httpMode::forceclose", "/http/connections", json!("close")),
        ("http", "tcpProxyProtocol::v2", "/http/proxy_protocol", json!("v2")),
        ("http", "httpCompressAlgos::gzip", "/http/compression", json!(["gzip"])),
        ("http", "httpRedirectHttps::enable", "/http/redirect", json!({ "port": 443, "status": "302" })),
    ] {
        let mut bench = bench();
        bench.ok("/lb/refresh", refresh(listener("l1", json!({ "mode": mode, "parameters": [parameter] }))));
        let document = bench.document(Kind::LoadBalancer, "r1.lb-l1");
        assert_eq!(document["listeners"][0].pointer(key), Some(&expected), "{parameter}");
        bench.holds();
    }
    let white = json!({ "parameters": ["accessControlStatus::enable", "aclType::white", "aclEntry::198.51.100.1-198.51.100.4"] });
    let mut bench = bench();
    bench.ok("/lb/refresh", refresh(listener("l1", white)));
    assert_eq!(
        bench.document(Kind::LoadBalancer, "r1.lb-l1")["listeners"][0]["access"],
        json!({ "policy": "allow", "cidrs": ["198.51.100.1/32", "198.51.100.2/31", "198.51.100.4/32"] })
    );
    let codes = json!({ "mode": "http", "parameters": ["healthCheckTarget::http:default", "healthCheckParameter::HEAD:/:http_2xx,http_4xx"] });
    bench.ok("/lb/refresh", refresh(listener("l1", codes)));
    let check = &bench.document(Kind::LoadBalancer, "r1.lb-l1")["listeners"][0]["health_check"];
    assert_eq!(check["expect"], json!(["2xx", "4xx"]));
}

#[test]
fn what_is_not_served_is_refused_and_changes_nothing() {
    let mut bench = bench();
    for extra in [
        json!({ "mode": "sctp" }),
        json!({ "vip": "", "vip6": "2001:db8::1" }),
        json!({ "parameters": ["tcpProxyProtocol::v1"] }),
        json!({ "parameters": ["maxConnection::0"] }),
        json!({ "parameters": ["healthCheckTarget::udp:default"] }),
        json!({ "parameters": ["accessControlStatus::enable", "aclEntry::2001:db8::/32"] }),
        json!({ "nicIps": ["nonsense"] }),
        json!({ "instancePort": 0 }),
    ] {
        let both = json!({ "lbs": [listener("l2", json!({})), listener("l1", extra)] });
        assert!(bench.refused("/lb/refresh", both).starts_with("listener l1: "));
    }
    assert_eq!(bench.ids(Kind::LoadBalancer), [""; 0]);
}
