//! A backend whose program is gone answers with resets before any probe has noticed: its clients go to the others.

use super::balance::{SORTED, Site, VMS, config, start};

/// The backend answers a SYN with a reset; what the client gets.
fn refuses(site: &mut Site, vm: &str, port: u16) -> Vec<String> {
    let at = VMS.iter().position(|(_, ip, _)| *ip == vm).unwrap();
    site.gw.from(&site.vms[at], &format!("tcp {vm}:8080 > 9.9.9.9:{port} AR ack=1")).words()
}

fn is_reset(words: &[String], port: u16) -> bool {
    matches!(words, [frame] if frame.contains(&format!("203.0.113.93:80 > 9.9.9.9:{port} AR")))
}

#[test]
fn a_syn_that_was_refused_goes_to_another_backend_when_it_comes_again() {
    for more in ["", ", persistence: { timeout_s: 60 }", ", algorithm: source", ", algorithm: leastconn"] {
        let mut site = Site::with(more);
        let dead = site.connect("9.9.9.9", 5000).unwrap();
        site.gw.take_moved();
        assert!(refuses(&mut site, dead, 5000).is_empty());
        site.gw.moved(["backend_refused", "session_end"]);
        assert_eq!(site.gw.connections("web"), [0, 0, 0]);
        // The client's timer, RFC 6298.
        site.gw.pass(1_000).ignore();
        let other = site.connect("9.9.9.9", 5000).unwrap();
        assert_ne!(other, dead, "{more}");
        assert_eq!(site.goes_on(5000), Some(other));
        // For three seconds it gets no new ones, then one tries again.
        for port in 6000..6009 {
            assert_ne!(site.connect("9.9.9.9", port), Some(dead), "{more}");
        }
        site.gw.pass(2_100).ignore();
        if more.is_empty() {
            assert_eq!(site.shares(7000..7009)[dead], 3);
        }
    }
}

#[test]
fn where_all_refuse_the_client_hears_it() {
    let mut site = Site::with("");
    for _ in SORTED {
        let vm = site.connect("9.9.9.9", 5000).unwrap();
        if is_reset(&refuses(&mut site, vm, 5000), 5000) {
            // The last of them.
            assert_eq!(site.gw.take_moved()["backend_refused"], 2);
            let refusals = site.gw.listener("web").backends.iter().map(|backend| backend.usage.refusals());
            assert_eq!(refusals.collect::<Vec<_>>(), [1, 1, 1]);
            let again = site.connect("9.9.9.9", 5001).unwrap();
            assert!(is_reset(&refuses(&mut site, again, 5001), 5001));
            return;
        }
    }
    panic!("three resets, and the client heard none");
}

#[test]
fn a_backend_that_is_alone_or_drains_others_refuses_itself() {
    let text = config("", "").replacen("port: 8080 }", "port: 8080, drain: true }", 2);
    let mut site = start(&text);
    let vm = site.connect("9.9.9.9", 5000).unwrap();
    assert!(is_reset(&refuses(&mut site, vm, 5000), 5000));
}

#[test]
fn a_reset_of_a_connection_that_was_answered_is_passed_on() {
    let mut site = Site::with("");
    let vm = site.establish(5000);
    assert!(is_reset(&refuses(&mut site, vm, 5000), 5000));
    // One closed port of a range says nothing about the others.
    let text = config("", "").replace("port: 80,", "ports: 80-89,");
    let mut site = start(&text);
    let vm = site.connect("9.9.9.9", 5000).unwrap();
    assert!(is_reset(&refuses(&mut site, vm, 5000), 5000));
    assert!(!site.gw.take_moved().contains_key("backend_refused"));
}

#[test]
fn with_full_nat_it_is_the_same() {
    let mut site = Site::with(", mode: full_nat");
    let frame = site.gw.from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 S").words().remove(0);
    let ours = frame.split("10.1.1.1:").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    site.gw.from(&site.vms[0], &format!("tcp 10.1.1.7:8080 > 10.1.1.1:{ours} AR ack=1")).nothing();
    assert_eq!(site.gw.take_moved()["backend_refused"], 1);
    assert_eq!((site.gw.connections("web"), site.gw.nat_usage().blocks), (vec![0; 3], 0));
    assert_eq!(site.connect("9.9.9.9", 5000), Some(SORTED[1]));
}
