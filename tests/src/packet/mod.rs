//! Packets as text, so that a test reads as documentation. A packet is its headers from the outside in, separated by `|`;
//! a header is its kind, source `>` destination, and words for what differs from the usual:
//!
//! | Header | Words (default) |
//! |---|---|
//! | `eth 02:00:00:01:01:07 > ff:ff:ff:ff:ff:ff` | `type=` |
//! | `vlan 100` | `pcp=` (0) |
//! | `vxlan 222 10.172.11.11 > 10.172.11.91` | `sport=` (49152) `dport=` (8472) `flags=` (8) `reserved=` (0) `sum` (no checksum), and those of IPv4 |
//! | `tcp 10.1.1.7:40000 > 10.1.2.1:443 S` | flags of `SAFRPU` (`.` for none) `seq=` `ack=` `mss=`, and those of IPv4 |
//! | `udp 10.1.1.7:4000 > 10.1.2.1:53` | those of IPv4 |
//! | `icmp echo 10.1.1.7 > 10.1.2.1` | `echo`, `echo-reply` with `id=` `seq=`; `ttl-exceeded`, `frag-needed` with `mtu=`, `no-net`, `no-host`, `no-protocol`, `no-port`, `prohibited`; and those of IPv4 |
//! | `ip 10.1.1.7 > 10.1.2.1` | `proto=` (253), and those of IPv4; also for fragments after the first |
//! | `arp ask 10.1.1.1 from 10.1.1.7 02:00:00:01:01:07` | `to=` a MAC (00:00:00:00:00:00) |
//! | `arp tell 10.1.1.1 02:00:00:00:00:01 to 10.1.1.7 02:00:00:01:01:07` | |
//! | `hex 0800ff` | any bytes |
//!
//! IPv4: `ttl=` (64), `tos=` (0), `ipid=` (0), `df`, `mf`, `off=` in bytes (0), `opt=` options in hexadecimal,
//! `len=` bytes of payload (0), `badsum` for a wrong header checksum. A checksum further in that is wrong is `badl4sum`.
//! What follows an ICMP error is the packet that it quotes.
//!
//! [`frame`] makes bytes of it, [`describe`] makes text of bytes, and [`check`] compares what a test expects with what
//! came: of an expected header only the words that it states must be there. Bytes are made and read by `etherparse`,
//! independent of the code under test.

mod describe;
mod emit;

pub use self::{describe::describe, emit::frame};

/// Compares a packet with what a test expects of it: the same headers in the same order, each with at least the words
/// that `expected` states. A word in front of `=` only matters where it is stated.
///
/// # Errors
/// Both, as text, where they differ.
pub fn check(expected: &str, actual: &[u8]) -> Result<(), String> {
    let described = describe(actual);
    let fits = {
        let (want, have) = (layers(expected), layers(&described));
        want.len() == have.len()
            && want.iter().zip(&have).all(|(want, have)| want.iter().all(|word| have.contains(word)))
    };
    if fits { Ok(()) } else { Err(format!("expected: {expected}\n     got: {described}")) }
}

/// The words of each header.
fn layers(text: &str) -> Vec<Vec<&str>> {
    text.split('|').map(|layer| layer.split_whitespace().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: &[&str] = &[
        "eth 02:00:00:01:01:07 > ff:ff:ff:ff:ff:ff | arp ask 10.1.1.1 from 10.1.1.7 02:00:00:01:01:07",
        "eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | vlan 100 | tcp 10.1.1.7:40000 > 10.1.2.1:443 S mss=1460 ttl=64 df",
        "eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | vxlan 222 10.172.11.11 > 10.172.11.91 sport=50000 dport=8472 ttl=64 \
         | eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | icmp echo 10.1.1.7 > 10.1.2.1 id=7 seq=1 ttl=63 len=56",
        "eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | icmp frag-needed 10.1.1.1 > 10.1.1.7 mtu=1400 ttl=64 \
         | udp 10.1.1.7:4000 > 10.1.2.1:53 ttl=64",
        "eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | ip 10.1.1.7 > 10.1.2.1 proto=17 ipid=9 off=1480 ttl=64 len=20",
        "eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | udp 10.1.1.7:1 > 10.1.2.1:2 mf ipid=9 ttl=64 len=1472",
        "eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | udp 10.1.1.7:1 > 10.1.2.1:2 badsum ttl=1",
        "eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | udp 10.1.1.7:1 > 10.1.2.1:2 badl4sum ttl=1",
    ];

    #[test]
    fn text_to_bytes_to_text_says_the_same() {
        for text in ROUND {
            let bytes = frame(text).unwrap();
            check(text, &bytes).unwrap_or_else(|wrong| panic!("{wrong}"));
            assert_eq!(frame(&describe(&bytes)).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn a_difference_is_told_as_text() {
        let bytes =
            frame("eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | udp 10.1.1.7:1 > 10.1.2.1:2 ttl=63").unwrap();
        let wrong =
            check("eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | udp 10.1.1.7:1 > 10.1.2.1:2 ttl=64", &bytes);
        assert!(wrong.unwrap_err().ends_with("ttl=63"));
    }

    #[test]
    fn nonsense_is_refused_with_the_header_it_stands_in() {
        for (text, part) in [
            ("eth 02:00 > x", "eth 02:00 > x"),
            ("eth 02:00:00:01:01:07 > 02:00:00:01:01:01 | udp 1.2.3.4 > 5.6.7.8:9", "udp 1.2.3.4"),
            ("udp 1.2.3.4:1 > 5.6.7.8:9 colour=blue", "colour=blue"),
        ] {
            let why = frame(text).unwrap_err();
            assert!(why.to_string().contains(part), "{why}");
        }
    }
}
