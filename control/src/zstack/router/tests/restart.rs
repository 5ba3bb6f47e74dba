//! Restarts: what was restored serves on, and goes when the manager did not push it again.

use super::*;

const S: Duration = Duration::from_secs(1);

/// A router with an EIP, a forward and a listener, restarted.
fn restarted() -> Bench {
    let mut bench = Bench::with_network();
    bench.ok("/createvip", vips(&["203.0.113.20", "203.0.113.30"]));
    bench.ok("/createeip", json!({ "eip": eip("203.0.113.20", "192.0.2.140") }));
    bench.ok("/createportforwarding", json!({ "rules": [forward("a", 80)] }));
    bench.ok("/lb/refresh", refresh(listener("l1", json!({ "loadBalancerPort": 443 }))));
    let before = bench.router.documents().clone();
    let bench = bench.restarted();
    assert_eq!(bench.router.documents(), &before, "nothing is withdrawn by a restart");
    bench
}

fn provisional(bench: &Bench) -> Vec<String> {
    bench.router.objects().into_iter().filter(|object| object.provisional).map(|object| object.key).collect()
}

fn init(bench: &mut Bench) {
    bench.ok("/init", json!({ "uuid": "11111111111111111111111111111111" }));
}

#[test]
fn what_is_not_pushed_again_goes_when_it_is_quiet() {
    let mut bench = restarted();
    assert_eq!(bench.send("/ping", json!({})).reply["uuid"], "", "the manager finds out by this");
    assert_eq!(provisional(&bench), ["203.0.113.20", "203.0.113.30", "a", "203.0.113.20", "l1"]);
    init(&mut bench);
    bench.now += 5 * S;
    bench.ok("/createvip", vips(&["203.0.113.20", "203.0.113.30"]));
    bench.now += 5 * S;
    assert_eq!(
        bench.ok("/syncportforwarding", json!({ "rules": [forward("a", 80)] })),
        [],
        "the same as before"
    );
    assert_eq!(provisional(&bench), ["203.0.113.20", "l1"]);
    bench.now += 59 * S;
    assert_eq!(bench.router.tick(bench.now), []);
    bench.now += S;
    let gone = bench.router.tick(bench.now);
    let gone = gone.iter().map(|change| match change {
        Change::Delete { id, .. } => id.as_str(),
        Change::Put { id, .. } => panic!("{id} comes"),
    });
    assert_eq!(
        gone.collect::<Vec<_>>(),
        ["r1.lb-l1", "r1.eip-203.0.113.20", "r1.nic-192.0.2.150", "r1.nic-192.0.2.140"]
    );
    assert_eq!(provisional(&bench), [""; 0]);
    assert_eq!(bench.router.due(), None);
    assert_eq!(bench.ids(Kind::VpcNetwork).len(), 1, "NICs stay: no reconnect sends them again");
}

#[test]
fn nothing_goes_before_a_push_that_follows_an_init() {
    let mut bench = restarted();
    bench.ok("/createvip", vips(&["203.0.113.20"]));
    assert_eq!(bench.router.due(), None, "no /init yet");
    init(&mut bench);
    assert_eq!(bench.router.due(), None, "a connect that stops after /init takes nothing away");
    bench.send("/ping", json!({}));
    bench.send("/getroutes", json!({}));
    assert_eq!(bench.router.due(), None, "these are no pushes");
    bench.ok(
        "/configurenicdefaultaction",
        json!({ "nics": [{ "mac": GUEST, "firewallDefaultAction": "reject" }] }),
    );
    assert_eq!(bench.router.due(), Some(bench.now + 60 * S));
    init(&mut bench);
    assert_eq!(bench.router.due(), None, "the manager begins anew");
}

#[test]
fn a_push_that_fails_puts_the_end_off() {
    let mut bench = restarted();
    init(&mut bench);
    bench.ok("/createvip", vips(&["203.0.113.20"]));
    bench.refused("/createvip", json!({ "vips": [{ "ip": "nonsense" }] }));
    assert_eq!(bench.router.due(), None);
    bench.ok("/createvip", vips(&["203.0.113.20"]));
    assert!(bench.router.due().is_some());
    bench.router.push_failed();
    assert_eq!(bench.router.due(), None, "also where the store refused it");
}

#[test]
fn a_sync_is_the_whole_also_of_what_was_restored() {
    let mut bench = restarted();
    init(&mut bench);
    bench.ok("/syncportforwarding", json!({ "rules": [forward("b", 81)] }));
    assert_eq!(bench.ids(Kind::PortForward), ["r1.pf-b"], "at once");
}

#[test]
fn nics_of_the_bootstrap_information_that_went_stay_away() {
    let mut bench = Bench::with_network();
    bench.ok("/removenic", json!({ "nics": [{ "mac": PUBLIC }] }));
    let mut bench = bench.restarted();
    assert_eq!((bench.ids(Kind::Vip).len(), bench.ids(Kind::VpcNetwork).len()), (0, 1));
    bench.ok("/configurenic", json!({ "nics": [settings().nics[1].clone()] }));
    assert_eq!(bench.restarted().ids(Kind::Vip), ["r1.vip-203.0.113.10"]);
}
