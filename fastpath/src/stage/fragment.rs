//! How is a packet cut for a smaller MTU (RFC 791 §3.2)? The first fragment stays in the packet's own buffer; `alloc` gives
//! the buffers of the others.

use crate::{
    buffer::Buffer,
    reason::DropReason,
    types::Mtu,
    wire::ipv4::{self, HEADER_LEN, Ipv4, MF, OFFSET},
};

/// Cuts `packet` so that no piece is longer than `mtu` and gives each further fragment to `send`, last byte last. The
/// packet itself becomes the first one. At most 128 fragments: 64 KiB over the smallest MTU.
///
/// # Errors
/// [`DropReason::NoBuffer`], after which the packet must be dropped; fragments that were sent before stay sent, as if the
/// rest had been lost on the way.
pub fn cut<B: Buffer>(
    packet: &mut B,
    ip: &Ipv4,
    mtu: Mtu,
    mut alloc: impl FnMut() -> Option<B>,
    mut send: impl FnMut(B),
) -> Result<(), DropReason> {
    let header_len = usize::from(ip.header_len());
    let payload_len = usize::from(ip.total_len()).saturating_sub(header_len);
    let (options, options_len) = ipv4::copied_options(&packet.bytes()[..header_len]);
    let head = HEADER_LEN + options_len;
    let room = |header: usize| (usize::from(mtu.get()) - header) & !7;

    let first_len = room(header_len).min(payload_len);
    let mut at = first_len;
    while at < payload_len {
        let len = room(head).min(payload_len - at);
        let mut next = alloc().ok_or(DropReason::NoBuffer)?;
        let bytes = next.append(head + len).ok_or(DropReason::NoBuffer)?;
        let original = packet.bytes();
        bytes[..HEADER_LEN].copy_from_slice(&original[..HEADER_LEN]);
        bytes[0] = 0x40 | (head / 4) as u8;
        bytes[HEADER_LEN..head].copy_from_slice(&options[..options_len]);
        bytes[head..].copy_from_slice(&original[header_len + at..header_len + at + len]);
        ipv4::set_fragment(bytes, head, (head + len) as u16, place(ip, at, at + len < payload_len));
        send(next);
        at += len;
    }
    packet.truncate(header_len + first_len);
    let more = first_len < payload_len;
    ipv4::set_fragment(packet.bytes_mut(), header_len, (header_len + first_len) as u16, place(ip, 0, more));
    Ok(())
}

/// Flags and offset of the fragment that begins `at` bytes into the payload of `ip`, itself perhaps a fragment.
fn place(ip: &Ipv4, at: usize, more: bool) -> u16 {
    let offset = ((ip.fragment() & OFFSET) + (at / 8) as u16) & OFFSET;
    offset | if more { MF } else { ip.fragment() & MF }
}

// The longest header leaves room for at least one block of 8 bytes.
const _: () = assert!(Mtu::MIN >= 60 + 8);
