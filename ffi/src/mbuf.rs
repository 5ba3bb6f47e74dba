//! Packet buffers.

use std::{ptr::NonNull, slice};

use crate::sys;

/// One packet, owned: dropping it gives it back to its pool. It is the whole packet where DPDK delivered it in one
/// segment; with more, [`Mbuf::bytes`] shows the first only and [`Mbuf::is_segmented`] tells.
///
/// Each method costs a few loads and stores in the mbuf's first cache line.
#[derive(Debug)]
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an mbuf belongs to no thread; pools take back mbufs from any (rte_mempool.h, multi-producer by default).
unsafe impl Send for Mbuf {}

/// A field of `struct rte_mbuf`, by the offset that the C compiler gave.
macro_rules! field {
    ($(#[$doc:meta])* $name:ident / $set:ident: $type:ty = $offset:ident) => {
        $(#[$doc])*
        #[inline(always)]
        fn $name(&self) -> $type {
            // SAFETY: the mbuf is valid and ours alone; the offset and the type are those of the C field.
            unsafe { self.0.as_ptr().byte_add(sys::$offset as usize).cast::<$type>().read() }
        }

        #[inline(always)]
        fn $set(&mut self, value: $type) {
            // SAFETY: as for reading; `&mut self` makes us the only one who looks.
            unsafe { self.0.as_ptr().byte_add(sys::$offset as usize).cast::<$type>().write(value) }
        }
    };
}

impl Mbuf {
    field! { /// Start of the buffer.
    buf_addr / _set_buf_addr: NonNull<u8> = TG_MBUF_BUF_ADDR }
    field! { /// From there to the packet.
    data_off / set_data_off: u16 = TG_MBUF_DATA_OFF }
    field! { /// Segments, at least 1.
    nb_segs / set_nb_segs: u16 = TG_MBUF_NB_SEGS }
    field! { /// Bytes over all segments.
    pkt_len / set_pkt_len: u32 = TG_MBUF_PKT_LEN }
    field! { /// Bytes in this segment.
    data_len / set_data_len: u16 = TG_MBUF_DATA_LEN }
    field! { /// Size of the buffer, headroom included.
    buf_len / _set_buf_len: u16 = TG_MBUF_BUF_LEN }
    field! { /// The next segment or null.
    next / set_next: *mut sys::rte_mbuf = TG_MBUF_NEXT }

    /// Takes over one reference.
    ///
    /// # Safety
    /// `raw` is a valid mbuf, the first of its chain, and nobody else uses it or its buffer.
    pub(crate) unsafe fn from_raw(raw: NonNull<sys::rte_mbuf>) -> Mbuf {
        Mbuf(raw)
    }

    /// The packet, or its first segment.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: DPDK keeps data_off + data_len <= buf_len, and so does every method here. The buffer was zeroed by the
        // kernel or written since, it is ours alone, and it lives as long as the mbuf.
        unsafe {
            slice::from_raw_parts(
                self.buf_addr().add(usize::from(self.data_off())).as_ptr(),
                usize::from(self.data_len()),
            )
        }
    }

    /// The same, to change it.
    #[inline(always)]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`; `&mut self` makes us the only one who looks.
        unsafe {
            slice::from_raw_parts_mut(
                self.buf_addr().add(usize::from(self.data_off())).as_ptr(),
                usize::from(self.data_len()),
            )
        }
    }

    /// Bytes over all segments.
    #[inline(always)]
    pub fn packet_len(&self) -> u32 {
        self.pkt_len()
    }

    /// Whether it has further segments.
    #[inline(always)]
    pub fn is_segmented(&self) -> bool {
        self.nb_segs() > 1
    }

    /// Bytes that [`Mbuf::prepend`] can still add.
    #[inline(always)]
    pub fn headroom(&self) -> u16 {
        self.data_off()
    }

    /// Bytes that [`Mbuf::append`] can still add.
    #[inline(always)]
    pub fn tailroom(&self) -> u16 {
        self.buf_len().saturating_sub(self.data_off()).saturating_sub(self.data_len())
    }

    /// Removes `n` bytes at the front. Returns false, with nothing changed, when the first segment is shorter.
    #[inline(always)]
    pub fn strip(&mut self, n: usize) -> bool {
        let len = self.data_len();
        match u16::try_from(n) {
            Ok(n) if n <= len => {
                self.set_data_off(self.data_off() + n);
                self.set_data_len(len - n);
                self.set_pkt_len(self.pkt_len() - u32::from(n));
                true
            }
            _ => false,
        }
    }

    /// Adds `n` bytes at the front and returns the whole; `None`, with nothing changed, when the headroom is smaller.
    #[inline(always)]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let n = u16::try_from(n).ok()?;
        let data_off = self.data_off().checked_sub(n)?;
        let data_len = self.data_len().checked_add(n)?;
        self.set_data_off(data_off);
        self.set_data_len(data_len);
        self.set_pkt_len(self.pkt_len() + u32::from(n));
        Some(self.bytes_mut())
    }

    /// Adds `n` bytes at the end and returns the whole; `None`, with nothing changed, when the tailroom is smaller or the
    /// packet has further segments.
    #[inline(always)]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let n = u16::try_from(n).ok()?;
        if n > self.tailroom() || self.is_segmented() {
            return None;
        }
        self.set_data_len(self.data_len() + n);
        self.set_pkt_len(u32::from(self.data_len()));
        Some(self.bytes_mut())
    }

    /// Cuts the packet to `len` bytes if it is longer. With several segments, what remains is at most the first.
    #[inline(always)]
    pub fn truncate(&mut self, len: usize) {
        if self.is_segmented() && len < self.pkt_len() as usize {
            self.drop_further_segments();
        }
        if let Ok(len) = u16::try_from(len)
            && len < self.data_len()
        {
            self.set_data_len(len);
            self.set_pkt_len(u32::from(len));
        }
    }

    /// Keeps `len` bytes from `start` on. Returns false, with nothing changed, when the packet has not so many, or further
    /// segments.
    #[inline(always)]
    pub fn crop(&mut self, start: usize, len: usize) -> bool {
        let there = usize::from(self.data_len());
        if self.is_segmented() || start > there || len > there - start {
            return false;
        }
        // Both are at most `there`, which is 16 bits wide.
        self.set_data_off(self.data_off() + start as u16);
        self.set_data_len(len as u16);
        self.set_pkt_len(len as u32);
        true
    }

    /// Keeps `len` bytes from `start` on, adds `n` in front of them and returns the whole; `None`, with nothing changed, when
    /// the packet has not so many, or further segments, or the headroom is smaller.
    #[inline(always)]
    pub fn reframe(&mut self, start: usize, len: usize, n: usize) -> Option<&mut [u8]> {
        let (there, off) = (usize::from(self.data_len()), usize::from(self.data_off()));
        if self.is_segmented() || start.checked_add(len)? > there {
            return None;
        }
        let off = (off + start).checked_sub(n)?;
        // Both are at most where the packet ended before, which is inside the buffer and so 16 bits wide.
        self.set_data_off(off as u16);
        self.set_data_len((len + n) as u16);
        self.set_pkt_len((len + n) as u32);
        // SAFETY: as for `bytes_mut`. The length is not read again, so that who asks for so many bytes and takes them apart
        // need not check that they are there.
        Some(unsafe { slice::from_raw_parts_mut(self.buf_addr().add(off).as_ptr(), len + n) })
    }

    #[cold]
    fn drop_further_segments(&mut self) {
        if let Some(next) = NonNull::new(self.next()) {
            self.set_next(std::ptr::null_mut());
            // SAFETY: the rest of a chain is a chain; we took it out, so this is its only owner.
            drop(unsafe { Mbuf::from_raw(next) });
        }
        self.set_nb_segs(1);
        self.set_pkt_len(u32::from(self.data_len()));
    }
}

impl Drop for Mbuf {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: we own the reference, and the pool outlives its mbufs (see `Mempool`).
        unsafe { sys::tg_shim_pktmbuf_free(self.0.as_ptr()) }
    }
}
