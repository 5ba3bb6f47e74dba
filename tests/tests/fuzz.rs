//! Replays the corpora of the fuzz targets, so that what once went wrong stays right.

use std::{fs, path::Path};

use tidegate_tests::{
    fuzz::TARGETS,
    gateway::{Gateway, HOST1, SITE},
    packet,
};

#[test]
fn every_input_of_the_corpora_holds() {
    for (name, target) in TARGETS {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", dir.display());
        for file in files {
            // The name of the file tells more than the backtrace: it is printed when the test fails.
            println!("{}", file.display());
            target(&fs::read(&file).unwrap());
        }
    }
}

/// What a fuzzer begins with: packets of every kind, and documents that are taken.
#[test]
#[ignore = "writes tests/corpus/*/seed-*"]
fn write_seeds() {
    let save = |target: &str, at: usize, bytes: &[u8]| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("seed-{at:02}")), bytes).unwrap();
    };
    let gw = Gateway::alone(SITE, 1);
    let (vm, lan) = (gw.stranger("red-1", "10.1.1.7", Some(HOST1)), gw.stranger("red-3", "10.1.3.7", None));
    let (wan, host) = (gw.stranger("public", "203.0.113.1", None), gw.stranger("underlay", HOST1, None));
    let mut all = Vec::new();
    for inner in INSIDE {
        for who in [&vm, &lan, &wan, &host] {
            let frame = packet::frame(&who.sends(&inner.replace("SRC", &who.ip.to_string()))).unwrap();
            let port = who.port.0 as u8;
            save("parse", all.len(), &[&[port], &frame[..]].concat());
            let step = [&[port << 4], &(frame.len() as u16).to_be_bytes()[..], &frame].concat();
            save("pipeline", all.len(), &step);
            all.push(step);
        }
    }
    // A long story: everything in turn, with time and reloads between.
    let between = [0x44u8, 0xc1, 0x60, 0xc0, 0xe0, 0x50, 0xe0, 0x7f];
    let mixed = all.iter().enumerate().flat_map(|(at, step)| [&step[..], &between[at % 8..][..1]].concat());
    save("pipeline", all.len(), &mixed.collect::<Vec<u8>>());
    save("config", 0, SITE.as_bytes());
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    for (at, entry) in fs::read_dir(examples).unwrap().enumerate() {
        save("config", at + 1, &fs::read(entry.unwrap().path()).unwrap());
    }
}

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
