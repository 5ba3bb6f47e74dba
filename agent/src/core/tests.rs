//! The core among a gateway, hosts and forgers, on a virtual clock.

mod lifetime;
mod world;

use std::net::Ipv4Addr;

use tidegate_zsnp::{Keyring, Message, RefusedWhy, Scope, Status, WithdrawReason};

use self::world::{APP, FAR, GATEWAY, HERE, OTHER, S, WEB, World, grant, vni};
use super::*;

#[test]
fn a_locate_is_answered_where_the_vm_is() {
    let mut world = World::new();
    world.overlay(Message::Locate(WEB));
    let [(to, Message::Here { station, vtep, mtu, .. })] = &world.said("here")[..] else { panic!() };
    assert_eq!((*to, *station, *vtep, *mtu), (GATEWAY, WEB, HERE, 1450));
    world.overlay(Message::Locate(tidegate_zsnp::Station { mac: APP.mac, ..WEB }));
    assert!(world.said("here").is_empty(), "silence is the answer of a host that does not have it");
}

#[test]
fn a_shortcut_counts_when_its_gateway_has_answered_and_its_host_too() {
    let mut world = World::new();
    world.gateway_answers = false;
    world.offer(grant(30));
    assert_eq!(world.acks(), [Status::Refused(RefusedWhy::NotFresh)]);
    world.gateway_answers = true;
    world.pass(S);
    world.offer(grant(30));
    assert_eq!(world.acks(), [Status::Refused(RefusedWhy::NotFresh)], "written before the answer");
    world.alive.remove(&FAR);
    world.offer(grant(30));
    assert!(world.kernel.is_empty() && world.acks().is_empty(), "the host has not answered yet");
    world.alive.insert(FAR);
    world.pass(2 * S);
    assert_eq!(world.acks(), [Status::Installed]);
    let rule = world.kernel[&world.pair()];
    assert_eq!((rule.vtep, rule.vni, rule.vm, rule.mtu, rule.underlay), (FAR, APP.vni, APP.mac, 1450, 9));
    assert!((world.now + 28 * S..=world.now + 30 * S).contains(&rule.expires_ns));
}

#[test]
fn a_shortcut_played_again_after_a_restart_is_not_acted_on() {
    let mut world = World::trusted();
    let recorded = [world.sealed(&Message::Shortcut(grant(30))), world.sealed(&Message::Shortcut(grant(30)))];
    world.restart();
    for payload in &recorded {
        world.overlay_bytes(payload);
        world.pass(S);
    }
    assert!(world.kernel.is_empty());
    assert_eq!(world.acks().last(), Some(&Status::Refused(RefusedWhy::NotFresh)));
    world.offer(grant(30));
    assert_eq!(world.kernel.len(), 1, "what the gateway says now counts");
}

#[test]
fn what_is_forged_flipped_cut_or_played_again_changes_nothing_and_is_counted() {
    let mut world = World::trusted();
    let genuine = world.sealed(&Message::Shortcut(grant(30)));
    let keys = Keyring::parse(&format!("7 {}", "cd".repeat(32))).unwrap();
    let forged = world.sealed_with(&keys, &Message::Shortcut(grant(30)));
    world.overlay_bytes(&forged);
    for bit in 0..genuine.len() * 8 {
        let mut flipped = genuine.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        world.overlay_bytes(&flipped);
    }
    for len in 0..genuine.len() {
        world.overlay_bytes(&genuine[..len]);
    }
    assert!(world.kernel.is_empty());
    assert_eq!(world.agent.refusals().total(), 1 + 9 * genuine.len() as u64);
    world.overlay_bytes(&genuine);
    world.overlay_bytes(&genuine);
    assert_eq!((world.kernel.len(), world.acks()), (1, vec![Status::Installed]));
    assert_eq!(world.agent.refusals().of(tidegate_zsnp::Refusal::Replayed), 1);
}

#[test]
fn what_is_in_use_is_renewed_and_what_is_not_ends() {
    let mut world = World::trusted();
    world.offer(grant(30));
    world.hit(5);
    world.pass(10 * S);
    let [(to, Message::Renew(hits))] = &world.said("renew")[..] else { panic!() };
    assert_eq!((*to, hits[0].matches, hits[0].packets), (GATEWAY, grant(30).matches, 5));
    world.offer(grant(30));
    world.pass(29 * S);
    assert_eq!((world.kernel.len(), world.said("renew").len()), (1, 0), "not hit, so not renewed");
    world.pass(2 * S);
    assert_eq!((world.kernel.len(), world.agent.totals().expired), (0, 1));
    assert_eq!(world.agent.totals().past.packets, 5, "what it carried is not forgotten");
}

#[test]
fn a_host_that_is_silent_for_three_probes_is_not_used_until_it_answers() {
    let mut world = World::trusted();
    world.offer(grant(30));
    assert_eq!(world.kernel.len(), 1);
    world.alive.remove(&FAR);
    world.pass(4 * S + S / 2);
    assert_eq!((world.kernel.len(), world.agent.totals().unreachable), (0, 1));
    world.offer(grant(30));
    assert_eq!(world.acks().last(), Some(&Status::Refused(RefusedWhy::Unreachable)));
    world.alive.insert(FAR);
    world.pass(2 * S);
    world.offer(grant(30));
    assert_eq!(world.kernel.len(), 1);
}

#[test]
fn while_a_gateway_is_silent_what_is_in_use_goes_on_up_to_the_grace() {
    let mut world = World::trusted();
    world.offer(grant(30));
    world.gateway_answers = false;
    for _ in 0..20 {
        world.hit(1);
        world.pass(5 * S);
    }
    assert_eq!(world.kernel.len(), 1, "100 s on, without a word of the gateway");
    assert!(world.agent.totals().prolonged > 0);
    while world.kernel.len() == 1 {
        world.hit(1);
        world.pass(5 * S);
        assert!(world.now < World::START + 3_700 * S, "longer than the grace");
    }
    assert!(world.now > World::START + 3_500 * S, "the grace is 1 h");
}

#[test]
fn a_silent_gateway_and_a_silent_host_are_the_end() {
    let mut world = World::trusted();
    world.offer(grant(30));
    world.gateway_answers = false;
    world.hit(1);
    world.pass(25 * S);
    world.alive.remove(&FAR);
    world.pass(5 * S);
    assert!(world.kernel.is_empty());
}

#[test]
fn a_gateway_that_speaks_but_does_not_renew_is_obeyed() {
    let mut world = World::trusted();
    world.offer(grant(30));
    for _ in 0..7 {
        world.hit(1);
        world.pass(5 * S);
    }
    assert!(world.kernel.is_empty(), "HELLOs came, SHORTCUTs did not");
}

#[test]
fn withdraw_takes_what_it_names_from_who_may_say_so() {
    let scopes = [
        Scope::One(grant(30).matches),
        Scope::Vni(vni(222)),
        Scope::Vpc,
        Scope::Towards { vni: APP.vni, destination: APP.address },
    ];
    for scope in scopes {
        let withdraw = Message::Withdraw { scope, reason: WithdrawReason::SwitchedOff };
        let mut world = World::trusted();
        world.offer(grant(30));
        world.underlay_from_stranger(OTHER, &withdraw);
        assert_eq!(world.kernel.len(), 1, "{scope:?} by a host that has nothing to do with it");
        world.overlay(withdraw);
        assert_eq!((world.kernel.len(), world.acks().last()), (0, Some(&Status::Removed)), "{scope:?}");
    }
    let mut world = World::trusted();
    world.offer(grant(30));
    let moved = Scope::Towards { vni: APP.vni, destination: APP.address };
    world.underlay_from_stranger(FAR, &Message::Withdraw { scope: moved, reason: WithdrawReason::Moved });
    assert!(world.kernel.is_empty(), "the host where it leads may");
}

#[test]
fn who_sends_to_a_vm_that_left_is_told() {
    let mut world = World::trusted();
    world.overlay(Message::Locate(WEB));
    let probe = Message::Probe { vni: WEB.vni, destination: WEB.address, sent: 1 };
    world.underlay_from_stranger(OTHER, &probe);
    assert!(world.said("withdraw").is_empty());
    world.leave(WEB);
    let moved = Scope::Towards { vni: WEB.vni, destination: WEB.address };
    let is = |said: &[(Ipv4Addr, Message)]| matches!(said, [(OTHER, Message::Withdraw { scope, reason: WithdrawReason::Moved })] if *scope == moved);
    assert!(is(&world.said("withdraw")), "at once");
    world.underlay_from_stranger(OTHER, &probe);
    assert!(is(&world.said("withdraw")), "by the next PROBE");
    world.input(Input::Stray { vni: WEB.vni, mac: WEB.mac, address: WEB.address, from: OTHER });
    assert!(is(&world.said("withdraw")), "by the next direct packet");
}

#[test]
fn a_vm_of_the_same_host_is_reached_without_a_tunnel() {
    let mut world = World::trusted();
    let mut here = grant(30);
    here.action = tidegate_zsnp::Action { vni: WEB.vni, mac: WEB.mac, vtep: HERE };
    world.offer(here);
    let rule = world.kernel[&world.pair()];
    assert_eq!((rule.vtep, rule.underlay), (Ipv4Addr::UNSPECIFIED, world::WEB_PORT));
    world.leave(WEB);
    assert!(world.kernel.is_empty());
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let mut world = World::trusted();
    let to = |n: u8| {
        let mut it = grant(30);
        it.matches.destination = Ipv4Addr::new(192, 168, 21, n);
        it
    };
    for n in 0..10 {
        world.offer(to(n));
    }
    assert_eq!(world.acks().last(), Some(&Status::TableFull));
    assert_eq!(world.kernel.len(), world::SHORTCUTS_MAX as usize);
    world.offer(to(0));
    assert_eq!(world.acks(), [Status::Installed], "one that is there is renewed");
}

#[test]
fn twenty_thousand_shortcuts_are_renewed_in_messages_that_fit() {
    let limits = Limits { shortcuts_max: 20_000, per_vpc_max: 20_000, per_vm_max: 8 };
    let mut world = World::with(limits);
    world.trust();
    let start = world.kernel.len();
    for n in 0..20_000u32 {
        let mut it = grant(30);
        it.matches.destination = Ipv4Addr::from(0x0a00_0000 + n);
        world.offer_quietly(it);
    }
    assert_eq!(world.kernel.len() - start, 20_000);
    world.hit(1);
    world.pass(10 * S);
    let renewed: usize =
        world.said("renew").iter().map(|(_, m)| if let Message::Renew(h) = m { h.len() } else { 0 }).sum();
    assert_eq!(renewed, 20_000);
    world.pass(30 * S);
    assert!(world.kernel.is_empty());
}

#[test]
fn a_shortcut_that_comes_after_the_withdraw_that_was_written_after_it_is_not_acted_on() {
    let mut world = World::trusted();
    let shortcut = world.sealed(&Message::Shortcut(grant(30)));
    world.overlay(Message::Withdraw { scope: Scope::Vpc, reason: WithdrawReason::SwitchedOff });
    world.overlay_bytes(&shortcut);
    assert!(world.kernel.is_empty());
    assert_eq!(world.acks().last(), Some(&Status::Refused(RefusedWhy::NotFresh)));
    world.offer(grant(30));
    assert_eq!(world.kernel.len(), 1, "what is written later counts");
}

#[test]
fn a_shortcut_that_waits_for_its_host_can_be_withdrawn() {
    let mut world = World::trusted();
    world.alive.remove(&OTHER);
    let mut other = grant(30);
    other.action.vtep = OTHER;
    world.offer(other);
    world.overlay(Message::Withdraw { scope: Scope::One(other.matches), reason: WithdrawReason::Policy });
    world.alive.insert(OTHER);
    world.pass(2 * S);
    assert!(world.kernel.is_empty(), "its host answers, but nobody wants it any more");
}

#[test]
fn an_operator_who_wants_no_shortcuts_has_none() {
    let mut world = World::trusted();
    world.offer(grant(30));
    assert_eq!(world.kernel.len(), 1);
    world.input(Input::Switch(false));
    assert!(world.kernel.is_empty());
    world.offer(grant(30));
    assert_eq!(world.acks(), [Status::Refused(RefusedWhy::Policy)]);
    world.input(Input::Switch(true));
    world.offer(grant(30));
    assert_eq!(world.kernel.len(), 1);
}
