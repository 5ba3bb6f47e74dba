//! Packets that are too large for the next network.

use serde_json::json;
use tidegate_tests::lab::probe::{Capture, iperf3, ping};

#[test]
fn a_packet_too_large_is_refused_with_the_mtu_or_cut() {
    let Some(site) = super::site_with(|config| config["vpc_networks"][1]["mtu"] = json!(1400)) else {
        return;
    };
    let refused = ping(site.web.netns(), site.app.address(), "-c 1 -M do -s 1422").unwrap();
    let needed = ("192.168.20.1".to_owned(), "Frag needed and DF set (mtu = 1400)".to_owned());
    assert_eq!(refused.errors, [needed], "{}", refused.text);

    let fits = ping(site.web.netns(), site.app.address(), "-c 1 -M do -s 1372").unwrap();
    assert!(fits.all_answered(), "{}", fits.text);

    site.web.netns().run("ip route flush cache").unwrap();
    let cut = ping(site.web.netns(), site.app.address(), "-c 1 -M dont -s 1422").unwrap();
    assert!(cut.all_answered(), "{}", cut.text);

    let syns =
        Capture::start(site.app.netns(), "eth0", "tcp[tcpflags] & tcp-syn != 0", site.gateway.dir()).unwrap();
    iperf3(site.app.netns(), site.web.netns(), site.app.address(), "-t 1").unwrap();
    assert!(syns.until("mss 1360").unwrap().contains("192.168.20.154"));
}

/// The most that `net_tap` carries; see `jumbo.rs` for more.
#[test]
fn an_overlay_of_1450_runs_on_an_underlay_of_1500() {
    let Some(site) = super::site() else { return };
    let full = ping(site.web.netns(), site.app.address(), "-c 2 -i 0.1 -M do -s 1422").unwrap();
    assert!(full.all_answered(), "{}", full.text);
}
