//! Fragments of translated datagrams: they go as their first one goes, in whatever order they come.

use super::*;

#[test]
fn fragments_go_by_the_ports_of_the_first_in_any_order() {
    let (mut gw, a, _, up) = nat();
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53 mf ipid=7 ttl=64 len=1400");
    gw.from(&a, "ip 10.1.1.7 > 8.8.8.8 proto=17 ipid=7 off=1408 ttl=64 len=30")
        .to(&up, "ip 203.0.113.93 > 8.8.8.8 proto=17 ipid=7 off=1408 ttl=63 len=30");
    // The last one first, on the way in.
    gw.from(&up, "ip 8.8.8.8 > 203.0.113.93 proto=17 ipid=9 off=1408 ttl=64 len=30").nothing();
    assert_eq!(gw.held(), 1);
    gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{port} mf ipid=9 ttl=64 len=1400"))
        .to(&a, "udp 8.8.8.8:53 > 10.1.1.7:4000 mf ipid=9 ttl=63 len=1400");
    gw.pass(10).to(&a, "ip 8.8.8.8 > 10.1.1.7 proto=17 ipid=9 off=1408 ttl=63 len=30");
    // One whose first never comes.
    gw.take_moved();
    gw.from(&up, "ip 8.8.8.8 > 203.0.113.93 proto=17 ipid=10 off=1408 len=30").nothing();
    gw.pass(5_000).nothing();
    assert_eq!(gw.take_moved().get("fragment_unmatched"), Some(&1));
}
