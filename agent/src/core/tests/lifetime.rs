//! Whatever is said to the agent, by whom and in which order: no shortcut without a gateway's word, none outlives it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_zsnp::{Keyring, Message, Scope, WithdrawReason};

use super::world::{APP, FAR, OTHER, S, SHORTCUTS_MAX, World, grant};
use crate::bpf::Pair;

#[derive(Clone, Debug)]
enum Step {
    Offer { last: u8, lifetime_s: u32 },
    Forge { last: u8 },
    Replay(usize),
    Withdraw,
    Moved,
    Gateway(bool),
    Host(bool),
    Hit,
    Restart,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12u8, 1..120u32).prop_map(|(last, lifetime_s)| Step::Offer { last, lifetime_s }),
        1 => (0..12u8).prop_map(|last| Step::Forge { last }),
        2 => (0..64usize).prop_map(Step::Replay),
        1 => Just(Step::Withdraw),
        1 => Just(Step::Moved),
        1 => any::<bool>().prop_map(Step::Gateway),
        1 => any::<bool>().prop_map(Step::Host),
        3 => Just(Step::Hit),
        1 => Just(Step::Restart),
        4 => (0..60_000_000_000u64).prop_map(Step::Pass),
    ]
}

/// What a gateway said of a pair last: when, and for how long.
type Word = BTreeMap<Pair, (u64, u64)>;

/// With a grace of an hour, nothing lasts longer than that after the gateway's last word; with a gateway that is heard, not longer
/// than the lifetime.
fn check(world: &World, words: &Word, always_heard: bool) -> Result<(), TestCaseError> {
    prop_assert!(world.kernel.len() <= SHORTCUTS_MAX as usize);
    prop_assert_eq!(world.kernel.len(), world.agent.table().len(), "table and kernel agree");
    for (pair, rule) in world.kernel.iter().filter(|(_, rule)| rule.expires_ns > world.now) {
        let word = words.get(pair);
        prop_assert!(word.is_some(), "nobody granted {:?}", pair);
        let (said, lifetime) = word.copied().unwrap_or_default();
        let longest = if always_heard { lifetime } else { lifetime.max(3600 * S) };
        prop_assert!(rule.expires_ns <= said + longest, "{:?} outlives its gateway's word", pair);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_shortcut_without_a_word_and_none_outlives_it(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::trusted();
        let foreign = Keyring::parse(&format!("7 {}", "cd".repeat(32))).unwrap();
        let mut recorded: Vec<Vec<u8>> = Vec::new();
        let (mut words, mut always_heard) = (Word::new(), true);
        for step in steps {
            let to = |last: u8, lifetime_s: u32| {
                let mut it = grant(lifetime_s);
                it.matches.destination = [192, 168, 21, last].into();
                it
            };
            match step {
                Step::Offer { last, lifetime_s } => {
                    let shortcut = to(last, lifetime_s);
                    let payload = world.sealed(&Message::Shortcut(shortcut));
                    recorded.push(payload.clone());
                    let pair = Pair { vni: shortcut.matches.vni, address: shortcut.matches.destination };
                    // It may be acted on later, when the host has answered; that is still a word of now or of then.
                    let longest = words.get(&pair).map_or(0, |(_, lifetime)| *lifetime);
                    let lifetime = (u64::from(lifetime_s) * S).max(longest);
                    words.insert(pair, (world.now + 5 * S, lifetime));
                    world.overlay_bytes(&payload);
                }
                Step::Forge { last } => {
                    let payload = world.sealed_with(&foreign, &Message::Shortcut(to(last, 3600)));
                    world.overlay_bytes(&payload);
                }
                Step::Replay(at) => {
                    if let Some(payload) = recorded.get(at % recorded.len().max(1)).cloned() {
                        world.overlay_bytes(&payload);
                    }
                }
                Step::Withdraw => {
                    world.overlay(Message::Withdraw { scope: Scope::Vpc, reason: WithdrawReason::SwitchedOff });
                    prop_assert!(world.kernel.is_empty());
                }
                Step::Moved => {
                    let scope = Scope::Towards { vni: APP.vni, destination: [192, 168, 21, 1].into() };
                    let moved = Message::Withdraw { scope, reason: WithdrawReason::Moved };
                    world.underlay_from_stranger(OTHER, &moved);
                }
                Step::Gateway(answers) => {
                    world.gateway_answers = answers;
                    always_heard &= answers;
                }
                Step::Host(answers) => {
                    if answers { world.alive.insert(FAR); } else { world.alive.remove(&FAR); }
                }
                Step::Hit => world.hit(3),
                Step::Restart => {
                    world.restart();
                    // What is said from now on is heard by somebody who has never heard the gateway.
                    words.clear();
                }
                Step::Pass(ns) => world.pass(ns),
            }
            check(&world, &words, always_heard)?;
        }
        // However it went: when nobody says anything any more, nothing is left.
        world.gateway_answers = false;
        world.alive.clear();
        world.pass(3700 * S);
        prop_assert!(world.kernel.is_empty());
    }
}
