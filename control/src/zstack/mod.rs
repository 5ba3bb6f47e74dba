//! The ZStack router-agent API: a ZStack management node drives a VPC router of this gateway as if it were the stock router VM.
//!
//! One adapter room: [`body`] reads what the manager writes, [`Router`] keeps what one manager pushed to one router and turns it
//! into documents of our own vocabulary, [`server`] speaks HTTP. Nothing here knows tables, packets or the store: changes of documents
//! go to a [`server::Sink`].
//!
//! What was pushed decides the documents, and nothing else does: they are a function of it ([`Router`] derives all of them and
//! compares), so that the order of pushes, repeated pushes and lost callbacks make no difference.

pub mod body;
mod direct;
mod endpoint;
mod metrics;
mod router;
pub mod server;

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf, time::Duration};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    endpoint::{Endpoint, Serving, Transport},
    router::{Answer, Memory, Object, Router, Status},
};
use crate::config::Id;

/// A kind of document, called as its section in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A certificate.
    Certificate,
    /// A subnet of the VPC.
    VpcNetwork,
    /// A NIC of a VM.
    Nic,
    /// A public address.
    Vip,
    /// A route.
    Route,
    /// Many VMs behind VIPs.
    Snat,
    /// One VM behind a VIP.
    Eip,
    /// Ports of a VIP to ports of a VM.
    PortForward,
    /// A listener on a VIP.
    LoadBalancer,
    /// A rate limit.
    Qos,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 10] = [
        Kind::Certificate,
        Kind::VpcNetwork,
        Kind::Nic,
        Kind::Vip,
        Kind::Route,
        Kind::Snat,
        Kind::Eip,
        Kind::PortForward,
        Kind::LoadBalancer,
        Kind::Qos,
    ];

    /// The kind of a section; `None` for those that agents do not write.
    pub fn of_section(section: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.section() == section)
    }

    /// Its section in the file.
    pub const fn section(self) -> &'static str {
        match self {
            Kind::Certificate => "certificates",
            Kind::VpcNetwork => "vpc_networks",
            Kind::Nic => "nics",
            Kind::Vip => "vips",
            Kind::Route => "routes",
            Kind::Snat => "snats",
            Kind::Eip => "eips",
            Kind::PortForward => "port_forwards",
            Kind::LoadBalancer => "load_balancers",
            Kind::Qos => "qos",
        }
    }
}

/// Documents by kind and id; a body is the object as it stands in the file, with its id.
pub type Documents = BTreeMap<(Kind, String), Value>;

/// One step towards other documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write this object, new or in place of the one of its id.
    Put {
        /// Its kind.
        kind: Kind,
        /// Its name.
        id: String,
        /// All of it.
        body: Value,
    },
    /// Take this object away.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its name.
        id: String,
    },
}

/// The steps from some documents to others: what goes, in the reverse order of kinds, then what comes.
pub fn difference(from: &Documents, to: &Documents) -> Vec<Change> {
    let gone = from.keys().rev().filter(|key| !to.contains_key(*key));
    let gone = gone.map(|(kind, id)| Change::Delete { kind: *kind, id: id.clone() });
    let new = to.iter().filter(|(key, body)| from.get(*key) != Some(*body));
    let new = new.map(|((kind, id), body)| Change::Put { kind: *kind, id: id.clone(), body: body.clone() });
    gone.chain(new).collect()
}

/// A public network that a router may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicNetwork {
    /// Its id in the configuration.
    pub id: Id,
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The upstream next hop.
    pub gateway: Option<Ipv4Addr>,
}

/// What one router agent is: from the gateway's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The agent's name. Ids of its documents begin with it and a dot.
    pub id: Id,
    /// The VPC router that it drives.
    pub vpc: Id,
    /// Where its VXLAN networks are.
    pub pool: Option<Id>,
    /// Our port for each interface of hosts, as the manager calls it; of VLAN and untagged networks.
    pub ports: BTreeMap<String, Id>,
    /// The public networks that it may use.
    pub public_networks: Vec<PublicNetwork>,
    /// NICs that the router has from the start: the bootstrap information.
    pub nics: Vec<body::Nic>,
    /// What the agent says its version is: four dotted numbers, not lower than the manager's.
    pub version: String,
    /// Where certificates are kept.
    pub certificates: PathBuf,
    /// Whether hosts can be taught direct paths: `gateway.zsnp` is there.
    pub has_zsnp: bool,
    /// How long it must be quiet after the last push that follows `/init`, before what was restored and not pushed again goes.
    pub quiet: Duration,
}

impl Settings {
    /// Longest name of an agent, in characters: ids of documents must have room for more.
    pub const ID_LEN_MAX: usize = 16;

    /// The id of a document of this agent.
    fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.id)
    }
}

/// The NICs of the bootstrap information that the manager gives a router VM at boot.
///
/// # Errors
/// What is wrong with the text.
pub fn bootstrap(text: &str) -> Result<Vec<body::Nic>, String> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Bootstrap {
        management_nic: Option<body::Nic>,
        additional_nics: Vec<body::Nic>,
    }
    let body = body::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    let Bootstrap { management_nic, additional_nics } =
        body::read(&body).map_err(|error| error.to_string())?;
    // It is the one of management, whatever it says of itself.
    let management = management_nic.map(|nic| body::Nic { category: "System".into(), ..nic });
    let nics: Vec<body::Nic> = management.into_iter().chain(additional_nics).collect();
    nics.iter().try_for_each(router::check_nic)?;
    Ok(nics)
}

/// What an object of a router belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// NICs of the router.
    Nic,
    /// Public addresses.
    Vip,
    /// SNAT.
    Snat,
    /// Port forwards.
    PortForward,
    /// EIPs.
    Eip,
    /// Listeners.
    Listener,
    /// Certificates.
    Certificate,
    /// Rate limits.
    Qos,
    /// Static routes.
    Route,
    /// DNS servers: kept, not served.
    Dns,
    /// DHCP: kept, not served.
    Dhcp,
}
