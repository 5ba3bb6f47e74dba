//! A listener of the manager as one of ours. Its parameters are a list of `key::value`; those that are not there have the stock
//! defaults.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{Ipv4Net, Ipv4Subnets};
use serde_json::{Map, Value, json};

use super::{redirect, text};
use crate::zstack::body::{BackendServer, Listener, ServerGroup};

const WEIGHT_DEFAULT: i64 = 100;
const WEIGHT_MAX: i64 = 256;
/// Most addresses and networks in an access list.
const ACCESS_MAX: usize = 5000;

/// How a VM is named: the id of its `nics` document.
pub(super) type NicOf<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Whether we can serve a listener, wherever its VMs are.
pub(super) fn check(listener: &Listener) -> Result<(), String> {
    document(listener, &|ip| Ok(ip.to_owned()), &|uuid| uuid.to_owned()).map(drop)
}

/// The listener as it stands in a `load_balancers` document.
pub(super) fn document(
    listener: &Listener,
    nic_of: NicOf<'_>,
    certificate_of: &dyn Fn(&str) -> String,
) -> Result<Value, String> {
    if listener.vip.is_empty() {
        return Err("has no IPv4 VIP, and IPv6 is not served yet".into());
    }
    text::address("vip", &listener.vip)?;
    let parameters = Parameters::read(&listener.parameters);
    let mode = listener.mode.as_str();
    let proxied = match mode {
        "tcp" | "udp" => false,
        "http" | "https" => true,
        _ => return Err(format!("mode: {} is none of tcp, udp, http and https", text::shown(mode))),
    };
    let mut document = Map::new();
    document.insert("id".into(), listener.listener_uuid.clone().into());
    document.insert("protocol".into(), mode.into());
    document.insert("port".into(), text::port("loadBalancerPort", listener.load_balancer_port)?.into());
    document.insert("algorithm".into(), algorithm(&parameters, proxied)?.into());
    document
        .insert("max_connections".into(), parameters.number("maxConnection", 200_000, 1, 10_000_000)?.into());
    document
        .insert("idle_timeout_s".into(), parameters.number("connectionIdleTimeout", 60, 1, 86_400)?.into());
    if let Some(access) = access(&parameters)? {
        document.insert("access".into(), access);
    }
    document.insert("health_check".into(), health_check(listener, &parameters)?);
    if proxied {
        let http = http(listener, &parameters, certificate_of)?;
        document.insert("http".into(), http);
    } else if !matches!(parameters.get("tcpProxyProtocol", "disable"), "disable" | "none") {
        return Err("tcpProxyProtocol is served for http and https alone".into());
    }
    let backends = Backends::new(listener, &parameters, nic_of)?;
    backends.fill(listener, proxied, &mut document)?;
    Ok(Value::Object(document))
}

/// `key::value` by key; of a key that is there twice the last one counts.
pub(super) struct Parameters<'a> {
    all: BTreeMap<&'a str, &'a str>,
    weights: BTreeMap<&'a str, &'a str>,
}

impl<'a> Parameters<'a> {
    pub(super) fn read(list: &'a [String]) -> Parameters<'a> {
        let mut parameters = Parameters { all: BTreeMap::new(), weights: BTreeMap::new() };
        for (key, value) in list.iter().filter_map(|item| item.split_once("::")) {
            match value.split_once("::") {
                Some((ip, weight)) if key == "balancerWeight" => _ = parameters.weights.insert(ip, weight),
                _ => _ = parameters.all.insert(key, value),
            }
        }
        parameters
    }

    fn get(&self, key: &str, default: &'a str) -> &'a str {
        self.all.get(key).copied().filter(|value| !value.is_empty()).unwrap_or(default)
    }

    fn number(&self, key: &str, default: u64, least: u64, most: u64) -> Result<u64, String> {
        let Some(value) = self.all.get(key).filter(|value| !value.is_empty()) else { return Ok(default) };
        let number = value.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("{key}: {} is out of range; give {least} to {most}", text::shown(value)))
    }
}

fn algorithm(parameters: &Parameters<'_>, proxied: bool) -> Result<&'static str, String> {
    // The stock proxy chooses by the client's address then.
    if proxied && parameters.get("sessionPersistence", "disable") == "iphash" {
        return Ok("source");
    }
    match parameters.get("balancerAlgorithm", "roundrobin") {
        "roundrobin" => Ok("roundrobin"),
        "leastconn" => Ok("leastconn"),
        "source" => Ok("source"),
        "weightroundrobin" => Ok("weightroundrobin"),
        other => Err(format!("balancerAlgorithm: {} is none that is served", text::shown(other))),
    }
}

/// An access list without entries is off.
fn access(parameters: &Parameters<'_>) -> Result<Option<Value>, String> {
    let entries = parameters.get("aclEntry", "");
    if parameters.get("accessControlStatus", "disable") != "enable" || entries.is_empty() {
        return Ok(None);
    }
    let mut cidrs: BTreeSet<Ipv4Net> = BTreeSet::new();
    for entry in entries.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match entry.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (text::address("aclEntry", first)?, text::address("aclEntry", last)?);
                if first > last {
                    return Err(format!("aclEntry: {} ends before it begins", text::shown(entry)));
                }
                cidrs.extend(Ipv4Subnets::new(first, last, 0));
            }
            None => _ = cidrs.insert(text::cidr("aclEntry", entry)?),
        }
        if cidrs.len() > ACCESS_MAX {
            return Err(format!("aclEntry: comes to more than {ACCESS_MAX} networks"));
        }
    }
    let policy = if parameters.get("aclType", "black") == "white" { "allow" } else { "deny" };
    let cidrs: Vec<String> = cidrs.iter().map(Ipv4Net::to_string).collect();
    Ok((!cidrs.is_empty()).then(|| json!({ "policy": policy, "cidrs": cidrs })))
}

fn health_check(listener: &Listener, parameters: &Parameters<'_>) -> Result<Value, String> {
    let udp = listener.mode == "udp";
    let target = parameters.get("healthCheckTarget", if udp { "udp:default" } else { "tcp:default" });
    let (kind, port) = target.split_once(':').unwrap_or((target, "default"));
    if !matches!(kind, "tcp" | "udp" | "http") || (kind == "udp") != udp {
        let target = text::shown(target);
        return Err(format!("healthCheckTarget: {target} is no check of a listener of {}", listener.mode));
    }
    let mut check = json!({
        "kind": kind,
        "interval_s": parameters.number("healthCheckInterval", 5, 1, 3600)?,
        "timeout_s": parameters.number("healthCheckTimeout", 2, 1, 3600)?,
        "healthy": parameters.number("healthyThreshold", 2, 1, 100)?,
        "unhealthy": parameters.number("unhealthyThreshold", 6, 1, 100)?,
    });
    if port != "default" {
        let number =
            port.parse().map_err(|_| format!("healthCheckTarget: {} is no port", text::shown(port)))?;
        check["port"] = text::port("healthCheckTarget", number)?.into();
    }
    let parameter = parameters.get("healthCheckParameter", "");
    if kind == "http" && !parameter.is_empty() {
        http_check(parameter, &mut check)?;
    }
    Ok(check)
}

/// `METHOD:/uri:codes`. Exactly `http_2xx` stands for the stock proxy's own rule: 2xx and 3xx pass, which is our default too.
fn http_check(parameter: &str, check: &mut Value) -> Result<(), String> {
    let wrong = || format!("healthCheckParameter: {} is not METHOD:/uri:codes", text::shown(parameter));
    let (method, rest) = parameter.split_once(':').ok_or_else(wrong)?;
    let (uri, codes) = rest.rsplit_once(':').ok_or_else(wrong)?;
    if !matches!(method, "GET" | "HEAD") || !uri.starts_with('/') {
        return Err(wrong());
    }
    check["method"] = method.into();
    check["path"] = uri.into();
    if codes == "http_2xx" {
        return Ok(());
    }
    let code = |code: &str| match code.trim() {
        "http_1xx" => Ok("1xx"),
        "http_2xx" => Ok("2xx"),
        "http_3xx" => Ok("3xx"),
        "http_4xx" => Ok("4xx"),
        "http_5xx" => Ok("5xx"),
        _ => Err(wrong()),
    };
    check["expect"] = codes.split(',').map(code).collect::<Result<Vec<_>, _>>()?.into();
    Ok(())
}

fn http(
    listener: &Listener,
    parameters: &Parameters<'_>,
    certificate_of: &dyn Fn(&str) -> String,
) -> Result<Value, String> {
    let mut http = json!({
        "connections": match parameters.get("httpMode", "http-server-close") {
            "http-keep-alive" | "http-tunnel" => "keep_alive",
            "httpclose" | "forceclose" => "close",
            _ => "server_close",
        },
    });
    if let version @ ("v1" | "v2") = parameters.get("tcpProxyProtocol", "disable") {
        http["proxy_protocol"] = version.into();
    }
    match parameters.get("sessionPersistence", "disable") {
        "insert" => {
            let idle_s = parameters.number("sessionIdleTimeout", 60, 1, 86_400)?;
            http["cookie"] = json!({ "kind": "insert", "name": "zstack_cookie", "idle_s": idle_s });
        }
        "rewrite" => {
            let name = parameters.get("cookieName", "");
            if name.is_empty() {
                return Err("cookieName is missing".into());
            }
            http["cookie"] = json!({ "kind": "rewrite", "name": name });
        }
        _ => {}
    }
    let compression = parameters.get("httpCompressAlgos", "disable");
    if compression != "disable" {
        let names = compression.split([',', ' ']).filter(|name| !name.is_empty());
        http["compression"] = names.collect::<Vec<_>>().into();
    }
    if listener.mode == "https" {
        http["tls"] = tls(listener, parameters, certificate_of)?;
    } else if parameters.get("httpRedirectHttps", "disable") == "enable" {
        let port = parameters.number("redirectPort", 443, 1, 65_535)?;
        http["redirect"] = json!({ "port": port, "status": parameters.get("statusCode", "302") });
    }
    let rule = |rule: &crate::zstack::body::RedirectRule| {
        let mut value = redirect::read(&rule.redirect_rule, listener.load_balancer_port)?;
        value["group"] = text::name("serverGroupUuid", &rule.server_group_uuid)?.into();
        Ok::<Value, String>(value)
    };
    if !listener.redirect_rules.is_empty() {
        http["rules"] = listener.redirect_rules.iter().map(rule).collect::<Result<Vec<_>, _>>()?.into();
    }
    Ok(http)
}

/// Versions by the name of a policy; the choice of ciphers is the proxy's. The last policy has 1.2 and 1.3, as its name says; the
/// stock agent leaves 1.3 alone on.
fn tls(
    listener: &Listener,
    parameters: &Parameters<'_>,
    certificate_of: &dyn Fn(&str) -> String,
) -> Result<Value, String> {
    let uuid = text::name("certificateUuid", &listener.certificate_uuid)?;
    let mut tls = json!({ "certificates": [certificate_of(&uuid)], "h2": parameters.get("httpVersions", "http1.1") == "h2" });
    let versions = match listener.security_policy_type.as_str() {
        "" | "tls_cipher_policy_default" => None,
        "tls_cipher_policy_1_0" => Some(("1.0", "1.2")),
        "tls_cipher_policy_1_1" => Some(("1.1", "1.2")),
        "tls_cipher_policy_1_2" | "tls_cipher_policy_1_2_strict" => Some(("1.2", "1.2")),
        "tls_cipher_policy_1_2_strict_with_1_3" => Some(("1.2", "1.3")),
        other => return Err(format!("securityPolicyType: {} is not known", text::shown(other))),
    };
    if let Some((least, most)) = versions {
        tls["min_version"] = least.into();
        tls["max_version"] = most.into();
    }
    Ok(tls)
}

/// The VMs: those of groups, each once in a listener, and those that no group has.
struct Backends {
    port: u16,
    /// By address.
    all: BTreeMap<String, Value>,
    groups: Vec<(String, Vec<String>)>,
    rest: Vec<String>,
}

impl Backends {
    fn new(listener: &Listener, parameters: &Parameters<'_>, nic_of: NicOf<'_>) -> Result<Backends, String> {
        let port = text::port("instancePort", listener.instance_port)?;
        let mut backends = Backends { port, all: BTreeMap::new(), groups: Vec::new(), rest: Vec::new() };
        let ruled = !listener.redirect_rules.is_empty();
        for group in &listener.server_groups {
            let addresses =
                group.backend_servers.iter().map(|server| backends.add(server, parameters, nic_of));
            let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
            match group {
                ServerGroup { is_default: false, server_group_uuid, .. } if ruled => {
                    backends.groups.push((text::name("serverGroupUuid", server_group_uuid)?, addresses));
                }
                _ => backends.rest.extend(addresses),
            }
        }
        for ip in &listener.nic_ips {
            let server = BackendServer { ip: ip.clone(), weight: None };
            let address = text::address("nicIps", ip)?.to_string();
            if !backends.all.contains_key(&address) {
                let address = backends.add(&server, parameters, nic_of)?;
                backends.rest.push(address);
            }
        }
        backends.rest.sort_unstable();
        backends.rest.dedup();
        Ok(backends)
    }

    /// Weights count with the algorithm that has them; those of parameters and groups are the same.
    fn add(
        &mut self,
        server: &BackendServer,
        parameters: &Parameters<'_>,
        nic_of: NicOf<'_>,
    ) -> Result<String, String> {
        let address = text::address("ip", &server.ip)?.to_string();
        let mut backend = json!({ "nic": nic_of(&address)?, "port": self.port });
        if parameters.get("balancerAlgorithm", "roundrobin") == "weightroundrobin" {
            let said = parameters.weights.get(server.ip.as_str()).and_then(|weight| weight.parse().ok());
            let weight = said.or(server.weight).unwrap_or(WEIGHT_DEFAULT);
            if !(0..=WEIGHT_MAX).contains(&weight) {
                return Err(format!("weight of {address}: {weight} is out of range; give 0 to {WEIGHT_MAX}"));
            }
            backend["weight"] = weight.into();
        }
        self.all.insert(address.clone(), backend);
        Ok(address)
    }

    fn fill(
        mut self,
        listener: &Listener,
        proxied: bool,
        document: &mut Map<String, Value>,
    ) -> Result<(), String> {
        if !proxied && !listener.redirect_rules.is_empty() {
            return Err("redirectRules are for listeners of http and https".into());
        }
        let mut taken = BTreeSet::new();
        let every = self.groups.iter().flat_map(|(_, addresses)| addresses).chain(&self.rest);
        if let Some(twice) = every.clone().find(|address| !taken.insert((*address).clone())) {
            return Err(format!("{twice} is in two server groups, which is not served"));
        }
        let mut of = |addresses: &[String]| -> Vec<Value> {
            addresses.iter().filter_map(|address| self.all.remove(address)).collect()
        };
        let groups: Vec<Value> = self
            .groups
            .iter()
            .map(|(id, addresses)| json!({ "id": id, "backends": of(addresses) }))
            .collect();
        let rest = of(&self.rest);
        if !groups.is_empty() {
            document.insert("groups".into(), groups.into());
        }
        if !rest.is_empty() {
            document.insert("backends".into(), rest.into());
        }
        Ok(())
    }
}
