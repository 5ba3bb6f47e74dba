//! What routers on the way say, and datagrams in fragments, through every kind of translation.

use std::{fs, thread};

use tidegate_tests::lab::{
    Vm,
    internet::{HOPS, SERVER},
    probe::{ping, traceroute},
    service::{Web, curl, numbered, udp_echo, udp_exchange},
    site::{OWN, SHARED},
};

#[test]
fn traceroute_sees_every_hop_in_both_directions() {
    let Some((internet, site)) = super::nat::site() else { return };
    let methods = ["", "-I", "-T -p 80"];
    let inside = [(&site.web, "192.168.20.1"), (&site.app, "192.168.21.1")];
    for (vm, gateway) in inside {
        for method in methods {
            let hops = traceroute(vm.netns(), SERVER, method).unwrap();
            assert_eq!(hops, [gateway, HOPS[0], HOPS[1], SERVER], "{} {method}", vm.name());
        }
    }
    for method in methods {
        let hops = traceroute(&internet.server, OWN, method).unwrap();
        assert_eq!(hops, ["192.0.2.1", "198.51.100.129", "203.0.113.2", OWN], "{method}");
    }
    let hops = traceroute(&internet.server, SHARED, "-T -p 8080").unwrap();
    assert_eq!(hops, ["192.0.2.1", "198.51.100.129", "203.0.113.2", SHARED]);
    assert!(site.books().unwrap().balance());
}

/// What the kernel of a VM believes of the way to the server.
fn path_mtu(vm: &Vm) -> String {
    let route = vm.netns().run(&format!("ip route get {SERVER}")).unwrap();
    route.split_whitespace().skip_while(|word| *word != "mtu").nth(1).unwrap_or("unknown").to_owned()
}

#[test]
fn a_vm_learns_of_a_smaller_link_far_behind_the_gateway() {
    let Some((internet, site)) = super::nat::site() else { return };
    internet.narrow(&site, 1200).unwrap();
    let content = numbered(1 << 20);
    let server = Web::start(&internet.server, "server").unwrap();
    server.offer("file", &content).unwrap();
    let file = site.gateway.dir().join("content");
    fs::write(&file, &content).unwrap();
    // By SNAT, and by an address of its own.
    for vm in [&site.web, &site.app] {
        let put = format!("-T {}", file.display());
        curl(vm.netns(), &format!("http://{SERVER}/up/{}", vm.name()), &put).unwrap();
        assert!(fs::read(server.uploaded(vm.name())).unwrap() == content);
        assert_eq!(path_mtu(vm), "1200", "{}", vm.name());
        let got = curl(vm.netns(), &format!("http://{SERVER}/file"), "").unwrap();
        assert!(got == content);
    }
    let refused = ping(site.db.netns(), SERVER, "-c 1 -M do -s 1300").unwrap();
    let needed = (HOPS[0].to_owned(), "Frag needed and DF set (mtu = 1200)".to_owned());
    assert_eq!(refused.errors, [needed], "{}", refused.text);

    // And the way in: the server learns from transit, the remote of a VM from the gateway.
    let inside = Web::start(site.web.netns(), "web").unwrap();
    curl(&internet.server, &format!("http://{SHARED}:8080/up/in"), &format!("-T {}", file.display()))
        .unwrap();
    assert!(fs::read(inside.uploaded("in")).unwrap() == content);
    let refused = ping(&internet.neighbour, OWN, "-c 1 -M do -s 1472").unwrap();
    let needed = ("203.0.113.2".to_owned(), "Frag needed and DF set (mtu = 1450)".to_owned());
    assert_eq!(refused.errors, [needed], "{}", refused.text);
    assert!(site.books().unwrap().balance());
}

#[test]
fn datagrams_of_8_kib_pass_every_translation_both_ways() {
    let Some((internet, site)) = super::nat::site() else { return };
    let (web, app, db, server) = (site.web.netns(), site.app.netns(), site.db.netns(), &internet.server);
    let _echo = [server, web, app].map(|netns| udp_echo(netns, 7000).unwrap());
    let content = numbered(8192);
    // Who has not been heard of is asked for first, and not so many fragments may wait for that.
    for (from, to) in
        [(web, SERVER), (db, SERVER), (app, SERVER), (server, OWN), (&internet.neighbour, SHARED)]
    {
        assert!(ping(from, to, "-c 2 -i 0.2").unwrap().all_answered(), "{to}");
    }
    for round in 0..3 {
        thread::scope(|scope| {
            let exchanges = [
                ("web by SNAT", web, SERVER),
                ("db by SNAT", db, SERVER),
                ("app by its own address", app, SERVER),
                ("in by the own address", server, OWN),
                ("in by the forward", server, SHARED),
                ("neighbour in by the forward", &internet.neighbour, SHARED),
            ]
            .map(|(what, from, address)| {
                (what, scope.spawn(|| udp_exchange(from, address, 7000, &content).unwrap()))
            });
            for (what, exchange) in exchanges {
                let back = exchange.join().unwrap();
                assert!(back == content, "{what}, round {round}: {} bytes came back", back.len());
            }
        });
    }
    for (vm, size) in [(&site.db, "-s 8000"), (&site.app, "-s 8000")] {
        let pings = ping(vm.netns(), SERVER, &format!("-c 3 -i 0.1 {size}")).unwrap();
        assert!(pings.all_answered(), "{} {}", vm.name(), pings.text);
    }
    assert!(site.books().unwrap().balance());
}
