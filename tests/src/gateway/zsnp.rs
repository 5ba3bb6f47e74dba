//! ZSNP: a gateway with keys, and the agent of a host as far as the gateway sees it.

use std::net::Ipv4Addr;

use tidegate_control::zsnp::Identity;
use tidegate_zsnp::{
    Authentic, Key, KeyId, Keyring, Message, PROTOCOL, Receiver, Refusal, Sender, SenderId, Transaction,
    VpcTag,
};

use super::{Gateway, Sent, Station};

/// In front of the IPv4 header of what is in a tunnel: Ethernet, IPv4, UDP, VXLAN, Ethernet.
const TUNNELLED_AT: usize = 14 + 20 + 8 + 8 + 14;
/// In front of one on the underlay.
const PLAIN_AT: usize = 14;
const IP_LEN: usize = 20;

/// The agent of a host.
#[derive(Debug)]
pub struct Agent {
    /// The host on the underlay.
    pub host: Station,
    /// Who it is as a sender.
    pub sender: Sender,
    keys: Keyring,
    receiver: Receiver,
}

/// A message that an agent took off the wire.
#[derive(Debug)]
pub struct Heard {
    /// Source of its IP packet.
    pub from: Ipv4Addr,
    /// Destination.
    pub to: Ipv4Addr,
    /// Its TTL.
    pub ttl: u8,
    /// The message.
    pub got: Authentic,
}

/// The key of the gateway and of all agents.
fn keys() -> Keyring {
    let key = Key::new(KeyId(7), &[0x42; 32]).expect("a key");
    Keyring::new(key, None).expect("one key")
}

impl Gateway {
    /// Gives the gateway keys.
    pub fn speak_zsnp(&mut self) {
        let sender = Sender::new(SenderId(0x6a7e), 1_000);
        self.control.set_zsnp_identity(Identity { keys: keys(), sender });
    }

    /// Whether hosts may carry packets from a network to an address past the gateway.
    pub fn allows_direct(&self, net: &str, destination: Ipv4Addr) -> bool {
        self.control.compiled().judge(self.net_id(net), destination).is_ok()
    }

    /// The agent of a host on the underlay.
    pub fn agent(&self, host: &str) -> Agent {
        let host = self.stranger("underlay", host, None);
        let sender = Sender::new(SenderId(u64::from(host.ip.to_bits())), 2_000);
        Agent { host, sender, keys: keys(), receiver: Receiver::new(4) }
    }

    /// An agent says something to the gateway.
    pub fn hears(&mut self, agent: &mut Agent, transaction: Transaction, message: &Message) -> Sent<'_> {
        let bytes = agent.seals(transaction, message);
        self.hears_bytes(agent, &bytes)
    }

    /// The same of any bytes.
    pub fn hears_bytes(&mut self, agent: &Agent, bytes: &[u8]) -> Sent<'_> {
        let packet = agent.packet(bytes);
        self.from(&agent.host, &packet)
    }

    /// How often messages were refused for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.control.zsnp().refusals().of(refusal)
    }
}

impl Agent {
    /// The bytes of a message to the gateway.
    pub fn seals(&mut self, transaction: Transaction, message: &Message) -> Vec<u8> {
        self.sender.seal(&self.keys, VpcTag(0), transaction, message).expect("short enough")
    }

    /// The inside of the frame that carries them.
    fn packet(&self, bytes: &[u8]) -> String {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("ip {} > 172.31.0.1 proto={PROTOCOL} df | hex {hex}", self.host.ip)
    }

    /// The message in a frame that the gateway sent, in a tunnel or to this host.
    ///
    /// # Panics
    /// When it is none.
    pub fn reads(&mut self, frame: &[u8]) -> Heard {
        let is_tunnel = frame[PLAIN_AT + 9] == 17;
        let ip = &frame[if is_tunnel { TUNNELLED_AT } else { PLAIN_AT }..];
        assert_eq!((ip[0], ip[9]), (0x45, PROTOCOL), "a packet of ZSNP");
        let address = |at: usize| Ipv4Addr::from_octets([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
        let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let got = self.receiver.open(&self.keys, &ip[IP_LEN..length]);
        let got = got.unwrap_or_else(|why| panic!("the agent refuses it: {}", why.label()));
        Heard { from: address(12), to: address(16), ttl: ip[8], got }
    }
}
