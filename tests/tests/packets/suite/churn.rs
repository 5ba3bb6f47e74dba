//! Ten thousand changes of the configuration under load: traffic that they do not concern goes on as if nothing had happened.

use std::{path::Path, sync::Arc};

use tempfile::TempDir;
use tidegate_control::{
    config,
    desired::{By, Directory, Disk, Source, Step, Store, Transaction, Who, documents},
};
use tidegate_tests::churn::Churn;

use super::{
    nat::{SERVICES, out, services},
    *,
};

const CHANGES: usize = 10_000;
/// Changes in one transaction.
const AT_ONCE: usize = 40;
/// Frames of a flow that arrive together.
const BURST: usize = 4;

fn by() -> By {
    By { who: Who::new("test", Source::Socket), now_ms: 0, confirm_within_ms: None }
}

/// A site as it is kept on disk.
fn kept(text: &str, place: &Path) -> Store {
    let (mut raw, _) = config::parse_file(text).unwrap_or_else(|problems| panic!("{problems}"));
    let host = raw.gateway.take().unwrap();
    let disk = Directory::open(place.to_owned()).map(|disk| Box::new(disk) as Box<dyn Disk>);
    Store::open(disk, &host, documents(raw).unwrap(), &by()).unwrap().0
}

/// The whole way of a change: checked, compared, kept, compiled, published, used by all workers. Returns how many objects changed.
fn change(gw: &mut Gateway, store: &mut Store, steps: Vec<Step>) -> usize {
    let transaction = Transaction { steps, ..Transaction::default() };
    let plan = store.basis().plan(&transaction).unwrap_or_else(|why| panic!("{why}"));
    store.commit(&plan, &by(), None).unwrap();
    let mut config = config::Config::clone(plan.config());
    config.gateway.workers = (1..).map(config::LcoreId).take(crate::WORKERS).collect();
    let prepared = gw.moment().prepare(Arc::new(config));
    // New addresses are announced, new next hops asked for.
    gw.install(prepared).unwrap().without_arp().nothing();
    assert!(gw.is_live(), "all workers use it");
    plan.changes.len()
}

/// One direction of an established flow: who sends what, and who gets what of it.
struct Flow<'a>(&'a Station, String, &'a Station, String);

#[test]
fn ten_thousand_changes_hurt_nobody_else() {
    let dir = TempDir::new().unwrap();
    let mut store = kept(&services(SERVICES), &dir.path().join("state"));
    let (mut gw, a, b, up) = super::nat::nat();
    change(&mut gw, &mut store, vec![Churn::router()]);

    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    let (d, e) = (gw.vm("blue-1", "10.1.1.7", HOST3), gw.vm("blue-2", "10.1.2.9", HOST2));
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S ttl=64").ignore();
    gw.from(&b, "tcp 10.1.2.9:22 > 9.9.9.9:5 SA ttl=64").ignore();
    let flow = |from, sent: &str, to, got: &str| {
        let text = |words: &str| words.replace("PORT", &port.to_string());
        Flow(from, text(sent) + " ttl=64", to, text(got) + " ttl=63")
    };
    let load = [
        // Out by SNAT and back.
        flow(&a, "udp 10.1.1.7:4000 > 8.8.8.8:53", &up, "udp 203.0.113.93:PORT > 8.8.8.8:53"),
        flow(&up, "udp 8.8.8.8:53 > 203.0.113.93:PORT", &a, "udp 8.8.8.8:53 > 10.1.1.7:4000"),
        // In by a port forward and back.
        flow(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 A", &b, "tcp 9.9.9.9:5 > 10.1.2.9:22 A"),
        flow(&b, "tcp 10.1.2.9:22 > 9.9.9.9:5 A", &up, "tcp 203.0.113.93:2222 > 9.9.9.9:5 A"),
        // Out by an EIP.
        flow(&c, "udp 10.1.1.8:7 > 8.8.8.8:53", &up, "udp 203.0.113.94:7 > 8.8.8.8:53"),
        // Inside of two VPCs with the same addresses.
        flow(&a, "udp 10.1.1.7:9 > 10.1.2.9:9", &b, "udp 10.1.1.7:9 > 10.1.2.9:9"),
        flow(&d, "udp 10.1.1.7:9 > 10.1.2.9:9", &e, "udp 10.1.1.7:9 > 10.1.2.9:9"),
    ];
    let round = |gw: &mut Gateway| {
        for Flow(from, sent, to, got) in &load {
            let mut left = gw.burst(from, &[sent.as_str(); BURST]).without_arp();
            for _ in 0..BURST {
                left = left.to(to, got);
            }
        }
    };
    round(&mut gw);
    gw.take_moved();
    let flows = gw.flows();

    let mut churn = Churn::new("pool");
    let (mut changes, mut frames) = (0, 0);
    while changes < CHANGES {
        changes += change(&mut gw, &mut store, churn.next(AT_ONCE));
        round(&mut gw);
        gw.pass(1).without_arp().nothing();
        frames += (load.len() * BURST) as u64;
    }
    let moved = gw.take_moved();
    let of = |name: &str| moved.get(name).copied().unwrap_or_default();
    assert_eq!(of("flow_hit") + of("flow_redecide"), frames, "each frame found its flow: {moved:?}");
    assert_eq!(gw.flows(), flows, "no flow was opened or ended");
    let generations = store.basis().generation;
    println!("{changes} changes in {generations} generations, {frames} frames: {moved:?}");
}
