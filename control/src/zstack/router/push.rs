//! Commands to what is kept. Each is checked as a whole before anything of it is kept; creating is replacing, and what is absent is
//! deleted already.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    balance,
    state::{Shelf, State},
    text,
};
use crate::zstack::{
    Endpoint,
    body::{
        self, Certificate, Certificates, ChangeDefaultNic, DhcpEntries, DhcpServer, DhcpServers,
        DistributedRouting, Dns, DnsServer, Eip, Eips, Listener, Listeners, Nic, Nics, OneEip, OneSnat,
        PortForward, PortForwards, RemovedSnats, Route, Routes, Snat, SnatServiceState, SyncSnats, VipQos,
        VipQosSettings, Vips, VpcDns,
    },
};

/// Most objects that a router keeps, of all services together: a manager that is wrong or hostile fills no memory.
pub(super) const OBJECTS_MAX: usize = 200_000;
/// zebra's distance of a static route.
const DISTANCE_DEFAULT: i64 = 1;
const DISTANCE_MAX: i64 = 254;
/// What our rate limits can be, in bit/s.
const RATES: std::ops::RangeInclusive<i64> = 8_000..=400_000_000_000;

/// Why a command was refused, in words for the manager's operator.
pub(super) type Refusal = String;

/// Changes `state` as a command says, and returns the reply. After an error `state` is of no use.
pub(super) fn push(state: &mut State, endpoint: Endpoint, body: &Value) -> Result<Value, Refusal> {
    use Endpoint as E;
    match endpoint {
        E::ConfigureNic => configure_nics(state, read(body)?)?,
        E::RemoveNic => remove_nics(state, &read(body)?)?,
        E::NicDefaultAction => default_actions(state, &read(body)?),
        E::ChangeDefaultNic => change_default_nic(state, read(body)?)?,
        E::CreateVip => create_vips(state, read(body)?)?,
        E::RemoveVip => remove_vips(state, &read(body)?)?,
        E::SetVipQos | E::SyncVipQos => set_qos(state, read(body)?)?,
        E::DeleteVipQos => delete_qos(state, &read(body)?)?,
        E::SyncSnat => sync_snats(state, read(body)?)?,
        E::RemoveSnat => remove_snats(state, &read(body)?)?,
        E::SetSnat => put_snat(&mut state.snats, read::<OneSnat>(body)?.snat)?,
        E::SetSnatState => return set_snat_state(state, read(body)?),
        E::CreatePortForward => put_all(&mut state.port_forwards, keyed_forwards(read(body)?)?),
        E::RevokePortForward => revoke_forwards(state, &read(body)?)?,
        E::SyncPortForward => state.port_forwards.replace(keyed_forwards(read(body)?)?),
        E::CreateEip => put_all(&mut state.eips, [keyed_eip(read::<OneEip>(body)?.eip)?]),
        E::RemoveEip => remove_eip(state, &read(body)?)?,
        E::SyncEip => {
            let eips = read::<Eips>(body)?.eips.into_iter().map(keyed_eip);
            state.eips.replace(eips.collect::<Result<Vec<_>, _>>()?);
        }
        E::RefreshLb => refresh_listeners(state, read(body)?)?,
        E::DeleteLb => delete_listeners(state, &read(body)?)?,
        E::CreateCertificate => create_certificate(state, read(body)?)?,
        E::CreateCertificates => {
            for (uuid, certificate) in read::<Certificates>(body)?.certs {
                create_certificate(state, Certificate { uuid, certificate })?;
            }
        }
        E::DeleteCertificate => _ = state.certificates.remove(&read::<Certificate>(body)?.uuid),
        E::RefreshDhcp => state.dhcp.replace(keyed_dhcp(read(body)?)?),
        E::StartDhcp => put_all(&mut state.dhcp, keyed_dhcp(read(body)?)?),
        E::StopDhcp => stop_dhcp(state, &read(body)?)?,
        E::AddDhcp => add_dhcp(state, read(body)?)?,
        E::RemoveDhcp => remove_dhcp(state, &read(body)?)?,
        E::SetDns => state.dns.replace(keyed_dns(read::<Dns>(body)?.dns)?),
        E::RemoveDns => remove_dns(state, &read(body)?),
        E::SetVpcDns => set_vpc_dns(state, &read(body)?)?,
        E::SyncRoutes => sync_routes(state, read(body)?)?,
        E::DistributedRouting => return Ok(switch_direct(state, &read(body)?)),
        _ => {}
    }
    if state.len() > OBJECTS_MAX {
        return Err(format!("the router would have more than {OBJECTS_MAX} objects"));
    }
    Ok(body::success())
}

fn read<T: DeserializeOwned>(body: &Value) -> Result<T, Refusal> {
    body::read(body).map_err(|error| error.to_string())
}

fn put_all<T>(shelf: &mut Shelf<T>, all: impl IntoIterator<Item = (String, T)>) {
    all.into_iter().for_each(|(key, value)| shelf.put(key, value));
}

/// What a delete of something absent comes to: fine on a NIC that is there, an error where the NIC is none of ours. A NIC that is not
/// named is not looked for.
fn absent(state: &State, nic: &str) -> Result<(), Refusal> {
    if nic.is_empty() || state.nics.contains_key(&text::mac_or_none(nic)) {
        return Ok(());
    }
    Err(format!("this router has no NIC with MAC {}", text::shown(nic)))
}

fn configure_nics(state: &mut State, Nics { nics }: Nics) -> Result<(), Refusal> {
    for nic in nics {
        let mac = text::mac("mac", &nic.mac)?;
        check_nic(&nic)?;
        state.removed.remove(&mac);
        if let Some(default) = state.default_nic.as_mut().filter(|default| default.mac == mac) {
            default.gateway.clone_from(&nic.gateway);
        }
        state.nics.insert(mac.clone(), Nic { mac, ..nic });
    }
    Ok(())
}

/// What of a NIC cannot be right, whatever else comes.
pub(in crate::zstack) fn check_nic(nic: &Nic) -> Result<(), Refusal> {
    let named = |error: Refusal| format!("NIC {}: {error}", text::shown(&nic.mac));
    if !matches!(nic.category.as_str(), "Private" | "Public" | "System") {
        let category = text::shown(&nic.category);
        return Err(named(format!("category: {category} is none of Private, Public and System")));
    }
    if !nic.ip.is_empty() {
        let ip = text::address("ip", &nic.ip).map_err(named)?;
        text::network("netmask", ip, &nic.netmask).map_err(named)?;
    }
    if nic.mtu != 0 && !(576..=9216).contains(&nic.mtu) {
        return Err(named(format!("mtu: {} is out of range; give 576 to 9216", nic.mtu)));
    }
    Ok(())
}

fn remove_nics(state: &mut State, Nics { nics }: &Nics) -> Result<(), Refusal> {
    for nic in nics {
        let mac = text::mac("mac", &nic.mac)?;
        if state.nics.remove(&mac).is_none() {
            return Err(format!("this router has no NIC with MAC {mac}"));
        }
        state.default_nic.take_if(|default| default.mac == mac);
        state.removed.insert(mac);
    }
    Ok(())
}

fn default_actions(state: &mut State, Nics { nics }: &Nics) {
    for nic in nics {
        if let Some(known) = state.nics.get_mut(&text::mac_or_none(&nic.mac)) {
            known.firewall_default_action.clone_from(&nic.firewall_default_action);
        }
    }
}

fn change_default_nic(
    state: &mut State,
    ChangeDefaultNic { new_nic }: ChangeDefaultNic,
) -> Result<(), Refusal> {
    let mac = text::mac("newNic.mac", &new_nic.mac)?;
    if !new_nic.gateway.is_empty() {
        text::address("newNic.gateway", &new_nic.gateway)?;
    }
    state.default_nic = Some(Nic { mac, ..new_nic });
    Ok(())
}

fn create_vips(state: &mut State, Vips { vips }: Vips) -> Result<(), Refusal> {
    for vip in vips {
        if vip.ip.is_empty() && !vip.ip6.is_empty() {
            return Err(format!("VIP {}: IPv6 is not served yet", text::shown(&vip.ip6)));
        }
        state.vips.put(text::address("ip", &vip.ip)?.to_string(), vip);
    }
    Ok(())
}

/// With its limits, as the stock agent does.
fn remove_vips(state: &mut State, Vips { vips }: &Vips) -> Result<(), Refusal> {
    for vip in vips.iter().filter(|vip| !vip.ip.is_empty()) {
        let ip = text::address("ip", &vip.ip)?.to_string();
        let was = state.vips.remove(&ip);
        state.qos.retain(|limit| limit.vip != ip);
        if !was {
            absent(state, &vip.owner_ethernet_mac)?;
        }
    }
    Ok(())
}

/// Answers with a string, as the stock agent does.
fn switch_direct(state: &mut State, DistributedRouting { enabled }: &DistributedRouting) -> Value {
    state.distributed_routing = Some(*enabled);
    json!({ "enabled": enabled.to_string() })
}

fn qos_key(vip: &str, port: i64) -> String {
    format!("{vip}/{port}")
}

/// A direction of 0 stays as it is. `sync` replaces nothing, and here it also keeps what is shared together: the stock agent gives
/// each VIP of a shared limit the whole of it then.
fn set_qos(state: &mut State, VipQosSettings { vip_qos_settings }: VipQosSettings) -> Result<(), Refusal> {
    for mut limit in vip_qos_settings {
        limit.vip = text::address("vip", &limit.vip)?.to_string();
        let what = format!("limit of VIP {} port {}", limit.vip, limit.port);
        if limit.port != 0 {
            text::port(&what, limit.port)?;
        }
        for rate in [limit.inbound_bandwidth, limit.outbound_bandwidth].into_iter().filter(|rate| *rate != 0)
        {
            if !RATES.contains(&rate) {
                return Err(format!(
                    "{what}: {rate} bit/s is out of range; give {} to {}",
                    RATES.start(),
                    RATES.end()
                ));
            }
        }
        let shared = limit.port == 0 && !limit.shared_qos_uuid.is_empty();
        if shared {
            text::name("sharedQosUuid", &limit.shared_qos_uuid)?;
            state
                .qos
                .retain(|other| other.vip != limit.vip || other.shared_qos_uuid == limit.shared_qos_uuid);
        } else {
            limit.shared_qos_uuid.clear();
        }
        let key = qos_key(&limit.vip, limit.port);
        let before = state.qos.get(&key).filter(|before| before.shared_qos_uuid == limit.shared_qos_uuid);
        if let Some(before) = before {
            let or = |new: i64, old: i64| if new == 0 { old } else { new };
            limit.inbound_bandwidth = or(limit.inbound_bandwidth, before.inbound_bandwidth);
            limit.outbound_bandwidth = or(limit.outbound_bandwidth, before.outbound_bandwidth);
        }
        if limit.inbound_bandwidth == 0 && limit.outbound_bandwidth == 0 {
            return Err(format!("{what}: no direction has a bandwidth"));
        }
        let same =
            state.qos.values_mut().filter(|other| shared && other.shared_qos_uuid == limit.shared_qos_uuid);
        for other in same {
            other.inbound_bandwidth = limit.inbound_bandwidth;
            other.outbound_bandwidth = limit.outbound_bandwidth;
        }
        state.qos.put(key, limit);
    }
    Ok(())
}

/// Takes away the directions that are given, or both where none is.
fn delete_qos(
    state: &mut State,
    VipQosSettings { vip_qos_settings }: &VipQosSettings,
) -> Result<(), Refusal> {
    for limit in vip_qos_settings {
        let vip = text::address("vip", &limit.vip)?.to_string();
        let key = qos_key(&vip, limit.port);
        let Some(before) = state.qos.get(&key).cloned() else {
            absent(state, &limit.public_nic)?;
            continue;
        };
        let both = limit.inbound_bandwidth == 0 && limit.outbound_bandwidth == 0;
        let left = |asked: i64, was: i64| if both || asked != 0 { 0 } else { was };
        let inbound_bandwidth = left(limit.inbound_bandwidth, before.inbound_bandwidth);
        let outbound_bandwidth = left(limit.outbound_bandwidth, before.outbound_bandwidth);
        if inbound_bandwidth == 0 && outbound_bandwidth == 0 || !before.shared_qos_uuid.is_empty() {
            state.qos.remove(&key);
        } else {
            state.qos.put(key, VipQos { inbound_bandwidth, outbound_bandwidth, ..before });
        }
    }
    Ok(())
}

fn snat_key(snat: &Snat) -> Result<String, Refusal> {
    let public = text::mac("publicNicMac", &snat.public_nic_mac)?;
    Ok(format!("{public} {}", text::mac("privateNicMac", &snat.private_nic_mac)?))
}

fn put_snat(shelf: &mut Shelf<Snat>, snat: Snat) -> Result<(), Refusal> {
    text::address("publicIp", &snat.public_ip)?;
    shelf.put(snat_key(&snat)?, snat);
    Ok(())
}

/// Replaces all of them; `enable: false` leaves none.
fn sync_snats(state: &mut State, SyncSnats { snats, enable }: SyncSnats) -> Result<(), Refusal> {
    let mut all = Shelf::default();
    for snat in snats.into_iter().filter(|snat| enable && snat.state) {
        put_snat(&mut all, snat)?;
    }
    state.snats = all;
    Ok(())
}

fn remove_snats(state: &mut State, RemovedSnats { nat_info }: &RemovedSnats) -> Result<(), Refusal> {
    for snat in nat_info {
        if !state.snats.remove(&snat_key(snat)?) {
            absent(state, &snat.public_nic_mac)?;
        }
    }
    Ok(())
}

fn set_snat_state(
    state: &mut State,
    SnatServiceState { snats, enabled }: SnatServiceState,
) -> Result<Value, Refusal> {
    for snat in snats {
        if enabled {
            put_snat(&mut state.snats, Snat { state: true, ..snat })?;
        } else {
            state.snats.remove(&snat_key(&snat)?);
        }
    }
    Ok(json!({ "serviceStatus": if enabled { "enable" } else { "disable" } }))
}

fn keyed_forwards(PortForwards { rules }: PortForwards) -> Result<Vec<(String, PortForward)>, Refusal> {
    rules.into_iter().map(keyed_forward).collect()
}

fn keyed_forward(rule: PortForward) -> Result<(String, PortForward), Refusal> {
    let uuid = text::name("uuid", &rule.uuid)?;
    let named = |error: Refusal| format!("port forwarding {uuid}: {error}");
    text::address("vipIp", &rule.vip_ip).map_err(named)?;
    text::address("privateIp", &rule.private_ip).map_err(named)?;
    let first = text::port("vipPortStart", rule.vip_port_start).map_err(named)?;
    let last = text::port("vipPortEnd", rule.vip_port_end).map_err(named)?;
    let target_first = text::port("privatePortStart", rule.private_port_start).map_err(named)?;
    let target_last = text::port("privatePortEnd", rule.private_port_end).map_err(named)?;
    if first > last || target_first > target_last || last - first != target_last - target_first {
        return Err(named(format!(
            "ports {first}-{last} and {target_first}-{target_last} are not of one length"
        )));
    }
    if !["tcp", "udp"].contains(&rule.protocol_type.to_ascii_lowercase().as_str()) {
        return Err(named(format!(
            "protocolType: {} is neither TCP nor UDP",
            text::shown(&rule.protocol_type)
        )));
    }
    if !rule.allowed_cidr.trim().is_empty() {
        text::cidr("allowedCidr", &rule.allowed_cidr).map_err(named)?;
    }
    Ok((uuid, rule))
}

fn revoke_forwards(state: &mut State, PortForwards { rules }: &PortForwards) -> Result<(), Refusal> {
    for rule in rules {
        if !state.port_forwards.remove(&rule.uuid) {
            absent(state, &rule.public_mac)?;
        }
    }
    Ok(())
}

fn keyed_eip(eip: Eip) -> Result<(String, Eip), Refusal> {
    let vip = text::address("vipIp", &eip.vip_ip)?.to_string();
    text::address("guestIp", &eip.guest_ip).map_err(|error| format!("EIP {vip}: {error}"))?;
    if eip.snat_inbound_traffic {
        let way_out = "clients would look like the router to the VM; turn off eip.snatInboundTraffic";
        return Err(format!("EIP {vip}: snatInboundTraffic is not served ({way_out})"));
    }
    Ok((vip, eip))
}

fn remove_eip(state: &mut State, OneEip { eip }: &OneEip) -> Result<(), Refusal> {
    let vip = text::address("vipIp", &eip.vip_ip)?.to_string();
    if state.eips.remove(&vip) { Ok(()) } else { absent(state, &eip.public_mac) }
}

/// Each listener alone: those that are absent stay. Without VMs, or of `https` without a certificate, it goes.
fn refresh_listeners(state: &mut State, Listeners { lbs }: Listeners) -> Result<(), Refusal> {
    for listener in lbs {
        let uuid = text::name("listenerUuid", &listener.listener_uuid)?;
        let no_certificate = listener.mode == "https" && listener.certificate_uuid.is_empty();
        if listener.nic_ips.is_empty() || no_certificate {
            state.listeners.remove(&uuid);
            continue;
        }
        balance::check(&listener).map_err(|error| format!("listener {uuid}: {error}"))?;
        state.listeners.put(uuid, listener);
    }
    Ok(())
}

fn delete_listeners(state: &mut State, Listeners { lbs }: &Listeners) -> Result<(), Refusal> {
    for Listener { listener_uuid, public_nic, .. } in lbs {
        if !state.listeners.remove(listener_uuid) {
            absent(state, public_nic)?;
        }
    }
    Ok(())
}

/// A name that is taken by a listener keeps its certificate. The stock agent deletes those that no listener names, so one of them is
/// replaced here.
fn create_certificate(state: &mut State, certificate: Certificate) -> Result<(), Refusal> {
    let uuid = text::name("uuid", &certificate.uuid)?;
    if !certificate.certificate.contains("-----BEGIN ") {
        return Err(format!("certificate {uuid}: is no PEM"));
    }
    let named = state.listeners.values().any(|listener| listener.certificate_uuid == uuid);
    let kept = state.certificates.get(&uuid).filter(|_| named).cloned();
    state.certificates.put(uuid, kept.unwrap_or(certificate));
    Ok(())
}

fn keyed_dhcp(DhcpServers { dhcp_servers }: DhcpServers) -> Result<Vec<(String, DhcpServer)>, Refusal> {
    dhcp_servers.into_iter().map(|server| Ok((text::mac("nicMac", &server.nic_mac)?, server))).collect()
}

/// Just the first one, as the stock agent does.
fn stop_dhcp(state: &mut State, DhcpServers { dhcp_servers }: &DhcpServers) -> Result<(), Refusal> {
    let Some(server) = dhcp_servers.first() else { return Ok(()) };
    if state.dhcp.remove(&text::mac("nicMac", &server.nic_mac)?) {
        Ok(())
    } else {
        absent(state, &server.nic_mac)
    }
}

fn add_dhcp(state: &mut State, DhcpEntries { dhcp_entries }: DhcpEntries) -> Result<(), Refusal> {
    for entry in dhcp_entries {
        let nic = text::mac("vrNicMac", &entry.vr_nic_mac)?;
        let mut server = state.dhcp.get(&nic).cloned().unwrap_or_default();
        server.nic_mac.clone_from(&nic);
        server.dhcp_infos.retain(|other| other.ip != entry.ip && other.mac != entry.mac);
        server.dhcp_infos.push(entry);
        server.dhcp_infos.sort_by(|a, b| (&a.ip, &a.mac).cmp(&(&b.ip, &b.mac)));
        state.dhcp.put(nic, server);
    }
    Ok(())
}

fn remove_dhcp(state: &mut State, DhcpEntries { dhcp_entries }: &DhcpEntries) -> Result<(), Refusal> {
    for entry in dhcp_entries {
        let nic = text::mac("vrNicMac", &entry.vr_nic_mac)?;
        let Some(mut server) = state.dhcp.get(&nic).cloned() else {
            absent(state, &nic)?;
            continue;
        };
        server.dhcp_infos.retain(|other| other.ip != entry.ip || other.mac != entry.mac);
        state.dhcp.put(nic, server);
    }
    Ok(())
}

fn keyed_dns(dns: Vec<DnsServer>) -> Result<Vec<(String, DnsServer)>, Refusal> {
    let key = |server: DnsServer| {
        let ip: std::net::IpAddr = server
            .dns_address
            .trim()
            .parse()
            .map_err(|_| format!("dnsAddress: {} is no address", text::shown(&server.dns_address)))?;
        Ok((format!("{ip} {}", text::mac_or_none(&server.nic_mac)), server))
    };
    dns.into_iter().map(key).collect()
}

fn remove_dns(state: &mut State, Dns { dns }: &Dns) {
    state.dns.retain(|kept| !dns.iter().any(|gone| gone.dns_address == kept.dns_address));
}

fn set_vpc_dns(state: &mut State, VpcDns { dns, nic_mac }: &VpcDns) -> Result<(), Refusal> {
    let each = dns.iter().flat_map(|dns_address| {
        nic_mac.iter().map(|nic_mac| DnsServer { dns_address: dns_address.clone(), nic_mac: nic_mac.clone() })
    });
    state.dns.replace(keyed_dns(each.collect())?);
    Ok(())
}

/// Replaces all of them. The default route is none of them, whoever sends it.
fn sync_routes(state: &mut State, Routes { routes }: Routes) -> Result<(), Refusal> {
    let mut all = Vec::new();
    for mut route in routes {
        let destination = text::cidr("destination", &route.destination)?;
        if destination.prefix_len() == 0 {
            continue;
        }
        route.destination = destination.to_string();
        let named = |error: Refusal| format!("route to {destination}: {error}");
        if !route.target.trim().is_empty() {
            route.target = text::address("target", &route.target).map_err(named)?.to_string();
        }
        if route.distance == 0 {
            route.distance = DISTANCE_DEFAULT;
        }
        if !(1..=DISTANCE_MAX).contains(&route.distance) {
            return Err(named(format!(
                "distance: {} is out of range; give 1 to {DISTANCE_MAX}",
                route.distance
            )));
        }
        let Route { target, distance, .. } = &route;
        let to = if target.is_empty() { "blackhole" } else { target };
        all.push((format!("{}-{}-{to}-{distance}", destination.addr(), destination.prefix_len()), route));
    }
    state.routes.replace(all);
    Ok(())
}
