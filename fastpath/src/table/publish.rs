//! One writer makes a new value visible to many readers. A reader sees the old or the new value, never half; it never
//! waits and never frees: control keeps replaced values until no reader holds them.
//!
//! The published pointer is an `arc_swap::ArcSwap`: control writes it, workers read it. A reader also holds the `Arc` that
//! it saw last, so it touches the reference count only when the pointer has changed. The holds of readers are those
//! counts: when a replaced value's count falls to the writer's own one, no reader can reach it any more.

use std::{fmt, sync::Arc};

use arc_swap::{ArcSwap, Cache};

/// A pair for one value.
pub fn new<T: Send + Sync>(initial: T) -> (Writer<T>, Reader<T>) {
    let writer = Writer { shared: Arc::new(ArcSwap::from_pointee(initial)), replaced: Vec::new() };
    let reader = writer.reader();
    (writer, reader)
}

/// The side that control holds. Drop it only after the readers: it keeps what they may still hold.
pub struct Writer<T> {
    // worker: ro, control: wo
    shared: Arc<ArcSwap<T>>,
    replaced: Vec<Arc<T>>,
}

/// The side that a worker holds; each worker clones its own.
pub struct Reader<T> {
    seen: Cache<Arc<ArcSwap<T>>, Arc<T>>,
}

impl<T: Send + Sync> Writer<T> {
    /// Makes `value` visible and keeps the replaced one until [`Writer::reap`] finds it unused.
    pub fn publish(&mut self, value: T) {
        self.replaced.push(self.shared.swap(Arc::new(value)));
    }

    /// The value that is published now.
    pub fn current(&self) -> Arc<T> {
        self.shared.load_full()
    }

    /// Frees replaced values that no reader holds any more. Returns how many are still held; 0 means that the current value
    /// is live on all workers.
    pub fn reap(&mut self) -> usize {
        // `swap` has settled the count of whoever was reading at that moment. Nobody can find a replaced value again, so a
        // count of one stays one.
        self.replaced.retain(|value| Arc::strong_count(value) > 1);
        self.replaced.len()
    }

    /// A further reader.
    pub fn reader(&self) -> Reader<T> {
        Reader { seen: Cache::new(Arc::clone(&self.shared)) }
    }
}

impl<T: Send + Sync> Reader<T> {
    /// The current value; once per burst. One load and compare when nothing changed.
    #[inline]
    pub fn load(&mut self) -> &Arc<T> {
        self.seen.load()
    }

    /// Call once on the worker's thread before its loop: `arc_swap` sets aside some memory for each thread that reads, and
    /// would otherwise do so in the first [`Reader::load`] that finds a change.
    pub fn attach(&self) {
        drop(self.seen.arc_swap().load());
    }
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Reader<T> {
        Reader { seen: self.seen.clone() }
    }
}

impl<T> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("replaced", &self.replaced.len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Mutex,
            atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        },
        thread::{self, ThreadId},
    };

    use super::*;

    #[test]
    fn a_reader_sees_what_was_published_last() {
        let (mut writer, mut reader) = new(1);
        assert_eq!(**reader.load(), 1);
        writer.publish(2);
        writer.publish(3);
        assert_eq!((**reader.load(), *writer.current()), (3, 3));
    }

    #[test]
    fn replaced_values_stay_until_no_reader_holds_them() {
        let (mut writer, mut reader) = new(1);
        let mut late = reader.clone();
        writer.publish(2);
        reader.load();
        assert_eq!(writer.reap(), 1, "`late` still holds the first value");
        late.load();
        assert_eq!(writer.reap(), 0);
    }

    #[test]
    fn a_new_reader_begins_with_the_current_value() {
        let (mut writer, _reader) = new(1);
        writer.publish(2);
        assert_eq!(**writer.reader().load(), 2);
    }

    /// Two words that must agree; remembers which thread freed it.
    struct Value {
        words: [usize; 2],
        freed_by: Arc<Mutex<Vec<ThreadId>>>,
    }

    impl Drop for Value {
        fn drop(&mut self) {
            self.freed_by.lock().unwrap().push(thread::current().id());
        }
    }

    #[test]
    fn threads_see_whole_values_in_order_and_never_free_one() {
        const LAST: usize = 2_000;
        let freed_by = Arc::new(Mutex::new(Vec::new()));
        let value = |n| Value { words: [n, !n], freed_by: Arc::clone(&freed_by) };
        let (mut writer, reader) = new(value(0));
        let stop = AtomicBool::new(false);
        let attached = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                // The readers outlive the writer's last `reap` as they do in the engine.
                let (mut reader, stop, attached) = (reader.clone(), &stop, &attached);
                scope.spawn(move || {
                    reader.attach();
                    attached.fetch_add(1, SeqCst);
                    let mut before = 0;
                    while !stop.load(SeqCst) {
                        let [n, inverse] = reader.load().words;
                        assert_eq!(n, !inverse);
                        assert!(n >= before, "{n} after {before}");
                        before = n;
                    }
                    assert_eq!(reader.load().words[0], LAST);
                });
            }
            drop(reader);
            while attached.load(SeqCst) < 3 {
                thread::yield_now();
            }
            for n in 1..=LAST {
                writer.publish(value(n));
                writer.reap();
            }
            while writer.reap() > 0 {
                thread::yield_now();
            }
            stop.store(true, SeqCst);
        });
        let freed_by = freed_by.lock().unwrap();
        assert_eq!(freed_by.len(), LAST);
        assert!(freed_by.iter().all(|by| *by == thread::current().id()));
    }
}
