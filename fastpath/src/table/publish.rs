//! One writer makes a new value visible to many readers. A reader sees the old or the new value, never half; it never
//! waits and never frees: control keeps replaced values until no reader holds them.

/// A pair for one value.
pub fn new<T: Send + Sync>(_initial: T) -> (Writer<T>, Reader<T>) {
    todo!()
}

/// The side that control holds.
#[derive(Debug)]
pub struct Writer<T> {
    _t: std::marker::PhantomData<T>,
}

/// The side that a worker holds; each worker clones its own.
#[derive(Debug)]
pub struct Reader<T> {
    _t: std::marker::PhantomData<T>,
}

impl<T: Send + Sync> Writer<T> {
    /// Makes `value` visible and keeps the replaced one until [`Writer::reap`] finds it unused.
    pub fn publish(&mut self, _value: T) {
        todo!()
    }

    /// The value that is published now.
    pub fn current(&self) -> std::sync::Arc<T> {
        todo!()
    }

    /// Frees replaced values that no reader holds any more. Returns how many are still held; 0 means that the current value
    /// is live on all workers.
    pub fn reap(&mut self) -> usize {
        todo!()
    }

    /// A further reader.
    pub fn reader(&self) -> Reader<T> {
        todo!()
    }
}

impl<T: Send + Sync> Reader<T> {
    /// The current value; once per burst. One load and compare when nothing changed.
    #[inline]
    pub fn load(&mut self) -> &std::sync::Arc<T> {
        todo!()
    }
}
