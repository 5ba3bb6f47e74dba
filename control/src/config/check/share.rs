//! Who may be on a VIP beside whom: one VPC, and no two services that take the same. What is wrong names both.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
};

use super::{At, Known, Lookup, Report};
use crate::config::{Id, Vip, VpcNetwork, nat::Share};

/// An object as the problem of another one names it.
#[derive(Clone, Debug)]
pub(super) struct Party {
    section: Cow<'static, str>,
    index: usize,
    id: Option<String>,
}

impl Party {
    pub(super) fn of(section: impl Into<Cow<'static, str>>, at: At<'_>) -> Party {
        Party { section: section.into(), index: at.index.unwrap_or_default(), id: at.id.map(str::to_owned) }
    }

    fn at(&self) -> At<'_> {
        At { section: &self.section, index: Some(self.index), id: self.id.as_deref() }
    }
}

impl fmt::Display for Party {
    /// `snats[0] (snat-1)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at().party().fmt(f)
    }
}

/// A service that uses a VIP, also where other things about the service are wrong.
#[derive(Debug)]
pub(super) struct Claim {
    party: Party,
    /// Where it names the VIP.
    key: String,
    /// Where it names its ports.
    ports: &'static str,
    vip: String,
    share: Share,
    /// Whose VMs it serves, as far as that is known.
    vpc: Option<Id>,
}

impl Claim {
    pub(super) fn new(
        section: impl Into<Cow<'static, str>>,
        at: At<'_>,
        key: String,
        vip: &str,
        share: Share,
        vpc: Option<Id>,
    ) -> Claim {
        Claim { party: Party::of(section, at), key, ports: "ports", vip: vip.to_owned(), share, vpc }
    }

    /// The same, with its ports under another key.
    pub(super) fn with_ports_at(self, ports: &'static str) -> Claim {
        Claim { ports, ..self }
    }
}

/// All claims of a document.
#[derive(Debug, Default)]
pub(super) struct Shares(Vec<Claim>);

impl Shares {
    pub(super) fn claim(&mut self, claim: Claim) {
        self.0.push(claim);
    }

    /// Reports what does not go together.
    pub(super) fn check(
        &self,
        vips: &Known<Vip>,
        networks: &HashMap<&Id, Vec<&VpcNetwork>>,
        report: &mut Report,
    ) {
        let mut by_vip: BTreeMap<&str, Vec<&Claim>> = BTreeMap::new();
        for claim in &self.0 {
            by_vip.entry(&claim.vip).or_default().push(claim);
        }
        for (name, claims) in by_vip {
            let vip = match vips.find(name) {
                Lookup::Object(vip) => Some(vip),
                Lookup::Broken => None,
                // Every claim has a problem that says so.
                Lookup::Missing => continue,
            };
            one_vpc(&claims, report);
            if !whole(&claims, report) {
                slices(&claims, report);
            }
            if let Some(vip) = vip {
                not_inside(vip, &claims, networks, report);
            }
        }
    }
}

/// A VIP belongs to one VPC.
fn one_vpc(claims: &[&Claim], report: &mut Report) {
    let mut known = claims.iter().filter_map(|claim| Some((claim, claim.vpc.as_ref()?)));
    let Some((first, vpc)) = known.next() else { return };
    for (claim, other) in known.filter(|(_, other)| *other != vpc) {
        let what = format!("belongs to VPC {vpc} by {} already; this is for VPC {other}", first.party);
        report.clash(claim.party.at(), &claim.key, &claim.vip, what, "give each VPC VIPs of its own");
    }
}

/// Who takes the whole VIP is alone on it. Returns whether there is one.
fn whole(claims: &[&Claim], report: &mut Report) -> bool {
    let Some(owner) = claims.iter().copied().find(|claim| claim.share == Share::Whole) else { return false };
    for claim in claims.iter().filter(|claim| !std::ptr::eq(**claim, owner)) {
        let what = format!("belongs to {} alone", owner.party);
        report.clash(claim.party.at(), &claim.key, &claim.vip, what, "use another VIP for one of them");
    }
    true
}

/// No port has two owners.
fn slices(claims: &[&Claim], report: &mut Report) {
    let mut slices: Vec<(Share, usize)> = claims
        .iter()
        .enumerate()
        .filter(|(_, claim)| matches!(claim.share, Share::Slice(_)))
        .map(|(i, claim)| (claim.share, i))
        .collect();
    slices.sort_unstable();
    // In the order of their first ports, it is enough to compare with the one that reaches furthest.
    let mut furthest: Option<(Share, usize)> = None;
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (share, i) in slices {
        match furthest {
            Some((far, j)) if far.clashes(share) => {
                found.push((i.max(j), i.min(j)));
                if ends_after(share, far) {
                    furthest = Some((share, i));
                }
            }
            _ => furthest = Some((share, i)),
        }
    }
    found.sort_unstable();
    for (later, earlier) in found {
        let (claim, other) = (claims[later], claims[earlier]);
        let what = format!("of {} overlaps {} of {}", claim.vip, other.share, other.party);
        report.clash(claim.party.at(), claim.ports, claim.share, what, "set them apart, or use another VIP");
    }
}

fn ends_after(a: Share, b: Share) -> bool {
    matches!((a, b), (Share::Slice(a), Share::Slice(b)) if a.last > b.last)
}

/// A VPC that has the VIP's address inside could not reach the VIP.
fn not_inside(vip: &Vip, claims: &[&Claim], networks: &HashMap<&Id, Vec<&VpcNetwork>>, report: &mut Report) {
    let Some((claim, vpc)) = claims.iter().find_map(|claim| Some((claim, claim.vpc.as_ref()?))) else {
        return;
    };
    let inside = networks.get(vpc).into_iter().flatten().find(|network| network.cidr.contains(&vip.address));
    if let Some(network) = inside {
        let what = format!(
            "has the address {}, which is inside {} of network {} of the same VPC",
            vip.address, network.cidr, network.id
        );
        report.clash(claim.party.at(), &claim.key, &claim.vip, what, "choose subnets apart from public ones");
    }
}
