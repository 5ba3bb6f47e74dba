//! What is shown of a public address is what passed it, packet by packet, whatever ends, expires or is configured meanwhile; and it
//! never falls.

use proptest::prelude::*;
use tidegate_fastpath::table::nat::{Amount, Traffic};
use tidegate_tests::gateway::{Gateway, HOST1, HOST2, SITE, Station};

/// An EIP, and a VIP with SNAT and a port forward. Two generations that differ in what no flow here uses.
fn config(which: bool) -> String {
    let more = if which {
        "  - { id: more, vip: pool, protocol: tcp, ports: 99, vpc: red, address: 10.1.1.9 }\n"
    } else {
        ""
    };
    // Flows are over after 20 s.
    let short = "  timeouts: { flow_idle_s: 10, nat_udp_s: 10 }\n  limits:";
    let site = SITE.replacen("  limits:", short, 1);
    format!(
        "{site}
vips:
  - {{ id: whole, public_network: public, address: 203.0.113.94 }}
  - {{ id: pool, public_network: public, address: 203.0.113.93 }}
eips:
  - {{ id: one, vip: whole, vpc: red, address: 10.1.1.8 }}
snats:
  - {{ id: all, vpc: red, vips: [pool] }}
port_forwards:
  - {{ id: in, vip: pool, protocol: udp, ports: 500-600, vpc: red, address: 10.1.2.9 }}
{more}"
    )
}

#[derive(Clone, Debug)]
enum Step {
    /// The VM with the EIP sends, or is sent to.
    Eip {
        out: bool,
        port: u16,
        size: u16,
    },
    /// A VM behind SNAT sends, and is answered so many times.
    Snat {
        port: u16,
        size: u16,
        answers: u8,
    },
    /// Somebody uses the forward, and is answered or not.
    Forward {
        port: u16,
        size: u16,
        answered: bool,
    },
    Pass {
        seconds: u16,
    },
    Reload {
        which: bool,
    },
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let (port, size) = (1u16..20, 0u16..1000);
    prop_oneof![
        4 => (any::<bool>(), port.clone(), size.clone()).prop_map(|(out, port, size)| Step::Eip { out, port, size }),
        4 => (port.clone(), size.clone(), 0u8..3)
            .prop_map(|(port, size, answers)| Step::Snat { port, size, answers }),
        4 => (port, size, any::<bool>()).prop_map(|(port, size, answered)| Step::Forward { port, size, answered }),
        2 => (1u16..25).prop_map(|seconds| Step::Pass { seconds }),
        1 => any::<bool>().prop_map(|which| Step::Reload { which }),
        2 => Just(Step::Look),
    ]
}

struct Site {
    gw: Gateway,
    vms: [Station; 3],
    up: Station,
    whole: Traffic,
    pool: Traffic,
}

/// A datagram with so many bytes of payload.
fn datagram(size: u16) -> Amount {
    Amount::packet(28 + size)
}

impl Site {
    fn start(workers: usize) -> Site {
        let mut gw = Gateway::start(&config(false), workers);
        let mut vm = |net, ip, host| gw.vm(net, ip, host);
        let vms =
            [vm("red-1", "10.1.1.8", HOST1), vm("red-1", "10.1.1.7", HOST1), vm("red-2", "10.1.2.9", HOST2)];
        let up = gw.vm("public", "203.0.113.1", HOST1);
        let none = Traffic::default();
        Site { gw, vms, up, whole: none, pool: none }
    }

    fn take(&mut self, step: &Step) {
        let [eip, behind, target] = &self.vms;
        match *step {
            Step::Eip { out: true, port, size } => {
                let sent =
                    self.gw.from(eip, &format!("udp 10.1.1.8:{port} > 198.18.0.1:53 len={size}")).words();
                assert_eq!(sent.len(), 1, "{sent:?}");
                self.whole.outbound += datagram(size);
            }
            Step::Eip { out: false, port, size } => {
                let sent = self
                    .gw
                    .from(&self.up, &format!("udp 198.18.0.1:53 > 203.0.113.94:{port} len={size}"))
                    .words();
                assert_eq!(sent.len(), 1, "{sent:?}");
                self.whole.inbound += datagram(size);
            }
            Step::Snat { port, size, answers } => {
                let sent =
                    self.gw.from(behind, &format!("udp 10.1.1.7:{port} > 198.18.0.1:53 len={size}")).words();
                let [frame] = &sent[..] else { panic!("{sent:?}") };
                self.pool.outbound += datagram(size);
                let at = frame.find("203.0.113.93:").expect("the pool");
                let public = frame[at..].split(' ').next().expect("a port").to_owned();
                for _ in 0..answers {
                    let answer = format!("udp 198.18.0.1:53 > {public} len={size}");
                    assert_eq!(self.gw.from(&self.up, &answer).words().len(), 1);
                    self.pool.inbound += datagram(size);
                }
            }
            Step::Forward { port, size, answered } => {
                let to = 500 + port;
                let asked = format!("udp 198.18.0.{port}:7 > 203.0.113.93:{to} len={size}");
                assert_eq!(self.gw.from(&self.up, &asked).words().len(), 1);
                self.pool.inbound += datagram(size);
                if answered {
                    let answer = format!("udp 10.1.2.9:{to} > 198.18.0.{port}:7 len={size}");
                    assert_eq!(self.gw.from(target, &answer).words().len(), 1);
                    self.pool.outbound += datagram(size);
                }
            }
            Step::Pass { seconds } => self.gw.pass(u64::from(seconds) * 1_000).ignore(),
            Step::Reload { which } => self.gw.reload(&config(which)).ignore(),
            Step::Look => self.look(),
        }
    }

    /// Nothing moves meanwhile, so what is shown is exact.
    fn look(&mut self) {
        assert_eq!((self.gw.traffic("whole"), self.gw.traffic("pool")), (self.whole, self.pool));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_is_what_passed(workers in 1usize..3, steps in prop::collection::vec(step(), 1..40)) {
        let mut site = Site::start(workers);
        steps.iter().for_each(|step| site.take(step));
        site.look();
        site.gw.pass(25_000).ignore();
        site.look();
    }
}
