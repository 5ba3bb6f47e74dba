//! What an operator sees of address translation: `show nat`.

use tidegate_control::show::Table;

use super::nat::{nat, out};

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
