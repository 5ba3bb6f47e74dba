//! The world behind the upstream router of a site.
//!
//! ```text
//!  gateway ---+--- upstream ------------------ transit --------------- server
//!             |    203.0.113.1   198.51.100.128/30     192.0.2.1       192.0.2.10
//!             +--- neighbour 203.0.113.50
//! ```

use std::fs;

use anyhow::Result;

use super::{Netns, Site};

/// The server.
pub const SERVER: &str = "192.0.2.10";

/// What answers for upstream and transit in a trace from inside.
pub const HOPS: [&str; 2] = ["203.0.113.1", "198.51.100.130"];

/// Behind the upstream router.
#[derive(Debug)]
pub struct Internet {
    /// A machine on the public network itself, 203.0.113.50.
    pub neighbour: Netns,
    /// A router on the way.
    pub transit: Netns,
    /// A server, [`SERVER`].
    pub server: Netns,
}

impl Internet {
    /// Builds it behind the upstream router, which knows no private address from then on.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn behind(site: &Site) -> Result<Internet> {
        let upstream = &site.upstream;
        let (neighbour, transit, server) =
            (site.lab.netns("neighbour")?, site.lab.netns("transit")?, site.lab.netns("server")?);
        // The gateway knows the router by this MAC.
        let mac = upstream.mac("tg-public")?;
        upstream.ip(&format!(
            "link add public address {mac} type bridge mcast_snooping 0\n\
             link set public up\n\
             address del 203.0.113.1/24 dev tg-public\n\
             link set tg-public master public\n\
             address add 203.0.113.1/24 dev public\n\
             link add lan type veth peer name eth0 netns {}\n\
             link set lan master public up\n\
             link add core type veth peer name core netns {}\n\
             link set core up\n\
             address add 198.51.100.129/30 dev core\n\
             route add default via 198.51.100.130",
            neighbour.name(),
            transit.name()
        ))?;
        neighbour.ip(
            "address add 203.0.113.50/24 dev eth0\nlink set eth0 up\nroute add default via 203.0.113.1",
        )?;
        transit.ip(&format!(
            "link set core up\n\
             address add 198.51.100.130/30 dev core\n\
             route add default via 198.51.100.129\n\
             link add lan type veth peer name eth0 netns {}\n\
             link set lan up\n\
             address add 192.0.2.1/24 dev lan",
            server.name()
        ))?;
        server.ip(&format!(
            "address add {SERVER}/24 dev eth0\nlink set eth0 up\nroute add default via 192.0.2.1"
        ))?;
        for router in [upstream, &transit] {
            set(router, "net/ipv4/ip_forward", "1")?;
        }
        for netns in [upstream, &transit, &server] {
            set(netns, "net/ipv4/icmp_ratelimit", "0")?;
        }
        Ok(Internet { neighbour, transit, server })
    }

    /// Gives the link between upstream and transit another MTU.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn narrow(&self, site: &Site, mtu: u16) -> Result<()> {
        [&site.upstream, &self.transit]
            .into_iter()
            .try_for_each(|n| n.ip(&format!("link set core mtu {mtu}")))
    }
}

/// Sets a key of `/proc/sys` in a namespace.
fn set(netns: &Netns, key: &str, value: &str) -> Result<()> {
    Ok(netns.enter(|| fs::write(format!("/proc/sys/{key}"), value))??)
}
