//! What the engine needs of a packet buffer. `io::mem` implements it on the heap and `io::dpdk` on an mbuf, so nearly
//! everything is tested without DPDK. The engine is generic over it; what that costs is in `docs/adr/`.

/// One packet in one contiguous buffer with room in front. Dropping it frees it.
///
/// The engine strips headers with [`Buffer::strip`] and puts new ones on with [`Buffer::prepend`]; both only move the
/// start of the packet.
pub trait Buffer: Sized {
    /// The packet.
    fn bytes(&self) -> &[u8];

    /// The packet, to change it.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Removes `n` bytes at the front. Returns false, and changes nothing, when the packet is shorter.
    fn strip(&mut self, n: usize) -> bool;

    /// Adds `n` bytes at the front, content unspecified, and returns the whole packet; `None`, with nothing changed,
    /// when there is no room.
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]>;

    /// Adds `n` bytes at the end, content unspecified, and returns the whole packet; `None`, with nothing changed,
    /// when there is no room.
    fn append(&mut self, n: usize) -> Option<&mut [u8]>;

    /// Cuts the packet to `len` bytes if it is longer.
    fn truncate(&mut self, len: usize);

    /// Keeps `len` bytes from `start` on. Changes nothing when the packet has not so many.
    fn crop(&mut self, start: usize, len: usize) {
        if start.checked_add(len).is_some_and(|end| end <= self.bytes().len()) {
            self.strip(start);
            self.truncate(len);
        }
    }

    /// Keeps `len` bytes from `start` on, adds `n` in front of them, content unspecified, and returns the whole; `None`, with
    /// nothing changed, when the packet has not so many bytes or there is no room.
    fn reframe(&mut self, start: usize, len: usize, n: usize) -> Option<&mut [u8]>;

    /// Whether the packet has further segments, which the engine refuses.
    fn is_segmented(&self) -> bool {
        false
    }
}
