//! Backends of load balancers over time: slow start, deadlines of draining, and what the operator sees of all of them.

use std::collections::BTreeMap;

use tidegate_control::show::Table;

use super::balance::{SORTED, Site, config, start};

/// The configuration with a change of the first backend of `web`.
fn with_first(web: &str, change: &str) -> String {
    let first = format!("{{ vpc: red, address: {}, port: 8080", SORTED[0]);
    config(web, "").replacen(&first, &format!("{first}{change}"), 1)
}

#[test]
fn a_backend_grows_to_its_weight_after_it_came_up() {
    for algorithm in ["roundrobin", "weightroundrobin"] {
        let web = format!(", slow_start_s: 20, algorithm: {algorithm}");
        let mut site = Site::with(&web);
        // Nobody grows when the gateway starts.
        assert_eq!(site.shares(5000..5003).into_values().collect::<Vec<_>>(), [1, 1, 1]);
        site.gw.health("web", SORTED[0], false).ignore();
        site.gw.health("web", SORTED[0], true).ignore();
        for (port, seconds, shares) in
            [(6000, 0, [1, 10, 10]), (7000, 10, [6, 10, 10]), (8000, 20, [10, 10, 10])]
        {
            let new: u16 = shares.iter().sum();
            let share = |vm: usize| (SORTED[vm], usize::from(shares[vm]));
            assert_eq!(
                site.shares(port..port + new),
                BTreeMap::from([share(0), share(1), share(2)]),
                "{seconds}"
            );
            site.gw.pass(10_000).ignore();
        }
    }
}

#[test]
fn a_backend_that_drains_loses_its_connections_at_the_deadline() {
    let mut site = start(&config("", ""));
    for (port, vm) in (5000..5003).zip(SORTED) {
        assert_eq!(site.establish(port), vm);
    }
    site.gw.reload(&with_first("", ", drain: true, drain_deadline_s: 30")).ignore();
    site.gw.pass(29_000).ignore();
    assert_eq!(site.goes_on(5000), Some(SORTED[0]));
    site.gw.pass(2_000).ignore();
    site.gw
        .from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 A ack=5")
        .to(&site.up, "tcp 203.0.113.93:80 > 9.9.9.9:5000 R seq=5 df");
    assert_eq!((site.goes_on(5001), site.goes_on(5002)), (Some(SORTED[1]), Some(SORTED[2])));
    assert_eq!(site.gw.connections("web"), [0, 1, 1]);
}

#[test]
fn listeners_and_backends_are_shown_with_state_and_numbers() {
    let mut site = start(&config("", ""));
    for (port, vm) in (5000..5003).zip(SORTED) {
        assert_eq!(site.establish(port), vm);
    }
    site.gw.health("web", SORTED[1], false).ignore();
    site.gw.pass(7_000).ignore();
    site.gw.reload(&with_first("", ", drain: true, drain_deadline_s: 90")).ignore();
    site.gw.health("web", SORTED[1], false).ignore();
    site.gw.pass(5_000).ignore();
    assert_eq!(
        site.gw.shown(Table::LbListeners, &["vpc=red"]),
        [
            "dns lb red shared udp 53 roundrobin 3 of 3 0 0 0 0 0 0 0",
            "web lb red shared tcp 80 roundrobin 1 of 3 3 3 0 0 0 240 120",
        ]
    );
    assert_eq!(
        site.gw.shown(Table::LbBackends, &["listener=web"]),
        [
            "web red 10.1.1.7:8080 draining (1m24s left) 100 1 1 0 80 40",
            "web red 10.1.1.8:8080 down 5s 100 1 1 0 80 40 refused",
            "web red 10.1.2.9:8080 unchecked 100 1 1 0 80 40",
        ]
    );
    assert!(site.gw.shown(Table::LbListeners, &["vpc=blue"]).is_empty());
    assert!(site.gw.show(Table::Vips, &["listener=web"], None).is_err());
}
