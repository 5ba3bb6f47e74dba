//! What was pushed, as documents: a function of the state and the settings alone. An object that cannot be one yet waits, with the
//! reason; an object whose document names another that is not there is left to the store, which says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::PathBuf,
};

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::{balance, state::State, text};
use crate::zstack::{
    Documents, Kind, PublicNetwork, Service, Settings,
    body::{Nic, PortForward, Route, Snat},
};

/// What state comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Derived {
    pub(super) documents: Documents,
    /// Why an object has no document, by service and key.
    pub(super) waiting: BTreeMap<(Service, String), String>,
    /// PEM by file, of certificates that listeners name.
    pub(super) certificates: BTreeMap<PathBuf, String>,
}

/// A private network of the router.
pub(super) struct Private<'a> {
    pub(super) nic: &'a Nic,
    pub(super) prefix: Ipv4Net,
    pub(super) address: Ipv4Addr,
}

/// Subnets of the router's NICs of a category, by MAC.
pub(super) fn subnets<'a>(state: &'a State, category: &'a str) -> impl Iterator<Item = Private<'a>> {
    state.nics.values().filter(move |nic| nic.category == category).filter_map(|nic| {
        let address = text::address("ip", &nic.ip).ok()?;
        Some(Private { nic, prefix: text::network("netmask", address, &nic.netmask).ok()?, address })
    })
}

pub(super) fn derive(state: &State, settings: &Settings) -> Derived {
    let mut private: Vec<_> = subnets(state, "Private").collect();
    private.sort_by_key(|network| network.prefix);
    let mut work = Work { state, settings, private, done: Derived::default() };
    work.networks();
    work.vips();
    work.snats();
    work.eips();
    work.port_forwards();
    work.listeners();
    work.qos();
    work.routes();
    work.unserved();
    work.done
}

struct Work<'a> {
    state: &'a State,
    settings: &'a Settings,
    private: Vec<Private<'a>>,
    done: Derived,
}

impl Work<'_> {
    fn put(&mut self, kind: Kind, rest: &str, mut body: Value) -> String {
        let id = self.settings.name(rest);
        body["id"] = id.clone().into();
        self.done.documents.insert((kind, id.clone()), body);
        id
    }

    fn wait(&mut self, service: Service, key: &str, why: impl Into<String>) {
        self.done.waiting.insert((service, key.to_owned()), why.into());
    }

    fn network_id(&self, mac: &str) -> String {
        self.settings.name(&format!("net-{}", mac.replace(':', "")))
    }

    fn vip_id(&self, address: &str) -> String {
        self.settings.name(&format!("vip-{address}"))
    }

    fn networks(&mut self) {
        for nic in self.state.nics.values().filter(|nic| nic.category != "System") {
            if nic.ip.is_empty() {
                self.wait(Service::Nic, &nic.mac, "has no IPv4 address, and IPv6 is not served yet");
            } else if nic.category == "Private" {
                match network(nic, self.settings) {
                    Ok(mut body) => {
                        if let Some(on) = self.state.distributed_routing {
                            // Where the operator has taken `gateway.zsnp` away since, the network must not fail.
                            body["distributed_routing"] = (on && self.settings.has_zsnp).into();
                        }
                        _ = self.put(Kind::VpcNetwork, &format!("net-{}", nic.mac.replace(':', "")), body)
                    }
                    Err(why) => self.wait(Service::Nic, &nic.mac, why),
                }
            } else if self.public_network(&nic.ip).is_none() {
                let why = format!("no public network of agent {} contains {}", self.settings.id, nic.ip);
                self.wait(Service::Nic, &nic.mac, why);
            }
        }
    }

    fn public_network(&self, address: &str) -> Option<&PublicNetwork> {
        let address = text::address("", address).ok()?;
        self.settings.public_networks.iter().find(|network| network.cidr.contains(&address))
    }

    /// Those that were pushed, and the router's own public addresses.
    fn vips(&mut self) {
        let own = subnets(self.state, "Public").map(|own| own.address.to_string());
        let pushed = self.state.vips.keys().cloned();
        let all: BTreeSet<String> = own.chain(pushed).collect();
        for address in all {
            match self.public_network(&address).map(|network| network.id.to_string()) {
                Some(network) => {
                    let body = json!({ "public_network": network, "address": address });
                    self.put(Kind::Vip, &format!("vip-{address}"), body);
                }
                None => {
                    let why = format!("no public network of agent {} contains it", self.settings.id);
                    self.wait(Service::Vip, &address, why);
                }
            }
        }
    }

    /// The NIC of a VM: its document has an id of its own, which stays whatever network the address is on.
    fn vm(&mut self, address: &str) -> Result<String, String> {
        let (rest, body) = self.locate(address)?;
        Ok(self.put(Kind::Nic, &rest, body))
    }

    fn locate(&self, address: &str) -> Result<(String, Value), String> {
        let ip = text::address("address", address)?;
        let network =
            self.network_of(ip).ok_or_else(|| format!("no private network of the router contains {ip}"))?;
        if network.address == ip {
            return Err(format!("{ip} is the router's own address"));
        }
        let body = json!({ "network": self.network_id(&network.nic.mac), "address": ip });
        Ok((format!("nic-{ip}"), body))
    }

    /// Networks do not overlap: only the last one that begins at or before an address can contain it.
    fn network_of(&self, ip: Ipv4Addr) -> Option<&Private<'_>> {
        let after = self.private.partition_point(|network| network.prefix.network() <= ip);
        self.private[..after].last().filter(|network| network.prefix.contains(&ip))
    }

    /// A network leaves by one public network: that of the default route, or else the one of the lowest MAC.
    fn snats(&mut self) {
        let state = self.state;
        let default = super::default_nic(state).map(|nic| nic.mac.clone());
        let mut by_network: BTreeMap<String, Vec<(&String, &Snat)>> = BTreeMap::new();
        for (key, snat) in state.snats.iter().filter(|(_, snat)| snat.state) {
            let mac = text::mac_or_none(&snat.private_nic_mac);
            by_network.entry(mac).or_default().push((key, snat));
        }
        for (mac, mut all) in by_network {
            let is_default = |snat: &Snat| Some(text::mac_or_none(&snat.public_nic_mac)) == default;
            all.sort_by_key(|(key, snat)| (!is_default(snat), *key));
            for (place, (key, snat)) in all.into_iter().enumerate() {
                if place > 0 {
                    self.wait(
                        Service::Snat,
                        key,
                        "its network leaves by another public network: one at a time is served",
                    );
                    continue;
                }
                let Some(vip) = self.used_vip(&snat.public_ip) else {
                    self.wait(Service::Snat, key, format!("there is no VIP {}", snat.public_ip));
                    continue;
                };
                let body = json!({ "network": self.network_id(&mac), "vips": [vip] });
                self.put(Kind::Snat, &format!("snat-{}", mac.replace(':', "")), body);
            }
        }
    }

    /// The document of a VIP that a service names, whether it is there yet or not.
    fn used_vip(&self, address: &str) -> Option<String> {
        text::address("", address).ok().map(|address| self.vip_id(&address.to_string()))
    }

    /// One for each VM: of several the lowest VIP's.
    fn eips(&mut self) {
        let state = self.state;
        let mut by_vm: BTreeMap<Ipv4Addr, Vec<(Ipv4Addr, &String)>> = BTreeMap::new();
        for (key, eip) in state.eips.iter() {
            let vm = text::address("", &eip.guest_ip).ok();
            let vip = text::address("", &eip.vip_ip).ok();
            if let (Some(vm), Some(vip)) = (vm, vip) {
                by_vm.entry(vm).or_default().push((vip, key));
            }
        }
        for (vm, mut vips) in by_vm {
            vips.sort_unstable();
            for (place, (vip, key)) in vips.into_iter().enumerate() {
                if place > 0 {
                    self.wait(Service::Eip, key, format!("VM {vm} has another EIP: one at a time is served"));
                    continue;
                }
                match self.vm(&vm.to_string()) {
                    Ok(nic) => {
                        let body = json!({ "vip": self.vip_id(&vip.to_string()), "nic": nic });
                        self.put(Kind::Eip, &format!("eip-{vip}"), body);
                    }
                    Err(why) => self.wait(Service::Eip, key, why),
                }
            }
        }
    }

    fn port_forwards(&mut self) {
        let state = self.state;
        for (key, rule) in state.port_forwards.iter() {
            match self.vm(&rule.private_ip).and_then(|nic| Ok((nic, forward(rule)?))) {
                Ok((nic, mut body)) => {
                    body["nic"] = nic.into();
                    body["vip"] = self.used_vip(&rule.vip_ip).into();
                    self.put(Kind::PortForward, &format!("pf-{key}"), body);
                }
                Err(why) => self.wait(Service::PortForward, key, why),
            }
        }
    }

    /// A document for each: the VIP of one says nothing about that of another. VMs get documents where all of them can be named.
    fn listeners(&mut self) {
        let state = self.state;
        for (key, listener) in state.listeners.iter() {
            let certificate = state.certificates.get(&listener.certificate_uuid);
            if listener.mode == "https" && certificate.is_none() {
                let why = format!("certificate {} is not there yet", text::shown(&listener.certificate_uuid));
                self.wait(Service::Listener, key, why);
                continue;
            }
            let groups = listener.server_groups.iter().flat_map(|group| &group.backend_servers);
            let vms: BTreeSet<&String> = groups.map(|server| &server.ip).chain(&listener.nic_ips).collect();
            let settings = self.settings;
            let certificate_id = |uuid: &str| settings.name(&format!("cert-{uuid}"));
            let nic_of = |ip: &str| self.locate(ip).map(|(rest, _)| settings.name(&rest));
            match balance::document(listener, &nic_of, &certificate_id) {
                Ok(body) => {
                    for ip in vms {
                        // All were found just now.
                        self.vm(ip).ok();
                    }
                    if let Some(certificate) = certificate.filter(|_| listener.mode == "https") {
                        let file = self.settings.certificates.join(format!("{}.pem", certificate.uuid));
                        let rest = format!("cert-{}", certificate.uuid);
                        self.put(Kind::Certificate, &rest, json!({ "file": file }));
                        self.done.certificates.insert(file, certificate.certificate.clone());
                    }
                    let body = json!({ "vip": self.used_vip(&listener.vip), "listeners": [body] });
                    self.put(Kind::LoadBalancer, &format!("lb-{key}"), body);
                }
                Err(why) => self.wait(Service::Listener, key, why),
            }
        }
    }

    fn qos(&mut self) {
        let state = self.state;
        let mut shared: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for limit in state.qos.values() {
            let vip = self.vip_id(&limit.vip);
            let uuid = &limit.shared_qos_uuid;
            let (rest, mut body) = if uuid.is_empty() {
                match limit.port {
                    0 => (format!("qos-{}", limit.vip), json!({ "vip": vip })),
                    // A packet of the port is charged to the port's limit alone.
                    port => {
                        let body = json!({ "vip": vip, "port": port.to_string(), "independent": true });
                        (format!("qos-{}-{port}", limit.vip), body)
                    }
                }
            } else {
                let vips = shared.entry(uuid).or_default();
                vips.push(vip);
                (format!("qos-{uuid}"), json!({ "vips": vips }))
            };
            for (key, rate) in [("inbound", limit.inbound_bandwidth), ("outbound", limit.outbound_bandwidth)]
            {
                if rate > 0 {
                    body[key] = format!("{rate}bit/s").into();
                }
            }
            self.put(Kind::Qos, &rest, body);
        }
    }

    fn routes(&mut self) {
        let state = self.state;
        for (key, route) in state.routes.iter() {
            match self.route(route) {
                Ok(body) => _ = self.put(Kind::Route, &format!("route-{key}"), body),
                Err(why) => self.wait(Service::Route, key, why),
            }
        }
        // Without any, what has a public address leaves by its own network.
        if let Some(nic) =
            super::default_nic(state).filter(|nic| nic.category == "Private" && !nic.gateway.is_empty())
        {
            let route = Route { destination: "0.0.0.0/0".into(), target: nic.gateway.clone(), distance: 1 };
            if let Ok(body) = self.route(&route) {
                self.put(Kind::Route, "route-default", body);
            }
        }
    }

    fn route(&self, route: &Route) -> Result<Value, String> {
        let mut body =
            json!({ "vpc": self.settings.vpc, "destination": route.destination, "priority": route.distance });
        if route.target.is_empty() {
            body["blackhole"] = true.into();
            return Ok(body);
        }
        let hop = text::address("target", &route.target)?;
        match self.network_of(hop) {
            Some(network) if network.address == hop => Err(format!("{hop} is the router's own address")),
            Some(_) => {
                body["next_hop"] = hop.to_string().into();
                Ok(body)
            }
            None => Err(match self.public_network(&route.target) {
                Some(network) => {
                    format!("{hop} is on public network {}: next hops there are not served", network.id)
                }
                None => format!("no private network of the router contains {hop}"),
            }),
        }
    }

    /// What is kept for services that are not built yet.
    fn unserved(&mut self) {
        let state = self.state;
        for key in state.dns.keys() {
            self.wait(Service::Dns, key, "DNS forwarding is not built yet");
        }
        for key in state.dhcp.keys() {
            self.wait(Service::Dhcp, key, "DHCP is not built yet");
        }
    }
}

/// The network behind a private NIC.
fn network(nic: &Nic, settings: &Settings) -> Result<Value, String> {
    let address = text::address("ip", &nic.ip)?;
    let prefix = text::network("netmask", address, &nic.netmask)?;
    let mut body = json!({ "vpc": settings.vpc, "cidr": prefix.to_string(), "gateway": address });
    let port = || {
        let name = &nic.physical_interface;
        let why = || format!("agent {} has no port for interface {}", settings.id, text::shown(name));
        settings.ports.get(name).map(ToString::to_string).ok_or_else(why)
    };
    match nic.l2type.as_str() {
        "VxlanNetwork" | "HardwareVxlanNetwork" => {
            let pool =
                settings.pool.as_ref().ok_or_else(|| format!("agent {} has no vxlan_pool", settings.id))?;
            body["vxlan"] = json!({ "pool": pool, "vni": number("vni", nic.vni, 16_777_215)? });
        }
        "L2VlanNetwork" => body["vlan"] = json!({ "port": port()?, "id": number("vni", nic.vni, 4094)? }),
        "L2NoVlanNetwork" => body["port"] = port()?.into(),
        other => return Err(format!("l2type: {} is not served", text::shown(other))),
    }
    if nic.mtu != 0 {
        body["mtu"] = nic.mtu.into();
    }
    Ok(body)
}

fn number(key: &str, number: i64, most: i64) -> Result<i64, String> {
    if (1..=most).contains(&number) { Ok(number) } else { Err(format!("{key}: {number} is out of range")) }
}

fn forward(rule: &PortForward) -> Result<Value, String> {
    let port = |number| text::port("port", number);
    let ports = text::ports(port(rule.vip_port_start)?, port(rule.vip_port_end)?);
    let target = text::ports(port(rule.private_port_start)?, port(rule.private_port_end)?);
    let protocol = rule.protocol_type.to_ascii_lowercase();
    let mut body = json!({ "protocol": protocol, "ports": ports, "target_ports": target });
    if !rule.allowed_cidr.trim().is_empty() {
        body["allowed_cidr"] = text::cidr("allowedCidr", &rule.allowed_cidr)?.to_string().into();
    }
    Ok(body)
}
