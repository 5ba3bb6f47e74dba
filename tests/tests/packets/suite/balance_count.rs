//! What is counted of listeners: open connections through changes, bytes while they move, turns.

use tidegate_control::show::Table;

use super::{
    balance::{SORTED, Site, VMS, config, start},
    *,
};

#[test]
fn bytes_of_open_connections_are_shown_and_never_fall() {
    for mode in ["", ", mode: full_nat"] {
        let mut site = Site::with(mode);
        let shown = |site: &mut Site| {
            site.gw.shown(Table::LbBackends, &["listener=web"]);
            let listener = site.gw.listener("web");
            let each = listener.backends.iter().map(|backend| backend.usage.usage.shown_bytes());
            let sum = each.fold((0, 0), |sum, bytes| (sum.0 + bytes.0, sum.1 + bytes.1));
            assert_eq!(listener.usage.usage.shown_bytes(), sum);
            sum
        };
        assert_eq!(shown(&mut site), (0, 0));
        let ports = 5000..5006;
        for port in ports.clone() {
            assert!(site.connect("9.9.9.9", port).is_some());
        }
        assert_eq!(shown(&mut site), (6 * 40, 0));
        site.gw.from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 A len=1000").ignore();
        assert_eq!(shown(&mut site), (6 * 40 + 1040, 0));
        // Reloads do not begin anew, and what ends is still counted.
        site.gw.reload(&config(&format!("{mode}, max_connections: 99"), "")).ignore();
        assert_eq!(shown(&mut site), (6 * 40 + 1040, 0));
        site.gw.pass(200_000).ignore();
        assert_eq!(site.gw.connections("web"), [0, 0, 0]);
        assert_eq!(shown(&mut site), (6 * 40 + 1040, 0));
        assert_eq!(site.gw.listener("web").usage.usage.bytes(), (6 * 40 + 1040, 0));
    }
}

/// A listener on a range of ports whose VMs' ports begin at 8000 for port 0.
fn on(ports: &str) -> String {
    let first: u16 = ports.split('-').next().unwrap().parse().unwrap();
    config("", "")
        .replacen("port: 80,", &format!("ports: {ports},"), 1)
        .replace("8080", &(8000 + first).to_string())
}

#[test]
fn a_range_that_begins_elsewhere_goes_on_counting() {
    let mut site = start(&on("80-89"));
    let syn = |port: u16| format!("tcp 9.9.9.9:{port} > 203.0.113.93:{port} S");
    for port in 80..86 {
        assert!(site.reaches(&syn(port)).is_some());
    }
    assert_eq!(site.gw.connections("web"), [2, 2, 2]);
    for ports in ["82-89", "78-89", "82-95", "80-89"] {
        site.gw.reload(&on(ports)).ignore();
        assert_eq!(site.gw.connections("web"), [2, 2, 2], "{ports}");
        assert_eq!(site.gw.listener("web").usage.usage.live(), 6);
        for (port, vm) in (82..86).zip([SORTED[2], SORTED[0], SORTED[1], SORTED[2]]) {
            let packet = format!("tcp 9.9.9.9:{port} > 203.0.113.93:{port} A");
            assert_eq!(site.reaches(&packet), Some(vm), "{ports} {port}");
        }
    }
    // The numbers go back to nothing when connections end, those of ports that are gone among them.
    site.gw.reload(&on("82-89")).ignore();
    site.gw.pass(200_000).ignore();
    assert_eq!((site.gw.connections("web"), site.gw.listener("web").usage.usage.live()), (vec![0; 3], 0));
}

#[test]
fn more_connections_than_turns_are_kept_for_get_each_a_turn_of_its_own() {
    let mut gw = Gateway::start(&config("", ""), crate::WORKERS);
    let up = gw.vm("public", "203.0.113.1", HOST1);
    let vms = VMS.map(|(net, ip, host)| gw.stranger(net, ip, Some(host)));
    let ports = 5000..5600;
    let syn = |port: u16| format!("tcp 9.9.9.9:{port} > 203.0.113.93:80 S");
    // Nobody has been heard of: all wait, or are dropped for want of room, and come again.
    for port in ports.clone() {
        gw.from(&up, &syn(port)).ignore();
    }
    for vm in &vms {
        gw.wake(vm);
    }
    for port in ports.clone() {
        gw.from(&up, &syn(port)).ignore();
    }
    gw.pass(1_000).ignore();
    for port in ports {
        gw.from(&up, &syn(port)).ignore();
    }
    assert_eq!(gw.connections("web"), [200, 200, 200]);
}
