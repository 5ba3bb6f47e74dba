//! Routes.

use serde_json::json;

use super::expect;

#[test]
fn routes() {
    let route = |destination: &str, key: &str, value: &str| {
        let mut route = json!({"vpc": "vpc-1", "destination": destination});
        route[key] = json!(value);
        route
    };
    expect(&[
        (
            &[("/routes/-", json!({"destination": "10.9.0.0/16", "blackhole": true}))],
            &["routes[2] (10.9.0.0/16): belongs to no table; give `vpc` or `public_network`"],
        ),
        (
            &[(
                "/routes/-",
                json!({"vpc": "vpc-1", "public_network": "inet", "destination": "10.9.0.0/16", "blackhole": true}),
            )],
            &["routes[2] (10.9.0.0/16): belongs to two tables; keep one of `vpc` and `public_network`"],
        ),
        (
            &[("/routes/-", json!({"vpc": "vpc-1", "destination": "10.9.0.0/16", "blackhole": false}))],
            &[
                "routes[2] (10.9.0.0/16): leads nowhere; give exactly one of `next_hop`, `blackhole: true`, `via_public` and `via_vpc`",
            ],
        ),
        (
            &[(
                "/routes/-",
                json!({"vpc": "vpc-1", "destination": "10.9.0.0/16", "blackhole": true, "next_hop": "10.1.2.9"}),
            )],
            &[
                "routes[2] (10.9.0.0/16): has more than one target; keep exactly one of `next_hop`, `blackhole: true`, `via_public` and `via_vpc`",
            ],
        ),
        (
            &[("/routes/-", json!({"vpc": "vpc-1", "destination": "10.9.0.0/16", "blackhole": 1}))],
            &["routes[2].blackhole: 1 is not true or false; give true or false"],
        ),
        (
            &[("/routes/-", route("10.9.0.0/16", "via_vpc", "vpc-2"))],
            &[
                "routes[2].via_vpc (10.9.0.0/16): vpc-2 is for routes of a public network; nothing goes from one VPC to another; remove the route",
            ],
        ),
        (
            &[("/routes/-", route("10.9.0.0/16", "via_public", "inettt"))],
            &[
                "routes[2].via_public (10.9.0.0/16): inettt is no id in public_networks; add it to public_networks or name one that is there",
            ],
        ),
        (
            &[(
                "/routes/-",
                json!({"public_network": "inet", "destination": "10.9.0.0/16", "via_public": "inet"}),
            )],
            &[
                "routes[2].via_public (10.9.0.0/16): inet is for routes of a VPC; give a `next_hop`, or lead into a VPC with `via_vpc`",
            ],
        ),
        (
            &[(
                "/routes/-",
                json!({"public_network": "inet", "destination": "10.1.0.0/16", "via_vpc": "vpc-1"}),
            )],
            &[],
        ),
        (
            &[("/routes/-", route("10.9.0.0", "next_hop", "10.1.2.9"))],
            &[
                "routes[2].destination (10.9.0.0): 10.9.0.0 is no address with prefix length; give both, as in 192.0.2.0/24",
            ],
        ),
        (
            &[("/routes/-", route("224.1.0.0/16", "next_hop", "10.1.2.9"))],
            &[
                "routes[2].destination (224.1.0.0/16): 224.1.0.0/16 is in the multicast range 224.0.0.0/4, which is never forwarded; remove the route",
            ],
        ),
        (&[("/routes/-", route("10.9.3.7/16", "next_hop", "10.1.2.9"))], &[]),
        (
            &[("/routes/-", route("198.51.100.77/24", "next_hop", "10.1.2.9"))],
            &["routes[2] (198.51.100.0/24): is the same route as routes[0]; remove one of them"],
        ),
        (&[("/routes/-", route("198.51.100.0/24", "next_hop", "10.1.2.10"))], &[]),
        (
            &[("/routes/-", route("10.9.0.0/16", "next_hop", "10.99.0.1"))],
            &[
                "routes[2].next_hop (10.9.0.0/16): 10.99.0.1 is off-link and no other route leads to it (the default route does not count); give an address in a subnet of this table, or add a route to it",
            ],
        ),
        (&[("/routes/-", route("10.9.0.0/16", "next_hop", "198.51.100.1"))], &[]),
        (
            &[("/routes/-", route("10.9.0.0/16", "next_hop", "10.9.0.1"))],
            &[
                "routes[2].next_hop (10.9.0.0/16): 10.9.0.1 leads back to this route; give a next hop that is on-link",
            ],
        ),
        (
            &[
                ("/routes/-", route("10.9.0.0/16", "next_hop", "10.8.0.1")),
                ("/routes/-", route("10.8.0.0/16", "next_hop", "10.9.0.1")),
            ],
            &[
                "routes[2].next_hop (10.9.0.0/16): 10.8.0.1 leads back to this route; give a next hop that is on-link",
                "routes[3].next_hop (10.8.0.0/16): 10.9.0.1 leads back to this route; give a next hop that is on-link",
            ],
        ),
        (
            &[("/routes/-", route("10.9.0.0/16", "next_hop", "10.1.2.1"))],
            &[
                "routes[2].next_hop (10.9.0.0/16): 10.1.2.1 is our own address; give the address of the next router",
            ],
        ),
        (
            &[("/routes/-", route("10.9.0.0/16", "next_hop", "10.1.2.255"))],
            &[
                "routes[2].next_hop (10.9.0.0/16): 10.1.2.255 is the network or broadcast address of a subnet; give the address of a host",
            ],
        ),
        (
            &[
                ("/routes/-", json!({"vpc": "vpc-1", "destination": "10.8.0.0/16", "blackhole": true})),
                ("/routes/-", route("10.9.0.0/16", "next_hop", "10.8.0.1")),
            ],
            &[
                "routes[3].next_hop (10.9.0.0/16): 10.8.0.1 is reached by a route that drops or leaves the table; give a next hop that is on-link",
            ],
        ),
        (
            &[(
                "/routes/-",
                json!({"public_network": "inet", "destination": "10.9.0.0/16", "next_hop": "10.1.2.9"}),
            )],
            &[
                "routes[2].next_hop (10.9.0.0/16): 10.1.2.9 is off-link and no other route leads to it (the default route does not count); give an address in a subnet of this table, or add a route to it",
            ],
        ),
        (
            &[("/routes/-", json!({"vpc": "vpc-2", "destination": "10.9.0.0/16", "next_hop": "10.1.2.9"}))],
            &[
                "routes[2].next_hop (10.9.0.0/16): 10.1.2.9 is off-link and no other route leads to it (the default route does not count); give an address in a subnet of this table, or add a route to it",
            ],
        ),
    ]);
}
