//! Translation, whatever VMs send, whatever is configured meanwhile: no two connections of one moment share a public port
//! towards one remote, what comes back undoes what was done on the way out, and at exhaustion every packet is accounted for
//! (the harness checks the books after each step).

use std::collections::HashMap;

use proptest::prelude::*;
use tidegate_tests::gateway::{Gateway, HOST1, HOST2, HOST3, SITE, Station};

/// VMs of two VPCs with the same addresses, each VPC behind VIPs of its own, ports scarce.
const SERVICES: &str = "
vips:
  - { id: red-a, public_network: public, address: 203.0.113.93 }
  - { id: red-b, public_network: public, address: 203.0.113.94 }
  - { id: blue-a, public_network: public, address: 203.0.113.95 }
snats:
  - { id: red, vpc: red, vips: [red-a, red-b], ports_per_vm: 64 }
  - { id: blue, vpc: blue, vips: [blue-a], ports_per_vm: 64 }
port_forwards:
  - { id: in, vip: red-a, protocol: udp, ports: 1024-1100, vpc: red, address: 10.1.1.7 }
";
/// The same with more ports taken from SNAT, and without one VIP.
const FORWARD: &str =
    "  - { id: more, vip: red-b, protocol: udp, ports: 1024-40000, vpc: red, address: 10.1.1.7 }\n";
const LESS: (&str, &str) = ("vips: [red-a, red-b]", "vips: [red-a]");

const VMS: [(&str, &str, &str); 4] = [
    ("red-1", "10.1.1.7", HOST1),
    ("red-2", "10.1.2.9", HOST2),
    ("blue-1", "10.1.1.7", HOST3),
    ("blue-2", "10.1.2.9", HOST2),
];

#[derive(Clone, Debug)]
enum Step {
    /// A VM sends, and is answered if it got out.
    Talk {
        vm: usize,
        tcp: bool,
        port: u16,
        remote: u8,
        size: u16,
    },
    /// Very many ports of one VM at once.
    Burst {
        vm: usize,
        remote: u8,
    },
    Pass {
        seconds: u16,
    },
    Reload {
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..VMS.len(), any::<bool>(), 1u16..100, 1u8..4, 1u16..200)
            .prop_map(|(vm, tcp, port, remote, size)| Step::Talk { vm, tcp, port, remote, size }),
        1 => (0..VMS.len(), 1u8..4).prop_map(|(vm, remote)| Step::Burst { vm, remote }),
        1 => (1u16..400).prop_map(|seconds| Step::Pass { seconds }),
        1 => (0usize..3).prop_map(|which| Step::Reload { which }),
    ]
}

/// A public end towards a remote: protocol, VIP and port, remote.
type End = (bool, String, u8);
/// Who has it: VM, port.
type Owner = (usize, u16);

struct Site {
    gw: Gateway,
    vms: Vec<Station>,
    up: Station,
    /// Since the last time that something may have ended.
    live: HashMap<End, Owner>,
}

impl Site {
    fn talk(&mut self, vm: usize, tcp: bool, port: u16, remote: u8, size: u16) {
        let (kind, flags) = if tcp { ("tcp", " A") } else { ("udp", "") };
        let ip = VMS[vm].1;
        let text = format!("{kind} {ip}:{port} > 198.18.0.{remote}:53{flags} ttl=64 len={size}");
        let words = self.gw.from(&self.vms[vm], &text).words();
        let Some(public) = words.iter().find_map(|frame| public_end(frame)) else {
            // Refused: an ICMP error at most.
            assert!(words.iter().all(|frame| frame.contains("icmp prohibited")), "{text}: {words:?}");
            return;
        };
        let ours = if vm < 2 { ["203.0.113.93:", "203.0.113.94:"] } else { ["203.0.113.95:"; 2] };
        assert!(ours.iter().any(|vip| public.starts_with(vip)), "{text} left as {public}");
        let owner = self.live.entry((tcp, public.clone(), remote)).or_insert((vm, port));
        assert_eq!(*owner, (vm, port), "{public} is of two connections");
        let back = format!("{kind} 198.18.0.{remote}:53 > {public}{flags} ttl=64 len={size}");
        let home = format!("{kind} 198.18.0.{remote}:53 > {ip}:{port}{flags} ttl=63 len={size}");
        self.gw.from(&self.up, &back).to(&self.vms[vm], &home);
    }
}

/// `203.0.113.93:1024` of a frame that went to the world.
fn public_end(frame: &str) -> Option<String> {
    let at = frame.find("203.0.113.9").filter(|_| frame.contains(" > 198.18.0."))?;
    frame[at..].split(' ').next().map(str::to_owned)
}

fn config(which: usize) -> String {
    match which {
        0 => format!("{SITE}{SERVICES}"),
        1 => format!("{SITE}{SERVICES}{FORWARD}"),
        _ => format!("{SITE}{}", SERVICES.replace(LESS.0, LESS.1)),
    }
}

fn run(workers: usize, steps: &[Step]) {
    let mut gw = Gateway::start(&config(0), workers);
    let vms = VMS.iter().map(|(net, ip, host)| gw.vm(net, ip, host)).collect();
    let up = gw.vm("public", "203.0.113.1", HOST1);
    let mut site = Site { gw, vms, up, live: HashMap::new() };
    for step in steps {
        match *step {
            Step::Talk { vm, tcp, port, remote, size } => site.talk(vm, tcp, port, remote, size),
            Step::Burst { vm, remote } => (200..270).for_each(|port| site.talk(vm, false, port, remote, 8)),
            Step::Pass { seconds } => {
                site.gw.pass(u64::from(seconds) * 1_000).ignore();
                site.live.clear();
            }
            Step::Reload { which } => {
                site.gw.reload(&config(which)).ignore();
                site.live.clear();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_two_connections_share_a_public_end_and_answers_undo_translation(
        workers in 1usize..3,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        run(workers, &steps);
    }
}
