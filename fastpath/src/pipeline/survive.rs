//! After a restart: which sessions that an earlier process left go on? Those that the configuration would still translate so,
//! and whose port nobody else has. Port leases and quotas are counted again, session by session.

use super::balance;
use crate::{
    flow::session::{Service, Session},
    nat::{Mapping, Nat},
    stage::translation::{self, Connection},
    table::{Tables, nat::Space},
};

/// Whether a session goes on; counts it then, and holds its port. Before workers run.
pub fn readmit(nat: &Nat, tables: &Tables, session: &Session) -> bool {
    let Session { inward, outward } = session;
    let [legal_in, legal_out] =
        [inward, outward].map(|(key, program)| translation::is_legal(tables, key, program));
    let connection = Connection::of(&inward.0, &inward.1);
    // Both entries must be of one connection, or they would end apart.
    let same = Connection::of(&outward.0, &outward.1).inside == connection.inside;
    if !(legal_in && legal_out && same) {
        return false;
    }
    let Ok(mut vm) = nat.vm(connection.owner()) else { return false };
    if let Some(space) = Space::of(connection.protocol).filter(|_| connection.service.leases()) {
        let Connection { address, port, inside_port, .. } = connection;
        let Some(vip) = translation::shown(tables, &connection) else { return false };
        if let Some(vip) = tables.vip(vip) {
            vip.leases.provide();
        }
        let mapping = Mapping { vip, address, space, port };
        if vm.adopt(&tables.vips, mapping, inside_port).is_err() {
            return false;
        }
    }
    if connection.service == Service::Masked {
        return true;
    }
    if connection.service.is_balanced() {
        let Some(usage) = balance::usage_of(tables, &connection) else { return false };
        usage.readmit();
    }
    vm.readmit();
    true
}
