//! A network that loses WITHDRAWs and their ACKs: the shortcut ends with the first that gets through, nobody is told again who has
//! answered, and however many are lost, all of it comes to an end.

use proptest::{collection::vec, prelude::*};
use tidegate_fastpath::types::{Nanos, NetId};
use tidegate_zsnp::{Capabilities, Message, Scope, Station, Status, Transaction};

use super::town::{OURS, Town, got, host, mac_of, net_of, settings, vm, vni};
use crate::zsnp::{Machine, Order, Sighting, ZsnpEvent, machine::Said};

/// Why the shortcut must go.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Switch,
    Limit,
    Move,
}

/// A machine that has taught host 1 the way from network 1 to a VM on host 2.
fn taught() -> (Town, Machine) {
    let mut town = Town::new();
    let destination = vm(2, 9);
    town.places.insert(destination, host(2));
    let mut machine = Machine::new(Some(&settings()), 1);
    let now = Nanos::from_ms(1_000);
    machine.seen(now, &town, Sighting { host: host(1), source: NetId(1), vm: vm(1, 7), destination });
    let station = Station { address: destination, mac: mac_of(destination), vni: vni(net_of(destination)) };
    let (vtep, capabilities) = (host(2), Capabilities::DESTINATION);
    for (from, answer) in [
        (host(2), Message::Here { station, vtep, mtu: 1450, capabilities }),
        (host(1), Message::Ack(Status::Installed)),
    ] {
        let Some(Order::Overlay { said, .. }) = machine.take_order() else { panic!("a question") };
        machine.heard(now, &town, from, OURS, &got(from, said.transaction, answer));
    }
    (town, machine)
}

/// The WITHDRAWs that are ordered.
fn withdraws(machine: &mut Machine) -> Vec<Transaction> {
    let orders = std::iter::from_fn(|| machine.take_order());
    let is = |order| match order {
        Order::Underlay {
            to,
            said: Said { transaction, message: Message::Withdraw { scope, .. }, .. },
            ..
        } => {
            assert!(to == host(1) && matches!(scope, Scope::One(_) | Scope::Vpc));
            Some(transaction)
        }
        _ => None,
    };
    orders.filter_map(is).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_withdraw_is_said_until_it_is_answered(
        reason in prop_oneof![Just(Reason::Switch), Just(Reason::Limit), Just(Reason::Move)],
        lost in vec(any::<bool>(), 8),
        unheard in vec(any::<bool>(), 8),
    ) {
        let (mut town, mut machine) = taught();
        let begin = 2_000;
        match reason {
            Reason::Switch => town.on = false,
            Reason::Limit => _ = town.forbidden.insert((NetId(1), vm(2, 9))),
            Reason::Move => _ = town.places.insert(vm(2, 9), host(3)),
        }
        machine.changed(Nanos::from_ms(begin), &town);
        let (mut tries, mut gone_at, mut answered) = (0, None, false);
        for ms in (begin..begin + 40_000).step_by(50) {
            let now = Nanos::from_ms(ms);
            machine.tick(now, &town);
            for transaction in withdraws(&mut machine) {
                prop_assert!(!answered, "it was acknowledged");
                if !lost[tries] {
                    gone_at.get_or_insert(ms);
                    if !unheard[tries] {
                        answered = true;
                        machine.heard(now, &town, host(1), OURS, &got(host(1), transaction, Message::Ack(Status::Removed)));
                    }
                }
                tries += 1;
            }
        }
        prop_assert!((1..=8).contains(&tries));
        let first = lost.iter().position(|lost| !lost);
        let last_ms = settings().lifetime_s as u64 * 1_000;
        prop_assert!(first.is_none() || gone_at.is_some_and(|at| at < begin + last_ms), "{first:?} {gone_at:?}");
        prop_assert_eq!(machine.counted(ZsnpEvent::WithdrawUnanswered), u64::from(!answered));
        prop_assert_eq!(machine.counted(ZsnpEvent::WithdrawAgain), tries as u64 - 1);
    }
}
