//! The REST API over real connections, in front of a real store.

#![expect(clippy::unwrap_used, reason = "a test that has no answer has failed")]

mod objects;

use std::sync::Arc;

use axum::{extract::Request, middleware::map_request};
use tidegate_control::rest::{self, Caller};
use tidegate_tests::rest::{Client, Desk};
use tokio::net::TcpListener;

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

/// An API that is served, and somebody who asks it.
async fn served() -> (Arc<Desk>, Client) {
    let desk = Desk::new(SITE);
    let router = rest::router(Arc::clone(&desk) as _).layer(map_request(async |mut request: Request| {
        request.extensions_mut().insert(Caller { name: "tester".into() });
        request
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (desk, client)
}
