//! Which rate limits do the packets of a flow pass? Those of the VIP and port that it is translated to, and those of the
//! NICs at its ends.

use arrayvec::ArrayVec;

use crate::{
    flow::{FlowKey, Program},
    policer::{BUCKETS_MAX, Bucket, BucketId, Policers},
    stage::translation::{self, Connection},
    table::{Tables, Vrf},
    types::{NetId, VrfId},
    wire::translate::Side,
};

/// What a program that was just decided for `key` says of rate limits. Cost where nothing is limited: one load.
#[inline(always)]
pub fn policers(tables: &Tables, key: &FlowKey, program: &Program) -> Policers {
    if tables.policing.is_empty() { Policers::NONE } else { limited(tables, key, program) }
}

/// Whether a packet that is not translated, from `vrf` to a network, passes any. Cost where nothing is limited: one load.
#[inline(always)]
pub fn between(tables: &Tables, vrf: &Vrf, egress: NetId, key: &FlowKey) -> bool {
    !tables.policing.is_empty() && any_between(tables, vrf, egress, key)
}

#[cold]
#[inline(never)]
fn any_between(tables: &Tables, vrf: &Vrf, egress: NetId, key: &FlowKey) -> bool {
    let egress = tables.net(egress).and_then(|net| tables.vrf(net.vrf));
    vrf.limited(key.source()).is_some() || egress.is_some_and(|vrf| vrf.limited(key.destination()).is_some())
}

#[cold]
#[inline(never)]
fn limited(tables: &Tables, key: &FlowKey, program: &Program) -> Policers {
    let public = if program.translation.is_none() { Policers::NONE } else { of_vip(tables, key, program) };
    if nics(tables, key, program).iter().any(Option::is_some) { public.and_nics() } else { public }
}

fn of_vip(tables: &Tables, key: &FlowKey, program: &Program) -> Policers {
    let connection = Connection::of(key, program);
    let vip =
        translation::vip_at(tables, connection.public, connection.address).and_then(|id| tables.vip(id));
    vip.map_or(Policers::NONE, |vip| {
        vip.limits.policers(program.translation.side(), connection.protocol, connection.port)
    })
}

/// The buckets of the NIC that sends and of the one that gets the packets.
fn nics(tables: &Tables, key: &FlowKey, program: &Program) -> [Option<BucketId>; 2] {
    let translation = program.translation;
    let limits = |vrf: VrfId, address| tables.vrf(vrf).and_then(|vrf| Vrf::limited(vrf, address));
    let sends = || limits(program.inside, key.source()).and_then(|nic| nic.outbound);
    let gets = |vrf, address| limits(vrf, address).and_then(|nic| nic.inbound);
    if translation.is_none() {
        let egress = tables.net(program.egress).map(|net| net.vrf);
        [sends(), egress.and_then(|vrf| gets(vrf, key.destination()))]
    } else {
        match translation.side() {
            Side::Source => [sends(), None],
            Side::Destination => [None, gets(program.inside, translation.address())],
        }
    }
}

/// The buckets that a packet of this program passes.
pub fn buckets<'t>(
    tables: &'t Tables,
    key: &FlowKey,
    program: &Program,
) -> ArrayVec<&'t Bucket, BUCKETS_MAX> {
    let mut buckets = ArrayVec::new();
    if !program.translation.is_none() {
        buckets.extend(tables.policing.chain(program.policers, program.translation.side()));
    }
    if program.policers.has_nics() {
        let nics = nics(tables, key, program).into_iter().flatten();
        buckets.extend(nics.filter_map(|id| tables.policing.bucket(id)));
    }
    buckets
}
