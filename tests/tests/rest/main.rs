//! The REST API over real connections, in front of a real store.

#![expect(clippy::unwrap_used, reason = "a test that has no answer has failed")]

mod access;
mod kinds;
mod limits;
mod objects;
mod watch;

use tidegate_tests::rest::{Client, Settings, Site};

/// Two VPCs with a network each, a NIC, a public network with an address.
const SITE: &str = "
gateway: { ports: [{ id: lan, device: net_null0 }] }
public_networks: [{ id: public, port: lan, cidr: 203.0.113.0/24, gateway: 203.0.113.254 }]
vpc_routers: [{ id: red }, { id: blue }]
vpc_networks:
  - { id: red-1, vpc: red, cidr: 10.1.1.0/24, gateway: 10.1.1.1, vlan: { port: lan, id: 101 } }
  - { id: blue-1, vpc: blue, cidr: 10.1.1.0/24, gateway: 10.1.1.1, vlan: { port: lan, id: 102 } }
nics: [{ id: web, network: red-1, address: 10.1.1.10 }]
vips: [{ id: vip, public_network: public, address: 203.0.113.9 }]
";

/// An API that lets anybody in, and somebody who asks it.
fn served() -> (Site, Client) {
    let site = Site::start(SITE, Settings::default());
    let client = site.stranger();
    (site, client)
}
