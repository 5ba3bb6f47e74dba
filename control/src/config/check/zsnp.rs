//! `gateway.zsnp`.

use super::{
    Report,
    gateway::{AT, number},
    text,
};
use crate::config::{
    Zsnp,
    raw::{RawZsnp, range as r},
};

pub(super) fn zsnp(raw: &RawZsnp, report: &mut Report) -> Option<Zsnp> {
    let size = |raw: Option<u64>, default: u64| number(raw, default) as usize;
    let read = report.read(AT, "zsnp.keys", raw.keys.as_deref(), text::path);
    Some(Zsnp {
        keys: read?,
        protocol: u8::try_from(raw.protocol.unwrap_or(r::ZSNP_PROTOCOL_DEFAULT)).unwrap_or(u8::MAX),
        threshold: number(raw.threshold_packets_per_second, r::ZSNP_THRESHOLD_DEFAULT),
        lifetime_s: number(raw.lifetime_s, r::ZSNP_LIFETIME_DEFAULT),
        hold_off_s: number(raw.hold_off_s, r::ZSNP_HOLD_OFF_DEFAULT),
        pairs: size(raw.pairs, r::ZSNP_PAIRS_DEFAULT),
        pairs_per_vpc: size(raw.pairs_per_vpc, r::ZSNP_PAIRS_PER_VPC_DEFAULT),
        pairs_per_vm: size(raw.pairs_per_vm, r::ZSNP_PAIRS_PER_VM_DEFAULT),
        locates_per_second: number(raw.locates_per_second, r::ZSNP_LOCATES_DEFAULT),
        withdraw_on_stop: raw.withdraw_on_stop.unwrap_or_default(),
    })
}
