//! What goes through a sender and a receiver comes out the same; anything else is refused and counted.

#![expect(clippy::unwrap_used, reason = "a test that cannot make a message has failed")]

use std::net::Ipv4Addr;

use proptest::{collection::vec, option, prelude::*};
use tidegate_zsnp::{
    Action, Capabilities, Counters, HEADER_BYTES, HITS_MAX, Hit, Key, KeyId, Keyring, Kind, Mac, Match,
    Message, PATHS_MAX, PathQuality, Receiver, Refusal, RefusedWhy, Scope, Sender, SenderId, Shortcut,
    Station, Status, TAG_BYTES, TooLong, Transaction, Vni, VpcTag, WithdrawReason,
};

fn key(id: u32) -> Key {
    Key::new(KeyId(id), &[id as u8; 32]).unwrap()
}

fn keys() -> Keyring {
    Keyring::new(key(1), None).unwrap()
}

fn sealed(sender: &mut Sender, message: &Message) -> Vec<u8> {
    sender.seal(&keys(), VpcTag(7), Transaction(9), message).unwrap()
}

/// Bytes with the tag that they should have, as somebody with the key would send them.
fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = (bytes.len() + TAG_BYTES) as u16;
    bytes[6..8].copy_from_slice(&length.to_be_bytes());
    let tag = key(1).tag(&bytes);
    bytes.extend(tag);
    bytes
}

// ---- any message -----------------------------------------------------------------------------------------------------

prop_compose! {
    fn vni()(raw in 1u32..1 << 24) -> Vni { Vni::new(raw).unwrap() }
}
prop_compose! {
    fn station()(vni in vni(), mac: [u8; 6], address: Ipv4Addr) -> Station {
        Station { address, mac: Mac(mac), vni }
    }
}
prop_compose! {
    fn matches()(vni in vni(), mac: [u8; 6], destination: Ipv4Addr) -> Match {
        Match { vni, gateway_mac: Mac(mac), destination }
    }
}
prop_compose! {
    fn action()(vni in vni(), mac: [u8; 6], vtep: Ipv4Addr) -> Action { Action { vni, mac: Mac(mac), vtep } }
}
prop_compose! {
    fn hit()(matches in matches(), packets: u64, bytes: u64) -> Hit { Hit { matches, packets, bytes } }
}
prop_compose! {
    fn path()(vtep: Ipv4Addr, rtt_us: u32, jitter_us: u32, loss_permille in 0u16..=1000) -> PathQuality {
        PathQuality { vtep, rtt_us, jitter_us, loss_permille }
    }
}
prop_compose! {
    fn counters()(shortcuts: u64, packets: u64, bytes: u64, refused: u64) -> Counters {
        Counters { shortcuts, packets, bytes, refused }
    }
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![
        Just(Status::Installed),
        Just(Status::Removed),
        Just(Status::Refused(RefusedWhy::UnknownVni)),
        Just(Status::Refused(RefusedWhy::NotFresh)),
        Just(Status::TableFull),
    ]
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        matches().prop_map(Scope::One),
        vni().prop_map(Scope::Vni),
        Just(Scope::Vpc),
        (vni(), any::<Ipv4Addr>()).prop_map(|(vni, destination)| Scope::Towards { vni, destination }),
    ]
}

fn reason() -> impl Strategy<Value = WithdrawReason> {
    use WithdrawReason::{Moved, Policy, Shutdown, SwitchedOff};
    prop::sample::select(vec![SwitchedOff, Moved, Policy, Shutdown])
}

fn message() -> impl Strategy<Value = Message> {
    let capabilities = || any::<u32>().prop_map(Capabilities);
    prop_oneof![
        station().prop_map(Message::Locate),
        (station(), any::<Ipv4Addr>(), any::<u16>(), capabilities()).prop_map(
            |(station, vtep, mtu, capabilities)| Message::Here { station, vtep, mtu, capabilities }
        ),
        (matches(), action(), 1u32.., any::<u16>()).prop_map(|(matches, action, lifetime_s, mtu)| {
            Message::Shortcut(Shortcut { matches, action, lifetime_s, mtu })
        }),
        status().prop_map(Message::Ack),
        (scope(), reason()).prop_map(|(scope, reason)| Message::Withdraw { scope, reason }),
        (vni(), any::<Ipv4Addr>(), any::<u64>()).prop_map(|(vni, destination, sent)| Message::Probe {
            vni,
            destination,
            sent
        }),
        any::<u64>().prop_map(|sent| Message::ProbeReply { sent }),
        vec(hit(), 0..=HITS_MAX).prop_map(Message::Renew),
        (capabilities(), option::of(counters()), vec(path(), 0..=PATHS_MAX))
            .prop_map(|(capabilities, counters, paths)| Message::Hello { capabilities, counters, paths }),
    ]
}

// ---- laws ------------------------------------------------------------------------------------------------------------

proptest! {
    /// What is sealed is opened, once.
    #[test]
    fn a_message_comes_out_as_it_went_in(message in message(), id: u64, epoch: u64, vpc: u32, transaction: u64) {
        let (keys, mut sender, mut receiver) = (keys(), Sender::new(SenderId(id), epoch), Receiver::new(4));
        let bytes = sender.seal(&keys, VpcTag(vpc), Transaction(transaction), &message).unwrap();
        let got = receiver.open(&keys, &bytes).unwrap();
        prop_assert_eq!(&got.message, &message);
        prop_assert_eq!((got.header.kind, got.header.sender, got.header.epoch), (message.kind(), SenderId(id), epoch));
        prop_assert_eq!((got.header.vpc, got.header.transaction), (VpcTag(vpc), Transaction(transaction)));
        prop_assert_eq!((got.header.sequence, got.first), (1, true));
        prop_assert_eq!(receiver.open(&keys, &bytes), Err(Refusal::Replayed));
        prop_assert_eq!((receiver.refusals().of(Refusal::Replayed), receiver.refusals().total()), (1, 1));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// No part of a message is a message, and no message with one bit turned.
    #[test]
    fn what_was_cut_or_flipped_is_refused(message in message()) {
        let bytes = sealed(&mut Sender::new(SenderId(1), 1), &message);
        let mut receiver = Receiver::new(4);
        for length in 0..bytes.len() {
            prop_assert!(receiver.open(&keys(), &bytes[..length]).is_err());
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(receiver.open(&keys(), &flipped).is_err(), "bit {bit}");
        }
        prop_assert_eq!(receiver.refusals().total(), bytes.len() as u64 * 9);
        prop_assert_eq!(receiver.senders(), 0, "nothing was learned");
    }
}

proptest! {
    /// Somebody with the key may still send anything: no panic, and what is taken can be said again.
    #[test]
    fn any_signed_bytes_are_refused_or_a_message(kind in 0u8..12, body in vec(any::<u8>(), 0..200)) {
        let mut bytes = sealed(&mut Sender::new(SenderId(1), 1), &Message::ProbeReply { sent: 0 });
        bytes.truncate(HEADER_BYTES);
        bytes[5] = kind;
        bytes.extend(&body);
        if let Ok(got) = Receiver::new(1).open(&keys(), &signed(bytes)) {
            let again = sealed(&mut Sender::new(SenderId(1), 1), &got.message);
            prop_assert_eq!(Receiver::new(1).open(&keys(), &again).unwrap().message, got.message);
        }
    }
}

// ---- cases -----------------------------------------------------------------------------------------------------------

#[test]
fn a_shortcut_looks_as_the_manual_says() {
    let vni = |raw| Vni::new(raw).unwrap();
    let shortcut = Message::Shortcut(Shortcut {
        matches: Match {
            vni: vni(222),
            gateway_mac: Mac([2, 0, 0, 0, 0, 1]),
            destination: Ipv4Addr::new(10, 1, 2, 9),
        },
        action: Action { vni: vni(223), mac: Mac([2, 1, 0, 0, 2, 9]), vtep: Ipv4Addr::new(172, 31, 2, 1) },
        lifetime_s: 30,
        mtu: 1450,
    });
    let bytes = sealed(&mut Sender::new(SenderId(0x0102_0304_0506_0708), 0x1122), &shortcut);
    let (signed, tag) = bytes.split_at(bytes.len() - TAG_BYTES);
    let hex: String = signed.iter().map(|byte| format!("{byte:02x}")).collect();
    let expect = [
        "5a534e50 01 03 0078 00000001 00000007",
        "0102030405060708 0000000000001122 0000000000000001 0000000000000009",
        "8005 0010 000000de 020000000001 0000 0a010209",
        "8006 0010 000000df 020100000209 0000 ac1f0201",
        "8007 0004 0000001e",
        "8003 0002 05aa 0000",
    ];
    assert_eq!(hex, expect.concat().replace(' ', ""));
    assert_eq!((bytes.len(), tag.len()), (0x78, 16));
}

#[test]
fn keys_change_without_an_outage() {
    let hello = Message::ProbeReply { sent: 1 };
    let ring = |first, second: Option<u32>| Keyring::new(key(first), second.map(key)).unwrap();
    // Old only; new known; new signs; new only. Neighbours in time understand each other, both ways.
    let steps = [ring(1, None), ring(1, Some(2)), ring(2, Some(1)), ring(2, None)];
    let (mut sender, mut receiver) = (Sender::new(SenderId(1), 1), Receiver::new(1));
    let mut hears = |from: &Keyring, to: &Keyring| {
        let bytes = sender.seal(from, VpcTag(0), Transaction(0), &hello).unwrap();
        receiver.open(to, &bytes).map(|_| ())
    };
    for pair in steps.windows(2) {
        assert_eq!((hears(&pair[0], &pair[1]), hears(&pair[1], &pair[0])), (Ok(()), Ok(())));
    }
    assert_eq!(hears(&steps[0], &steps[3]), Err(Refusal::UnknownKey));
    let other = Keyring::new(Key::new(KeyId(1), &[9; 32]).unwrap(), None).unwrap();
    assert_eq!(hears(&other, &steps[0]), Err(Refusal::BadTag));
}

#[test]
fn an_older_life_of_a_sender_is_refused_and_a_newer_one_begins_anew() {
    let message = Message::ProbeReply { sent: 1 };
    let mut receiver = Receiver::new(1);
    let (mut old, mut new) = (Sender::new(SenderId(1), 1), Sender::new(SenderId(1), 2));
    let mut open = |bytes: &[u8]| receiver.open(&keys(), bytes).map(|got| got.first);
    let recorded = sealed(&mut old, &message);
    assert_eq!(open(&sealed(&mut old, &message)), Ok(true));
    assert_eq!(open(&recorded), Ok(false), "late, but within the window");
    assert_eq!(open(&sealed(&mut new, &message)), Ok(true));
    assert_eq!(open(&sealed(&mut new, &message)), Ok(false));
    assert_eq!(open(&sealed(&mut old, &message)), Err(Refusal::OldEpoch));
    // One place: another sender takes it.
    assert_eq!(open(&sealed(&mut Sender::new(SenderId(2), 1), &message)), Ok(true));
    assert_eq!(receiver.senders(), 1);
}

#[test]
fn unknown_parts_are_skipped_or_refuse_the_message() {
    let mut bytes = sealed(&mut Sender::new(SenderId(1), 1), &Message::ProbeReply { sent: 1 });
    bytes.truncate(bytes.len() - TAG_BYTES);
    let with = |tlv: &[u8]| signed([&bytes[..], tlv].concat());
    let open = |bytes: &[u8]| Receiver::new(1).open(&keys(), bytes).map(|got| got.message);
    assert_eq!(open(&with(&[0x00, 0x63, 0, 1, 5, 0, 0, 0])), Ok(Message::ProbeReply { sent: 1 }));
    assert_eq!(open(&with(&[0x80, 0x63, 0, 1, 5, 0, 0, 0])), Err(Refusal::UnknownTlv));
    assert_eq!(open(&with(&[0x00, 0x63, 0, 1, 5, 0, 0, 1])), Err(Refusal::Malformed), "padding");
    assert_eq!(open(&with(&[0x80, 0x0b, 0, 0])), Err(Refusal::Malformed), "what does not belong there");
    assert_eq!(open(&with(&[0x00, 0x63, 0, 9])), Err(Refusal::Malformed), "longer than the message");
    let mut newer = bytes.clone();
    newer[4] = 2;
    assert_eq!(open(&signed(newer)), Err(Refusal::Version));
    let mut unknown = bytes.clone();
    unknown[5] = 10;
    assert_eq!(open(&signed(unknown)), Err(Refusal::Malformed));
}

#[test]
fn a_message_that_is_too_long_is_not_sealed() {
    let hit = Hit {
        matches: Match {
            vni: Vni::new(1).unwrap(),
            gateway_mac: Mac::default(),
            destination: Ipv4Addr::UNSPECIFIED,
        },
        packets: 0,
        bytes: 0,
    };
    let mut sender = Sender::new(SenderId(1), 1);
    let sealed = sender.seal(&keys(), VpcTag(0), Transaction(0), &Message::Renew(vec![hit; 40]));
    assert_eq!(sealed, Err(TooLong(HEADER_BYTES + 40 * 36 + TAG_BYTES)));
    assert_eq!(Kind::ALL.len(), 9);
}
