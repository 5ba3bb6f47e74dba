//! `show vips`.

use std::collections::HashMap;

use super::{Scope, Source};
use crate::{
    config::{self, Id, TableKey, nat::Service},
    desired::NetKey,
    show::VipRow,
};

/// A row for each slice of each VIP; one without an owner for a VIP that nobody uses.
pub(super) fn vips(from: &mut Source<'_>, scope: &Scope) -> Vec<VipRow> {
    let gateway = &from.gateway;
    let (desired, config) = (gateway.desired(), gateway.desired().config());
    let mut services: HashMap<&Id, Vec<Service<'_>>> = HashMap::new();
    for service in config.services() {
        for vip in service.vips() {
            services.entry(vip).or_default().push(service);
        }
    }
    let up = |network: &Id| {
        let network = config.public_networks.iter().find(|net| net.id == *network);
        let port = network.and_then(|net| desired.port(&net.port));
        port.and_then(|port| gateway.facts().ports.get(&port)).is_some_and(|fact| fact.up)
    };
    let wanted = |vip: &config::Vip, service: Option<&Service<'_>>| {
        let net = desired.net(&NetKey::Public(vip.public_network.clone()));
        let public = desired.vrf(&TableKey::Public(vip.public_network.clone()));
        let vpc = service.and_then(|service| desired.vrf(&TableKey::Vpc(service.vpc().clone())));
        let of_table = scope.table.is_none() || [public, vpc].contains(&scope.table);
        of_table && (scope.net.is_none() || scope.net == net)
    };
    let mut rows = Vec::new();
    for vip in &config.vips {
        let table = desired.vip(&vip.id).and_then(|id| gateway.compiled().tables.vip(id));
        let traffic = table.map(|table| table.meter.shown()).unwrap_or_default();
        let free = VipRow {
            id: vip.id.to_string(),
            address: vip.address,
            network: vip.public_network.to_string(),
            state: if up(&vip.public_network) { "up" } else { "down" }.to_owned(),
            packets_in: traffic.inbound.packets,
            bytes_in: traffic.inbound.bytes,
            packets_out: traffic.outbound.packets,
            bytes_out: traffic.outbound.bytes,
            vpc: None,
            slice: None,
            service: None,
            owner: None,
            to: None,
            allowed: None,
        };
        let mut services = services.remove(&vip.id).unwrap_or_default();
        services.sort_by_key(|service| (service.share(), service.id()));
        if services.is_empty() && wanted(vip, None) {
            rows.push(free);
            continue;
        }
        let used = services.iter().filter(|service| wanted(vip, Some(service)));
        rows.extend(used.map(|service| row(&free, *service)));
    }
    rows
}

fn row(free: &VipRow, service: Service<'_>) -> VipRow {
    let (kind, to, allowed) = match service {
        Service::Snat(snat) => {
            let whose = snat.network.as_ref().map_or_else(
                || format!("from all of {}", snat.vpc),
                |network| format!("from network {network}"),
            );
            ("snat", whose, None)
        }
        Service::Eip(eip) => ("eip", eip.vm.address.to_string(), None),
        Service::PortForward(forward) => {
            let to = format!("{}:{}", forward.vm.address, forward.target());
            ("port_forward", to, (forward.allowed.prefix_len() > 0).then(|| forward.allowed.to_string()))
        }
        Service::Listener(listener) => {
            let backends = listener.backends.len();
            ("listener", format!("{backends} backends of {}", listener.balancer), None)
        }
    };
    VipRow {
        vpc: Some(service.vpc().to_string()),
        slice: Some(service.share().to_string()),
        service: Some(kind.to_owned()),
        owner: Some(service.id().to_string()),
        to: Some(to),
        allowed,
        ..free.clone()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_fastpath::types::Nanos;

    use super::*;
    use crate::{
        config::parse,
        gateway::Gateway,
        show::{Filter, Table, collect, print},
    };

    fn lines(filter: &Filter) -> Vec<String> {
        let config = parse(include_str!("../../../../docs/examples/nat.yaml")).unwrap();
        let (mut gateway, _workers) = Gateway::new(config, HashMap::new(), Nanos(0), 1).unwrap();
        let (devices, namespaces) = (HashMap::new(), []);
        let now = Nanos(0);
        let source = Source {
            gateway: &mut gateway,
            devices: &devices,
            namespaces: &namespaces,
            proxies: &[],
            control_restarts: 0,
            now,
            uptime: std::time::Duration::ZERO,
        };
        let json = collect(source, Table::Vips, filter).unwrap().json;
        let text = print::table(Table::Vips, &json).unwrap();
        text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn each_slice_of_a_vip_is_a_row() {
        let vpc = |name: &str| Filter { vpc: Some(name.to_owned()), ..Filter::default() };
        assert_eq!(
            lines(&vpc("vpc-1")),
            [
                "mail 203.0.113.94 internet down 0 0 vpc-1 all eip mail 10.1.1.12",
                "pool-a 203.0.113.95 internet down 0 0 vpc-1 rest snat vpc-1-crawl from network crawl",
                "pool-b 203.0.113.96 internet down 0 0 vpc-1 rest snat vpc-1-crawl from network crawl",
                "shared 203.0.113.93 internet down 0 0 vpc-1 tcp 80 port_forward web 10.1.1.11:8080",
                "shared 203.0.113.93 internet down 0 0 vpc-1 tcp 443 port_forward web-tls 10.1.1.11:443",
                "shared 203.0.113.93 internet down 0 0 vpc-1 tcp 2201-2210 port_forward ssh 10.1.2.10:22001-22010 198.51.100.0/24",
                "shared 203.0.113.93 internet down 0 0 vpc-1 rest snat vpc-1 from all of vpc-1",
            ]
        );
        assert_eq!(lines(&vpc("internet")).len(), 9, "all that are on the public network");
        let all = lines(&Filter::default());
        assert!(all.contains(&"spare 203.0.113.98 internet down 0 0 (free)".to_owned()), "{all:?}");
    }
}
