//! `make fuzz-seeds`: writes `tests/corpus/*/seed-*`, what a fuzzer begins with: packets of every kind, stories, and documents
//! that are taken. To be run when the form of the inputs changes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tidegate_tests::{
    fuzz::{shortcuts_seeds, zsnp_seeds, zstack_seeds},
    gateway::{Gateway, HOST1, SITE, Station},
    packet,
};

/// What stations say, as the inside of a frame.
const INSIDE: [&str; 14] = [
    "udp SRC:4000 > 10.1.2.9:53 len=20",
    "udp SRC:4000 > 10.1.1.7:53 len=1460",
    "udp SRC:4000 > 10.1.1.7:53 df len=1460",
    "tcp SRC:4000 > 10.1.1.7:80 S mss=1460",
    "icmp echo SRC > 10.1.1.1 id=1 seq=2 len=8",
    "udp SRC:4000 > 10.1.2.77:53 ttl=1",
    "udp SRC:4000 > 198.51.100.9:53 tos=1",
    "udp SRC:4000 > 192.0.2.200:53",
    "ip SRC > 10.1.1.7 proto=17 off=800 mf len=1480 opt=94040000",
    "icmp no-port SRC > 10.1.1.7 | udp 10.1.1.7:1 > 10.1.2.9:2",
    "udp SRC:4000 > 255.255.255.255:67",
    "arp ask 10.1.1.1 from SRC 02:01:0a:01:01:07",
    "arp tell SRC 02:01:0a:01:01:07 to 172.31.0.1 02:00:00:00:00:01",
    "udp SRC:179 > 172.31.0.1:179 len=9",
];

/// Scripts of `pipeline` that lead deep; `tests/src/fuzz/script.rs` says what the bytes mean.
const STORIES: [&[u8]; 12] = [
    // A flow: miss, hits, time, an idle one, hits, forgotten.
    &[0xa0, 1, 0, 0, 7, 20, 0, 0xe6, 0, 0, 0x7c, 0xe2, 0, 0, 0x7f, 0x7f, 0xe0, 0, 0],
    // Many flows, more than there is room for; then time.
    &[0xa0, 1, 0, 0, 7, 20, 0, 0xee, 85, 1, 0x7f, 0x7f, 0x7f],
    // Packets wait for somebody unknown, who answers.
    &[0xa0, 33, 0, 0, 7, 20, 77, 0xe4, 0, 0, 0x50, 0xf0, 0xf1, 0x50],
    // Packets wait for somebody who never answers; errors go back.
    &[0xa0, 33, 0, 0, 7, 20, 77, 0xee, 0, 0, 0x6c, 0x70, 0x74, 0xa0, 33, 0, 0, 7, 20, 77],
    // Long ones, with and without DF; a network becomes narrow.
    &[
        0xa2, 0, 0, 0, 7, 148, 0, 0xa2, 0, 0, 1, 7, 148, 0, 0xc5, 0xa0, 1, 0, 1, 7, 140, 0, 0xa0, 1, 0, 0, 7,
        140, 0,
    ],
    // Ping us, time runs out, records of routes, errors about errors.
    &[
        0xa0, 5, 3, 0, 7, 20, 0, 0xa0, 1, 8, 0, 7, 20, 0, 0xa0, 1, 0, 8, 7, 20, 1, 0xa0, 1, 5, 0, 7, 0, 0,
        0xee, 0, 0,
    ],
    // Control stands still while everybody talks to us, then goes on.
    &[0xf8, 0xa0, 5, 0, 0, 7, 20, 0, 0xee, 90, 1, 0xa1, 33, 7, 0, 7, 0, 9, 0xee, 90, 1, 0xf8, 0x50, 0xff],
    // A VM says who it is and moves while control stands still, so that its packets wait in vain.
    &[
        0xa0, 0, 7, 2, 0, 0, 0, 0xa0, 1, 0, 0, 7, 20, 0, 0xf8, 0xad, 1, 0, 0, 7, 20, 0, 0x58, 0xec, 0, 0,
        0x58, 0xf8, 0xff,
    ],
    // No buffers, no room, full queues, no link.
    &[
        0xfa, 0xa0, 0, 0, 0, 7, 148, 0, 0xfa, 0xfb, 0xe4, 0, 0, 0xfb, 0xf9, 0xea, 0, 0, 0xf9, 0xfc, 0xe4, 0,
        0, 0xfc, 0xff,
    ],
    // A VM moves, says so, others have its address; every configuration in turn.
    &[
        0xa0, 1, 0, 0, 7, 20, 0, 0xad, 1, 0, 0, 7, 20, 0, 0xad, 0, 7, 2, 0, 0, 0, 0xa1, 0, 0, 0, 7, 20, 0,
        0xc1, 0xc2, 0xe4, 0, 0, 0xc3, 0xe4, 0, 0, 0xc4, 0xe4, 0, 0, 0xc5, 0xe4, 0, 0, 0xc6, 0xe4, 0, 0, 0xc0,
        0xff,
    ],
    // Where nothing is forwarded to.
    &[
        0xa0, 23, 0, 0, 7, 0, 0, 0xa0, 22, 0, 0, 7, 0, 0, 0xa0, 21, 0, 0, 7, 0, 0, 0xa0, 24, 0, 0, 7, 0, 0,
        0xb1, 1, 0, 0, 7, 0, 0,
    ],
    // Between the VPCs and the world.
    &[
        0xa0, 11, 0, 0, 7, 20, 0, 0xa7, 0, 2, 0, 7, 20, 0, 0xa4, 12, 0, 0, 7, 20, 0, 0xc6, 0xa7, 10, 1, 0, 7,
        20, 0, 0xff,
    ],
];

/// What stations say and what time does where `red` has public addresses, with and without quotas; `SERVICES` and `QUOTAS` of
/// `tests/src/fuzz/world.rs` say which.
fn translated(gateway: &Gateway) -> Result<Vec<Vec<u8>>> {
    const SERVICES: &[u8] = &[0xc7];
    const QUOTAS: &[u8] = &[0xc8];
    const END: &[u8] = &[0x7f, 0x7f, 0xff];
    let says = |net: &str, ip: &str, inner: &str| -> Result<Vec<u8>> {
        let host = net.starts_with("red-1").then_some(HOST1);
        let who = gateway.stranger(net, ip, host);
        frame_step(u8::try_from(who.port.0)?, &packet::frame(&who.sends(&inner.replace("SRC", ip)))?)
    };
    let vms = |packets: &[(u8, &str)]| -> Result<Vec<u8>> {
        let said = |(vm, packet): &(u8, &str)| says("red-1", &format!("10.1.1.{vm}"), packet);
        Ok(packets.iter().map(said).collect::<Result<Vec<_>>>()?.concat())
    };
    let [one, two, three] = [1, 2, 3].map(|n| format!("udp SRC:{n} > 8.8.8.8:53"));
    let [one, two, three] = [&one[..], &two, &three];
    Ok(vec![
        // Out, back in to a forward, in from outside, in fragments, errors, what nobody may; then all of it ends.
        [
            SERVICES,
            &[0xa0, 27, 0, 0, 7, 20, 0, 0xa0, 27, 0, 2, 7, 20, 0, 0xa0, 28, 0, 0, 7, 20, 0],
            &[0xa0, 28, 1, 0, 7, 0, 0, 0xa1, 27, 0, 0, 7, 0, 0, 0xa0, 28, 6, 0, 7, 20, 0],
            &[0xa1, 28, 6, 0, 7, 20, 0, 0xa7, 28, 0, 4, 7, 20, 100],
            &says("public", "203.0.113.1", "udp SRC:5 > 203.0.113.93:600")?,
            &says(
                "public",
                "203.0.113.1",
                "icmp no-port SRC > 203.0.113.93 | udp 203.0.113.93:9 > 8.8.8.8:53",
            )?,
            &says(
                "public",
                "203.0.113.1",
                "icmp no-port SRC > 203.0.113.94 | udp 203.0.113.94:9 > 8.8.8.8:53",
            )?,
            &says("red-3", "10.1.3.7", "ip SRC > 8.8.8.8 proto=6 len=10")?,
            END,
        ]
        .concat(),
        // Fragments whose first ones do not come, more than may wait.
        [SERVICES, &[0xa7, 28, 0, 4, 7, 20, 100, 0xec, 0, 0], END].concat(),
        // More sessions than the flow table holds, and a note for which there is no room.
        [SERVICES, &[0xa0, 27, 0, 0, 7, 20, 0, 0xec, 85, 1, 0xa0, 27, 0, 2, 7, 20, 0], END].concat(),
        // More port blocks, and more VMs, than the gateway has room for.
        [
            SERVICES,
            &vms(&[50, 51, 52].map(|vm| (vm, one)))?,
            &vms(&[50, 51, 52].map(|vm| (vm, "tcp SRC:1 > 8.8.8.8:53 S")))?,
            &vms(&[50, 51, 52].map(|vm| (vm, "icmp echo SRC > 8.8.8.8 id=1")))?,
            END,
        ]
        .concat(),
        [SERVICES, &vms(&[50, 51, 52, 53, 54].map(|vm| (vm, one)))?, END].concat(),
        // More sessions than a VM may open at once, than it may have, than its VPC may have.
        [
            QUOTAS,
            &vms(&[(50, one), (50, two), (50, three), (50, "udp SRC:4 > 8.8.8.8:53")])?,
            &[0x6c],
            &vms(&[(50, "udp SRC:4 > 8.8.8.8:53"), (50, "udp SRC:5 > 8.8.8.8:53")])?,
            &vms(&[(51, one), (51, two), (51, three)])?,
            END,
        ]
        .concat(),
        // More than a VPC may open at once.
        [QUOTAS, &vms(&[(50, one), (50, two), (50, three), (51, one), (51, two), (51, three)])?, END]
            .concat(),
        // Control does not hear the session log: blocks are leased and given back, as there is no room for a flow.
        [
            SERVICES,
            &[0xf8, 0xa0, 1, 0, 0, 7, 20, 0, 0xee, 85, 1],
            &vms(&[(50, one)])?,
            &[0xef, 85, 1, 0xef, 85, 1, 0xef, 85, 1, 0xf8],
            END,
        ]
        .concat(),
    ])
}

/// What clients say where `red` has listeners and a rate limit; `BALANCE` of `tests/src/fuzz/world.rs` says which.
fn balanced(gateway: &Gateway) -> Result<Vec<Vec<u8>>> {
    const BALANCE: &[u8] = &[0xc9];
    const END: &[u8] = &[0x7f, 0x7f, 0xff];
    /// The last frame 128 times more; with another byte of its client's port each time.
    const AGAIN: [u8; 3] = [0xee, 0, 0];
    const OTHERS: [u8; 3] = [0xee, 35, 1];
    let says = |ip: &str, inner: &str| -> Result<Vec<u8>> {
        let who = gateway.stranger("public", ip, None);
        frame_step(u8::try_from(who.port.0)?, &packet::frame(&who.sends(&inner.replace("SRC", ip)))?)
    };
    let world = |packets: &[&str]| -> Result<Vec<u8>> {
        let said = packets.iter().map(|packet| says("203.0.113.1", packet));
        Ok(said.collect::<Result<Vec<_>>>()?.concat())
    };
    let vm = |inner: &str| -> Result<Vec<u8>> {
        let (ip, who) = ("10.1.1.7", gateway.stranger("red-1", "10.1.1.7", Some(HOST1)));
        frame_step(u8::try_from(who.port.0)?, &packet::frame(&who.sends(&inner.replace("SRC", ip)))?)
    };
    Ok(vec![
        // Connections, more than listener and backends take; segments of none, more than are answered.
        [
            BALANCE,
            &world(&["udp SRC:1 > 203.0.113.93:53", "udp SRC:2 > 203.0.113.93:53"])?,
            &world(&["udp SRC:3 > 203.0.113.93:53", "udp SRC:4 > 203.0.113.93:53"])?,
            &says("203.0.113.50", "udp SRC:5 > 203.0.113.93:53")?,
            &world(&["tcp SRC:1 > 203.0.113.93:53 S", "tcp SRC:2 > 203.0.113.93:53 S"])?,
            &world(&["tcp SRC:3 > 203.0.113.93:53 S", "tcp SRC:4 > 203.0.113.93:179 S"])?,
            &world(&["tcp SRC:5 > 203.0.113.93:53 A"])?,
            &OTHERS,
            &OTHERS,
            END,
        ]
        .concat(),
        // Backends that refuse; one that sees the gateway, which answers, and says that it cannot.
        [
            BALANCE,
            &world(&["tcp SRC:1 > 203.0.113.93:53 S", "tcp SRC:2 > 203.0.113.93:53 S"])?,
            &vm("tcp SRC:53 > 203.0.113.1:1 AR")?,
            &vm("tcp SRC:53 > 203.0.113.1:2 AR")?,
            &world(&["udp SRC:1 > 203.0.113.93:54", "tcp SRC:1 > 203.0.113.93:54 S"])?,
            &world(&["udp SRC:2 > 203.0.113.93:54 mf ipid=5 len=64", "udp SRC:3 > 203.0.113.93:54"])?,
            &vm("udp SRC:54 > 10.1.1.1:1030")?,
            &OTHERS,
            &vm("icmp no-port SRC > 10.1.1.1 | udp 10.1.1.1:1030 > SRC:54")?,
            &OTHERS,
            END,
        ]
        .concat(),
        // More bytes than the rate lets through, by both ways, and after the rate is gone.
        [
            BALANCE,
            &world(&["udp SRC:1 > 203.0.113.93:53 len=400"])?,
            &AGAIN,
            &[0x7f, 0xc0],
            &world(&["udp SRC:1 > 203.0.113.93:53 len=400"])?,
            END,
        ]
        .concat(),
    ])
}

/// ZSNP: a VM that says what only hosts may say, and a host.
fn messages(gateway: &Gateway) -> Result<Vec<u8>> {
    let (vm, host) =
        (gateway.stranger("red-1", "10.1.1.7", Some(HOST1)), gateway.stranger("underlay", HOST1, None));
    let says = |who: &Station, packet: &str| -> Result<Vec<u8>> {
        frame_step(u8::try_from(who.port.0)?, &packet::frame(&who.sends(packet))?)
    };
    let steps = [
        says(&vm, "ip 10.1.1.7 > 10.1.2.9 proto=253 len=64")?,
        says(&host, &format!("ip {HOST1} > 172.31.0.1 proto=253 len=64"))?,
    ];
    Ok(steps.concat())
}

/// Transactions upon the site: objects that go, wait, clash, and come.
const TRANSACTIONS: [&str; 8] = [
    r#"{"steps":[{"do":"delete","kind":"vpc_routers","id":"red"}]}"#,
    r#"{"steps":[{"do":"delete","kind":"vxlan_pools","id":"pool"},{"do":"put","kind":"vpc_routers","body":{"id":"green"}}],"expect":1}"#,
    r#"{"steps":[{"do":"put","kind":"nics","body":{"id":"web","network":"red-1","address":"10.1.1.7"}},{"do":"put","kind":"vips","body":{"id":"vip","public_network":"public","address":"203.0.113.9"}},{"do":"put","kind":"eips","body":{"id":"eip","vip":"vip","nic":"web"}}]}"#,
    r#"{"steps":[{"do":"patch","kind":"vpc_networks","id":"red-1","patch":{"cidr":"10.9.1.0/24","gateway":"10.9.1.1","mtu":null}}],"strict":true}"#,
    r#"{"steps":[{"do":"merge","file":{"vips":[{"id":"v","public_network":"public","address":"203.0.113.9"}],"nics":[{"id":"a","network":"red-1","address":"10.1.1.7"},{"id":"b","network":"blue-1","address":"10.1.1.7"}],"snats":[{"id":"s","vpc":"red","vips":["v","w"]}],"port_forwards":[{"id":"p","vip":"v","protocol":"tcp","ports":"80-82","nic":"b"},{"id":"q","vip":"v","protocol":"udp","ports":"53","nic":"a"}]}}]}"#,
    r#"{"steps":[{"do":"merge","file":{"vips":[{"id":"v","public_network":"public","address":"203.0.113.9"}],"nics":[{"id":"a","network":"red-1","address":"10.1.1.7"}],"load_balancers":[{"id":"l","vip":"v","listeners":[{"id":"l-1","protocol":"tcp","port":80,"backends":[{"nic":"a"},{"nic":"b"}]},{"id":"l-2","protocol":"https","port":443,"http":{"tls":{"certificates":["c"]}},"groups":[{"id":"g","backends":[{"vpc":"red","address":"10.1.2.9"}]}]}]}],"qos":[{"id":"x","vips":["v"],"port":"80","inbound":"1Mbit/s"},{"id":"y","nic":"a","outbound_pps":100}]}}]}"#,
    r#"{"steps":[{"do":"replace","file":{"vpc_routers":[{"id":"a"}],"routes":[{"vpc":"a","destination":"0.0.0.0/0","next_hop":"10.0.0.1"},{"id":"r","public_network":"gone","destination":"10.0.0.0/8","via_vpc":"a"}]}}]}"#,
    r#"{"steps":[{"do":"put","kind":"vpc_networks","body":{"id":"n","vpc":"red","cidr":"10.1.0.0/16","gateway":"10.1.0.1","vlan":{"port":"lan","id":103}},"etag":""},{"do":"delete","kind":"routes","id":"x","etag":"0"}]}"#,
];

/// Requests to the API of the site; `tests/src/fuzz/rest.rs` says how they are written.
const REQUESTS: [&str; 14] = [
    "GET /v1/nics?network=red-1&limit=1&state=active\n",
    "GET /v1/vpc_networks/red-1\n",
    "PUT /v1/nics/web\n{\"network\":\"red-1\",\"address\":\"10.1.1.7\"}",
    "PUT /v1/nics/web?strict=true&confirm_within_s=9\n{\"network\":\"gone\",\"address\":\"10.1.1.7\"}",
    "PUT /v1/vpc_routers/red *\n{\"id\":\"red\",\"account\":\"a\",\"quotas\":{\"sessions_per_vm\":5}}",
    "PUT /v1/load_balancers/l\n{\"vip\":\"v\",\"listeners\":[{\"id\":\"l-1\",\"protocol\":\"tcp\",\"port\":80,\"backends\":[{\"nic\":\"a\"}]}]}",
    "PUT /v1/nics/web\n{\"network\":[],\"address\":7,\"colour\":null}",
    "PATCH /v1/vpc_networks/red-1 *\n{\"mtu\":null,\"cidr\":\"10.9.1.0/24\",\"gateway\":\"10.9.1.1\"}",
    "PATCH /v1/vpc_networks/red-1 \"0011223344556677\"\n[{\"id\":\"x\"}]",
    "DELETE /v1/vpc_routers/red? *\n",
    "POST /v1/transactions?dry_run=true\n{\"steps\":[{\"do\":\"delete\",\"kind\":\"vpc_routers\",\"id\":\"red\"}],\"expect\":1}",
    "POST /v1/apply?merge=true\nvpc_routers: [{ id: green }]\n",
    "POST /v1/rollback/1\n",
    "GET /v1/status/vpc_routers/red\n",
];

fn main() -> Result<()> {
    let gateway = Gateway::alone(SITE, 1);
    let mut steps = Vec::new();
    for inner in INSIDE {
        for (net, ip, host) in [
            ("red-1", "10.1.1.7", Some(HOST1)),
            ("red-3", "10.1.3.7", None),
            ("public", "203.0.113.1", None),
            ("underlay", HOST1, None),
        ] {
            let who = gateway.stranger(net, ip, host);
            let frame = packet::frame(&who.sends(&inner.replace("SRC", ip)))?;
            let port = u8::try_from(who.port.0)?;
            save("parse", steps.len(), &[&[port], &frame[..]].concat())?;
            steps.push(frame_step(port, &frame)?);
        }
    }
    for (port, frame) in outside(&gateway)? {
        save("parse", steps.len(), &[&[port], &frame[..]].concat())?;
        steps.push(frame_step(port, &frame)?);
    }
    steps.extend(STORIES.iter().map(|story| story.to_vec()));
    steps.extend(translated(&gateway)?);
    steps.extend(balanced(&gateway)?);
    steps.push(messages(&gateway)?);
    for (at, step) in steps.iter().enumerate() {
        save("pipeline", at, step)?;
    }
    save("config", 0, SITE.as_bytes())?;
    for (at, example) in examples()?.iter().enumerate() {
        save("config", at + 1, &fs::read(example)?)?;
    }
    for (at, transaction) in TRANSACTIONS.iter().enumerate() {
        save("transaction", at, transaction.as_bytes())?;
    }
    for (at, request) in REQUESTS.iter().enumerate() {
        save("rest", at, request.as_bytes())?;
    }
    for (at, seed) in zsnp_seeds().iter().enumerate() {
        save("zsnp", at, seed)?;
    }
    for (at, seed) in shortcuts_seeds().iter().enumerate() {
        save("shortcuts", at, seed)?;
    }
    for (at, seed) in zstack_seeds().iter().enumerate() {
        save("zstack", at, seed.as_bytes())?;
    }
    Ok(())
}

/// Frames whose tunnel headers are not as they should be, which mending would set right.
fn outside(gateway: &Gateway) -> Result<Vec<(u8, Vec<u8>)>> {
    const OUTER_UDP_CHECKSUM: usize = 40;
    let vm = gateway.stranger("red-1", "10.1.1.7", Some(HOST1));
    let port = u8::try_from(vm.port.0)?;
    let udp = "udp 10.1.1.7:4000 > 10.1.2.9:53";
    let frame = |text: String| packet::frame(&text);
    let mut wrong = frame(vm.sends(udp))?;
    wrong[OUTER_UDP_CHECKSUM] = 1;
    let frames = [
        wrong,
        frame(vm.outer("mf").sends(udp))?,
        frame(vm.outer("tos=3").sends(udp))?,
        frame(vm.sends(&format!("vlan 7 | {udp}")))?,
    ];
    Ok(frames.map(|frame| (port, frame)).into())
}

/// The step by which a frame arrives as it is.
fn frame_step(port: u8, frame: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(frame.len())?.to_be_bytes();
    Ok([&[port << 4], &length[..], frame].concat())
}

/// The documented example files, in order.
fn examples() -> Result<Vec<PathBuf>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let mut files = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn save(target: &str, at: usize, bytes: &[u8]) -> Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&dir)?;
    let file = dir.join(format!("seed-{at:02}"));
    fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
