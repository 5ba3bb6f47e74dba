//! `show shortcuts`.

use super::{Scope, Source, net_name, table_name};
use crate::{
    show::ShortcutRow,
    zsnp::{Pair, PairKey, Phase},
};

/// A row for each pair; what goes direct first.
pub(super) fn shortcuts(from: &mut Source<'_>, scope: &Scope) -> Vec<ShortcutRow> {
    let (gateway, now) = (&from.gateway, from.now);
    let machine = gateway.zsnp().machine();
    let row = |(key, pair): &(&PairKey, &Pair)| {
        let remote = pair.remote();
        let path = remote.and_then(|remote| machine.peers().get(&key.host)?.paths.get(&remote));
        ShortcutRow {
            vpc: table_name(gateway, pair.vrf),
            network: net_name(gateway, key.source),
            host: key.host,
            destination: key.destination,
            state: pair.phase().label().to_owned(),
            why: pair.why.filter(|_| pair.phase() != Phase::Active).map(|why| why.phrase().to_owned()),
            since_ms: now.0.saturating_sub(pair.since.0) / 1_000_000,
            to: remote,
            packets: pair.packets,
            bytes: pair.bytes,
            rtt_us: path.map(|path| path.rtt_us),
            loss_permille: path.map(|path| path.loss_permille),
        }
    };
    let mut pairs: Vec<_> = machine
        .pairs()
        .filter(|(key, pair)| scope.has_table(pair.vrf) && scope.has_net(gateway, key.source))
        .collect();
    pairs.sort_unstable_by_key(|(key, pair)| (pair.phase() != Phase::Active, **key));
    pairs.iter().map(row).collect()
}
