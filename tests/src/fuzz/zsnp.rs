//! Messages for a ZSNP receiver.

use std::sync::LazyLock;

use tidegate_zsnp::{HEADER_BYTES, Key, KeyId, Keyring, Receiver, Sender, SenderId, TAG_BYTES};

/// The key of both ends.
static KEY: LazyLock<Key> =
    LazyLock::new(|| Key::new(KeyId(1), &[0x5a; 32]).unwrap_or_else(|why| panic!("{why}")));

/// A receiver hears messages: any bytes are refused and counted, or are a message that is the same when it is said again, and
/// that is not taken twice. The input: per message a byte, a length (two bytes), and bytes. Where the byte is odd, length and tag
/// of the message are set right, as by somebody who has the key.
///
/// # Panics
/// When it is not so.
pub fn zsnp(mut input: &[u8]) {
    let keys = Keyring::new(KEY.clone(), None).unwrap_or_else(|why| panic!("{why}"));
    let mut receiver = Receiver::new(4);
    let mut refused = 0;
    while let Some((&[mends, l0, l1], rest)) = input.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([l0, l1])).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        input = rest;
        let bytes = if mends & 1 == 1 { signed(bytes) } else { bytes.to_vec() };
        match receiver.open(&keys, &bytes) {
            Err(_) => refused += 1,
            Ok(got) => {
                assert!(receiver.open(&keys, &bytes).is_err(), "taken twice");
                refused += 1;
                let mut sender = Sender::new(SenderId(1), 1);
                let again = sender
                    .seal(&keys, got.header.vpc, got.header.transaction, &got.message)
                    .unwrap_or_else(|why| panic!("{why}"));
                let again = Receiver::new(1).open(&keys, &again).unwrap_or_else(|why| panic!("{why:?}"));
                assert_eq!(again.message, got.message);
            }
        }
        assert_eq!(receiver.refusals().total(), refused);
        assert!(receiver.senders() <= 4);
    }
}

/// The bytes with the length and the tag that they should have.
fn signed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let Ok(length) = u16::try_from(bytes.len() + TAG_BYTES) else { return bytes };
    if bytes.len() >= HEADER_BYTES {
        bytes[6..8].copy_from_slice(&length.to_be_bytes());
    }
    let tag = KEY.tag(&bytes);
    bytes.extend(tag);
    bytes
}

/// What a fuzzer begins with: each message, signed, and as it is left without.
pub fn seeds() -> Vec<Vec<u8>> {
    use std::net::Ipv4Addr;

    use tidegate_zsnp::{
        Action, Capabilities, Counters, Hit, Mac, Match, Message, PathQuality, Scope, Shortcut, Station,
        Status, Transaction, Vni, VpcTag, WithdrawReason,
    };

    let vni = |raw| Vni::new(raw).unwrap_or_else(|why| panic!("{why}"));
    let [vm, vtep] = [Ipv4Addr::new(10, 1, 2, 9), Ipv4Addr::new(172, 31, 2, 1)];
    let mac = Mac([2, 1, 0, 0, 2, 9]);
    let station = Station { address: vm, mac, vni: vni(223) };
    let matches = Match { vni: vni(222), gateway_mac: Mac([2, 0, 0, 0, 0, 1]), destination: vm };
    let action = Action { vni: vni(223), mac, vtep };
    let withdraw = |scope| Message::Withdraw { scope, reason: WithdrawReason::Policy };
    let paths = vec![PathQuality { vtep, rtt_us: 100, jitter_us: 10, loss_permille: 1 }];
    let messages = [
        Message::Locate(station),
        Message::Here { station, vtep, mtu: 1450, capabilities: Capabilities::SOURCE },
        Message::Shortcut(Shortcut { matches, action, lifetime_s: 30, mtu: 1450 }),
        Message::Ack(Status::Installed),
        withdraw(Scope::One(matches)),
        withdraw(Scope::Vni(vni(222))),
        withdraw(Scope::Vpc),
        withdraw(Scope::Towards { vni: vni(223), destination: vm }),
        Message::Probe { vni: vni(223), destination: vm, sent: 5 },
        Message::ProbeReply { sent: 5 },
        Message::Renew(vec![Hit { matches, packets: 8, bytes: 800 }]),
        Message::Hello { capabilities: Capabilities::PROBE, counters: Some(Counters::default()), paths },
    ];
    let keys = Keyring::new(KEY.clone(), None).unwrap_or_else(|why| panic!("{why}"));
    let mut sender = Sender::new(SenderId(1), 1);
    let mut story = Vec::new();
    let mut seeds = Vec::new();
    for message in &messages {
        let sealed = sender.seal(&keys, VpcTag(1), Transaction(1), message);
        let sealed = sealed.unwrap_or_else(|why| panic!("{why}"));
        let step =
            |mends: u8, bytes: &[u8]| [&[mends], &(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        story.extend(step(0, &sealed));
        seeds.push(step(1, &sealed[..sealed.len() - TAG_BYTES]));
    }
    seeds.push(story);
    seeds
}
