//! What an operator sees of address translation: `show nat`, and what the session log is told.

use tidegate_control::show::Table;

use super::nat::{SERVICES, nat, nat_on, out};

#[test]
fn a_session_is_one_row_with_both_directions() {
    let (mut gw, a, b, up) = nat();
    let port = out(&mut gw, &a, "tcp 10.1.1.7:4000 > 8.8.8.8:443 S ttl=64");
    let syn = format!("red 10.1.1.7:4000 203.0.113.93:{port} 8.8.8.8:443 tcp snat opening 1 40 0 0 0ms");
    assert_eq!(gw.shown(Table::NatSessions, &[]), [syn]);
    gw.from(&up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{port} SA ttl=60")).ignore();
    gw.from(&a, "tcp 10.1.1.7:4000 > 8.8.8.8:443 A ttl=64 len=100").ignore();
    gw.from(&up, "tcp 198.51.100.7:9 > 203.0.113.93:2223 S ttl=60").ignore();
    gw.pass(61_500).ignore();
    let id = out(&mut gw, &b, "icmp echo 10.1.2.9 > 8.8.8.8 id=9 seq=3 len=56");
    let tcp =
        format!("red 10.1.1.7:4000 203.0.113.93:{port} 8.8.8.8:443 tcp snat established 2 180 1 40 1m01s");
    let forward = "red 10.1.2.9:23 203.0.113.93:2223 198.51.100.7:9 tcp port_forward opening 0 0 1 40 1m01s";
    let ping = format!("red 10.1.2.9:9 203.0.113.93:{id} 8.8.8.8:0 icmp snat - 1 84 0 0 0ms");
    let rows = gw.shown(Table::NatSessions, &[]);
    assert_eq!(rows.len(), 3);
    for (filters, expected) in [
        (&["inside=10.1.1.7"][..], vec![&tcp[..]]),
        (&["inside=10.1.1.0/24", "protocol=tcp"], vec![&tcp]),
        (&["inside=10.1.2.9:23"], vec![forward]),
        (&["public=shared:2223"], vec![forward]),
        (&["public=203.0.113.94"], vec![]),
        (&["remote=8.8.8.8:443"], vec![&tcp]),
        (&["state=established"], vec![&tcp]),
        (&["state=opening"], vec![forward]),
        (&["vpc=blue"], vec![]),
        (&["vpc=red", "protocol=tcp"], vec![&tcp, forward]),
    ] {
        assert_eq!(gw.shown(Table::NatSessions, filters), expected, "{filters:?}");
    }
    let pings = gw.shown(Table::NatSessions, &["protocol=icmp"]);
    assert!(pings.len() == 1 && pings[0].starts_with(ping.trim_end_matches("0ms")), "{pings:?}");
}

#[test]
fn what_a_table_cannot_filter_by_is_refused() {
    let (mut gw, ..) = nat();
    for (table, filter, part) in [
        (Table::NatSessions, "vm=10.1.1.7", "there is no filter `vm`"),
        (Table::NatSessions, "inside", "is not KEY=VALUE"),
        (Table::NatSessions, "inside=shared", "is no address"),
        (Table::NatSessions, "vpc=green", "there is no VPC `green`"),
        (Table::NatSessions, "protocol=gre", "is no protocol"),
        (Table::NatSessions, "state=open", "is no TCP state"),
        (Table::NatBindings, "remote=8.8.8.8", "has no filter `remote`"),
        (Table::NatPools, "inside=10.1.1.7", "has no filter `inside`"),
        (Table::Flows, "protocol=tcp", "has no filter `protocol`"),
    ] {
        let refused = gw.show(table, &[filter], None).expect_err(filter);
        assert!(refused.contains(part), "{filter}: {refused}");
    }
}

#[test]
fn many_sessions_are_cut_and_it_is_said() {
    let (mut gw, a, ..) = nat();
    for port in 1..=150 {
        out(&mut gw, &a, &format!("udp 10.1.1.7:{port} > 8.8.8.8:53"));
    }
    let mut rows = |limit| {
        let rows = gw.show(Table::NatSessions, &[], limit).unwrap();
        (serde_json::from_str::<Vec<serde_json::Value>>(&rows.json).unwrap().len(), rows.cut)
    };
    assert_eq!(rows(None), (100, true));
    assert_eq!(rows(Some(150)), (150, false));
    assert_eq!(rows(Some(0)), (0, true));
}

#[test]
fn bindings_say_which_ports_a_vm_has_and_what_they_stand_for() {
    let (mut gw, a, b, _) = nat();
    let one = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    let two = out(&mut gw, &a, "udp 10.1.1.7:4001 > 8.8.8.8:53");
    assert_eq!(out(&mut gw, &a, "udp 10.1.1.7:4001 > 8.8.8.8:54"), two);
    let other = out(&mut gw, &b, "tcp 10.1.2.9:4000 > 8.8.8.8:53 S");
    let block = |vm: &str, protocol: &str, port: u16, counts: &str| {
        let first = port / 64 * 64;
        format!("red {vm} shared 203.0.113.93 {protocol} {first}-{} {counts}", first + 63)
    };
    let of_a = block("10.1.1.7", "udp", one, "2 3");
    let of_b = block("10.1.2.9", "tcp", other, "1 1");
    let of_all = [of_a, of_b];
    assert_eq!(gw.shown(Table::NatBindings, &[]), of_all);
    assert_eq!(gw.shown(Table::NatBindings, &["protocol=udp"])[..], of_all[..1]);
    let (port, inside) = (format!("public=shared:{other}"), "inside=10.1.1.7:4001");
    assert_eq!(gw.shown(Table::NatBindings, &[&port, "protocol=tcp"])[..], of_all[1..]);
    assert_eq!(gw.shown(Table::NatBindings, &[inside])[..], of_all[..1]);
    assert!(gw.shown(Table::NatBindings, &["inside=10.1.1.7:4002"]).is_empty());
    let json = gw.show(Table::NatBindings, &[inside], None).unwrap().json;
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mut mappings: Vec<_> = rows[0]["mappings"].as_array().unwrap().clone();
    mappings.sort_by_key(|mapping| mapping["inside_port"].as_u64());
    let mapping = |inside, public| serde_json::json!({ "inside_port": inside, "public_port": public });
    assert_eq!(mappings, [mapping(4000, one), mapping(4001, two)]);
}

#[test]
fn pools_say_how_full_they_are_and_who_uses_most() {
    let (mut gw, a, b, _) = nat();
    for port in 1..=3 {
        out(&mut gw, &a, &format!("tcp 10.1.1.7:{port} > 8.8.8.8:53 S"));
    }
    out(&mut gw, &b, "tcp 10.1.2.9:1 > 8.8.8.8:53 S");
    // 2222-2224/tcp and 5353/udp are port forwards.
    assert_eq!(
        gw.shown(Table::NatPools, &[]),
        [
            "shared 203.0.113.93 red icmp 0 0 64512 0 0.0%",
            "shared 203.0.113.93 red tcp 4 124 64381 3 0.2% 10.1.1.7 3, 10.1.2.9 1",
            "shared 203.0.113.93 red udp 0 0 64511 1 0.0%",
        ]
    );
    assert_eq!(gw.shown(Table::NatPools, &["public=shared", "protocol=tcp", "vpc=red"]).len(), 1);
    assert!(gw.shown(Table::NatPools, &["vpc=blue"]).is_empty());
}

/// [`SERVICES`] with a log.
fn log(what: &str) -> String {
    let gateway = "gateway:\n";
    let site = tidegate_tests::gateway::SITE;
    assert!(site.contains(gateway));
    site.replacen(gateway, &format!("{gateway}  nat_log: {{ {what} }}\n"), 1) + SERVICES
}

#[test]
fn the_log_says_who_had_a_port_and_from_when_to_when() {
    let (mut gw, a, _, up) = nat_on(&log("file: /nowhere/nat.log, sessions: true"));
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    let block = port / 64 * 64;
    let leased = format!("block_leased red shared udp 10.1.1.7 203.0.113.93 {block}");
    let session = format!("red shared udp 10.1.1.7 4000 203.0.113.93 {port} 8.8.8.8 53 snat");
    assert_eq!(gw.logged(), [leased, format!("session_opened {session}")]);
    out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:54");
    let second = session.replace("8.8.8.8 53", "8.8.8.8 54");
    assert_eq!(gw.logged(), [format!("session_opened {second}")]);
    gw.from(&up, "tcp 8.8.4.4:7 > 203.0.113.93:2222 S").ignore();
    let forward = "red shared tcp 10.1.2.9 22 203.0.113.93 2222 8.8.4.4 7 port_forward";
    assert_eq!(gw.logged(), [format!("session_opened {forward}")]);
    gw.pass(400_000).ignore();
    let given_back = format!("block_given_back red shared udp 10.1.1.7 203.0.113.93 {block}");
    let mut ended = gw.logged();
    let last = ended.iter().rposition(|line| *line == given_back).expect("the block comes back");
    assert!(ended[..last].iter().filter(|line| line.contains(" udp ")).count() == 2, "{ended:?}");
    ended.sort_unstable();
    let end = |of: &str| format!("session_ended {of}");
    assert_eq!(ended, [given_back, end(forward), end(&session), end(&second)]);
}

#[test]
fn the_log_has_blocks_only_unless_sessions_are_wanted_and_a_reload_changes_that() {
    let (mut gw, a, ..) = nat_on(&log("file: /nowhere/nat.log"));
    for remote in 1..=3 {
        out(&mut gw, &a, &format!("udp 10.1.1.7:4000 > 8.8.8.8:{remote}"));
    }
    let told = gw.logged();
    assert!(told.len() == 1 && told[0].starts_with("block_leased"), "{told:?}");
    gw.reload(&log("file: /nowhere/nat.log, sessions: true")).ignore();
    out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:4");
    assert_eq!(gw.logged().len(), 1);
    let (mut gw, a, ..) = nat();
    out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    assert!(gw.logged().is_empty());
}

#[test]
fn what_the_log_has_no_room_for_is_counted_and_sessions_open_all_the_same() {
    let config = log("file: /nowhere/nat.log, sessions: true").replacen("ring: 256", "ring: 64", 1);
    let (mut gw, a, ..) = nat_on(&config);
    for remote in 1..=1_100 {
        out(&mut gw, &a, &format!("udp 10.1.1.7:4000 > 8.8.8.8:{remote}"));
    }
    let moved = gw.take_moved();
    let told = gw.logged().len() as u64;
    // One of them for the block.
    assert_eq!((moved["session_open"], moved["log_full"] + told), (1_100, 1_101));
    assert!(told >= 1_024);
}

#[test]
fn a_block_of_a_vip_that_is_gone_comes_back_with_its_address() {
    let with_log = log("file: /nowhere/nat.log");
    let (mut gw, a, ..) = nat_on(&with_log);
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    gw.logged();
    let gone = with_log.split("\nvips:").next().unwrap();
    gw.reload(gone).ignore();
    gw.pass(400_000).ignore();
    let told = gw.logged();
    assert_eq!(told, [format!("block_given_back red null udp 10.1.1.7 203.0.113.93 {}", port / 64 * 64)]);
}
