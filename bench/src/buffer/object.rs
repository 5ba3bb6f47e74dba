//! A packet behind a trait object: each access is a call through a table.

use dpdk_sys::mbuf::Mbuf;
use tidegate_fastpath::buffer::Buffer;

/// [`Buffer`] in a form that can be an object.
pub(super) trait Bytes {
    fn bytes(&self) -> &[u8];
    fn bytes_mut(&mut self) -> &mut [u8];
    fn strip(&mut self, n: usize) -> bool;
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]>;
    fn append(&mut self, n: usize) -> Option<&mut [u8]>;
    fn truncate(&mut self, len: usize);
    fn crop(&mut self, start: usize, len: usize);
    fn is_segmented(&self) -> bool;
}

impl Bytes for Mbuf {
    fn bytes(&self) -> &[u8] {
        Buffer::bytes(self)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        Buffer::bytes_mut(self)
    }

    fn strip(&mut self, n: usize) -> bool {
        Buffer::strip(self, n)
    }

    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        Buffer::prepend(self, n)
    }

    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        Buffer::append(self, n)
    }

    fn truncate(&mut self, len: usize) {
        Buffer::truncate(self, len);
    }

    fn crop(&mut self, start: usize, len: usize) {
        Buffer::crop(self, start, len);
    }

    fn is_segmented(&self) -> bool {
        Buffer::is_segmented(self)
    }
}

/// The object.
pub(super) struct Object<'a>(pub(super) &'a mut dyn Bytes);

impl Buffer for Object<'_> {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    fn strip(&mut self, n: usize) -> bool {
        self.0.strip(n)
    }

    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.0.prepend(n)
    }

    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        self.0.append(n)
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn crop(&mut self, start: usize, len: usize) {
        self.0.crop(start, len);
    }

    fn is_segmented(&self) -> bool {
        self.0.is_segmented()
    }
}
