//! Ids, addresses and units of the packet path. Network order exists only inside `wire`; here everything is host order.

use std::{fmt, num::NonZeroU32, str::FromStr};

use thiserror::Error;

/// VXLAN network identifier: 24 bits, never 0 (RFC 7348 §5; 0 is reserved by us, `docs/adr/0005-vni-0.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(NonZeroU32);

/// A value that is no VNI: 0, or above [`Vni::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is no VNI; give 1 to 16777215")]
pub struct BadVni(pub u32);

impl Vni {
    /// The largest VNI, 2^24 - 1.
    pub const MAX: u32 = (1 << 24) - 1;

    /// # Errors
    /// [`BadVni`] carries the refused value: 0, or above [`Vni::MAX`].
    pub const fn new(raw: u32) -> Result<Vni, BadVni> {
        match NonZeroU32::new(raw) {
            Some(vni) if raw <= Vni::MAX => Ok(Vni(vni)),
            _ => Err(BadVni(raw)),
        }
    }

    /// The number, 1 to [`Vni::MAX`].
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 802.1Q VLAN id, 1 to 4094 (IEEE 802.1Q: 0 is a priority tag, 4095 is reserved).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vid(u16);

/// A value that is no VLAN id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is no VLAN id; give 1 to 4094")]
pub struct BadVid(pub u16);

impl Vid {
    /// # Errors
    /// [`BadVid`] carries the refused value: 0 or above 4094.
    pub const fn new(raw: u16) -> Result<Vid, BadVid> {
        match raw {
            1..=4094 => Ok(Vid(raw)),
            _ => Err(BadVid(raw)),
        }
    }

    /// The number, 1 to 4094.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A 48-bit Ethernet address, held as a number: `02:00:00:00:00:01` is `0x0200_0000_0001`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(u64);

/// A text that is no MAC address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no MAC address; write six hexadecimal pairs as in 02:00:00:00:00:01")]
pub struct BadMac(pub String);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff
    pub const BROADCAST: MacAddr = MacAddr(0xffff_ffff_ffff);

    /// From the six bytes as they are on the wire.
    pub const fn new(b: [u8; 6]) -> MacAddr {
        MacAddr(u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]]))
    }

    /// The lower 48 bits of `raw`.
    pub const fn from_u64(raw: u64) -> MacAddr {
        MacAddr(raw & 0xffff_ffff_ffff)
    }

    /// The address as a number below 2^48.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The six bytes as a CPU reads them: the first is the lowest.
    pub const fn to_wire(self) -> u64 {
        (self.0 << 16).swap_bytes()
    }

    /// The inverse of [`MacAddr::to_wire`], of the lower 48 bits of `raw`.
    pub const fn from_wire(raw: u64) -> MacAddr {
        MacAddr((raw << 16).swap_bytes())
    }

    /// The six bytes as they are on the wire.
    pub const fn octets(self) -> [u8; 6] {
        let b = self.0.to_be_bytes();
        [b[2], b[3], b[4], b[5], b[6], b[7]]
    }

    /// Group bit set: broadcast or multicast (IEEE 802).
    pub const fn is_group(self) -> bool {
        self.0 & 0x0100_0000_0000 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.octets();
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<MacAddr, BadMac> {
        let bad = || BadMac(text.to_owned());
        let mut octets = [0u8; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(bad)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(MacAddr::new(octets)) }
    }
}

macro_rules! index_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u16);

        impl $name {
            /// The place in the table of its kind.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index_id!(
    /// A port of the gateway: index into [`Tables::ports`](crate::table::Tables::ports).
    PortId
);
index_id!(
    /// A network as the gateway is attached to it, the place of policy for ingress and egress: index into
    /// [`Tables::nets`](crate::table::Tables::nets). Kept stable by control as long as the network exists.
    NetId
);
index_id!(
    /// A routing table: index into [`Tables::vrfs`](crate::table::Tables::vrfs). Stable as [`NetId`] is.
    VrfId
);
index_id!(
    /// One of our own tunnel ends: index into [`Tables::vteps`](crate::table::Tables::vteps).
    VtepId
);
index_id!(
    /// A public address: index into [`Tables::vips`](crate::table::Tables::vips). Stable as [`NetId`] is.
    VipId
);
index_id!(
    /// A worker, counted from 0; not the number of its lcore.
    WorkerId
);

impl NetId {
    /// "No network": entry 0 of every table by network, where packets are counted before their network is known.
    pub const NONE: NetId = NetId(0);
}

/// The largest IP packet of a network in bytes, IP header included, without Ethernet and tunnel headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(u16);

/// A value that is no MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is no MTU; give {min} to {max} bytes", min = Mtu::MIN, max = Mtu::MAX)]
pub struct BadMtu(pub u32);

impl Mtu {
    /// RFC 1122 §3.3.2: every host takes 576 bytes.
    pub const MIN: u32 = 576;
    /// Jumbo frames as the field builds them.
    pub const MAX: u32 = 9216;

    /// [`Mtu::MAX`] as an MTU.
    pub const LARGEST: Mtu = Mtu(Mtu::MAX as u16);

    /// # Errors
    /// [`BadMtu`] carries the refused value: below [`Mtu::MIN`] or above [`Mtu::MAX`].
    pub const fn new(raw: u32) -> Result<Mtu, BadMtu> {
        if raw >= Mtu::MIN && raw <= Mtu::MAX { Ok(Mtu(raw as u16)) } else { Err(BadMtu(raw)) }
    }

    /// Bytes.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Monotonic time in nanoseconds since the engine started. It comes in with each burst; no stage asks a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl Nanos {
    /// From whole milliseconds.
    pub const fn from_ms(ms: u64) -> Nanos {
        Nanos(ms * 1_000_000)
    }

    /// The coarse form that flow records keep: units of 2^20 ns (about 1.05 ms), wrapping after 52 days.
    pub const fn tick(self) -> Tick {
        Tick((self.0 >> 20) as u32)
    }
}

/// Coarse time, see [`Nanos::tick`]. Compare only through [`Tick::age_since`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// Ticks from `earlier` to `self`; right for distances below 26 days. A moment that lies ahead counts as 0.
    pub const fn age_since(self, earlier: Tick) -> u32 {
        let age = self.0.wrapping_sub(earlier.0);
        if age > u32::MAX / 2 { 0 } else { age }
    }

    /// How many ticks make `seconds`.
    pub const fn ticks_of_s(seconds: u32) -> u32 {
        ((seconds as u64 * 1_000_000_000) >> 20) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_1_to_2_pow_24_minus_1_are_vnis() {
        for (raw, legal) in [(0, false), (1, true), (Vni::MAX, true), (Vni::MAX + 1, false)] {
            assert_eq!(Vni::new(raw).is_ok(), legal, "{raw}");
        }
    }

    #[test]
    fn mac_addresses_read_and_print_the_same() {
        let text = "fa:16:3e:00:20:9a";
        let mac: MacAddr = text.parse().unwrap();
        assert_eq!((mac.to_string().as_str(), mac.octets()), (text, [0xfa, 0x16, 0x3e, 0, 0x20, 0x9a]));
        for bad in ["", "fa:16:3e:00:20", "fa:16:3e:00:20:9a:00", "fa:16:3e:0:20:9a", "zz:16:3e:00:20:9a"] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_survive_the_wrap_and_never_go_negative() {
        assert_eq!(Tick(5).age_since(Tick(u32::MAX - 4)), 10);
        assert_eq!(Tick(5).age_since(Tick(6)), 0);
    }
}
