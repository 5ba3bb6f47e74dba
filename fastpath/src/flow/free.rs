//! Records that belong to no flow. Each worker has a cache of its own; what it has too much goes in batches to a pool that
//! all share, so that one worker can use the whole capacity. A worker always keeps a reserve in its cache (or on its way
//! there, retired), for giving established flows a new program when the table is full.

use arrayvec::ArrayVec;

use super::FlowId;

/// The most records that are exchanged at once.
const BATCH_MAX: usize = 32;
/// Records that each worker keeps for replacing programs: several bursts of them, since a replaced record comes back only
/// after all workers were quiescent.
const RESERVE_MAX: usize = 256;

type Batch = ArrayVec<FlowId, BATCH_MAX>;

/// How many records there are and how they are shared out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    /// Records that flows can use.
    pub(super) capacity: usize,
    /// Further records in each worker's keeping.
    pub(super) reserve: usize,
    pub(super) workers: usize,
    /// Records exchanged at once; small where the table is small, so that no worker holds much of it.
    batch: usize,
}

impl Shares {
    pub(super) fn new(capacity: usize, workers: usize) -> Shares {
        let reserve = capacity.clamp(1, RESERVE_MAX);
        let batch = (capacity / (8 * workers.max(1))).clamp(1, BATCH_MAX);
        Shares { capacity, reserve, workers, batch }
    }

    /// All records, and record 0, which no flow ever gets because index 0 means none.
    pub(super) const fn records(&self) -> usize {
        1 + self.workers * self.reserve + self.capacity
    }

    /// Full batches, and one that is not full per worker: [`FreeCache::give_up`] makes one only while the pool is empty.
    const fn batches(&self) -> usize {
        self.capacity.div_ceil(self.batch)
            + (self.workers * self.reserve).div_ceil(self.batch)
            + self.workers
            + 1
    }

    /// Bytes of the pool.
    pub(super) const fn pool_bytes(&self) -> usize {
        self.batches() * (size_of::<Batch>() + size_of::<usize>())
    }
}

/// Free records that any worker may take.
#[derive(Debug)]
pub(super) struct Pool(queue::Queue<Batch>);

impl Pool {
    /// A pool without records, with room for all.
    pub(super) fn new(shares: Shares) -> Pool {
        Pool(queue::Queue::new(shares.batches()))
    }

    /// Deals out free records: a cache with its reserve for each worker, then the pool. There are at least as many as the
    /// reserves take.
    pub(super) fn deal(&self, shares: Shares, free: impl IntoIterator<Item = FlowId>) -> Vec<FreeCache> {
        let mut ids = free.into_iter();
        let caches = (0..shares.workers).map(|_| FreeCache::new(shares, ids.by_ref())).collect();
        loop {
            let batch: Batch = ids.by_ref().take(shares.batch).collect();
            if batch.is_empty() {
                return caches;
            }
            self.push(batch);
        }
    }

    fn push(&self, batch: Batch) {
        assert!(self.0.push(batch).is_ok(), "the pool has room for all batches there can be");
    }
}

/// Free records of one worker. Never grows after start.
#[derive(Debug)]
pub(super) struct FreeCache {
    ids: Vec<FlowId>,
    shares: Shares,
}

impl FreeCache {
    fn new(shares: Shares, ids: impl Iterator<Item = FlowId>) -> FreeCache {
        let mut own = Vec::with_capacity(shares.reserve + 4 * shares.batch);
        own.extend(ids.take(shares.reserve));
        FreeCache { ids: own, shares }
    }

    /// A record for a new flow. `retired` is how many records of this worker wait to become free.
    ///
    /// Cached and retired records together never become fewer than the reserve, in any worker; so flows never have more
    /// than the capacity.
    pub(super) fn take_for_new(&mut self, pool: &Pool, retired: usize) -> Option<FlowId> {
        if self.ids.is_empty() || self.ids.len() + retired <= self.shares.reserve {
            self.ids.extend(pool.0.pop()?);
        }
        self.ids.pop()
    }

    /// A record that takes the place of another one, which is then retired by this worker.
    pub(super) fn take_for_replacement(&mut self, pool: &Pool) -> Option<FlowId> {
        if self.ids.is_empty() {
            self.ids.extend(pool.0.pop()?);
        }
        self.ids.pop()
    }

    /// Takes back a record that no thread can see.
    pub(super) fn give(&mut self, pool: &Pool, id: FlowId) {
        self.ids.push(id);
        if self.ids.len() >= self.shares.reserve + 3 * self.shares.batch {
            pool.push(self.ids.drain(self.ids.len() - self.shares.batch..).collect());
        }
    }

    /// Leaves what is above the reserve to the others if the pool is empty.
    pub(super) fn give_up(&mut self, pool: &Pool, retired: usize) {
        let keep = self.shares.reserve.saturating_sub(retired);
        if self.ids.len() > keep && pool.0.is_empty() {
            while self.ids.len() > keep {
                let from = self.ids.len() - self.shares.batch.min(self.ids.len() - keep);
                pool.push(self.ids.drain(from..).collect());
            }
        }
    }

    #[cfg(all(test, loom))]
    pub(super) fn iter(&self) -> impl Iterator<Item = FlowId> + '_ {
        self.ids.iter().copied()
    }

    #[cfg(all(test, not(loom)))]
    fn len(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(not(loom))]
mod queue {
    pub(super) use crossbeam::queue::ArrayQueue as Queue;
}

/// Under loom a locked list, because the model must see the order of events between who pushes and who pops.
#[cfg(loom)]
mod queue {
    use loom::sync::Mutex;

    #[derive(Debug)]
    pub(super) struct Queue<T>(Mutex<Vec<T>>);

    impl<T> Queue<T> {
        pub(super) fn new(_: usize) -> Queue<T> {
            Queue(Mutex::new(Vec::new()))
        }

        pub(super) fn push(&self, item: T) -> Result<(), T> {
            self.0.lock().map(|mut items| items.push(item)).expect("no thread panicked");
            Ok(())
        }

        pub(super) fn pop(&self) -> Option<T> {
            self.0.lock().expect("no thread panicked").pop()
        }

        pub(super) fn is_empty(&self) -> bool {
            self.0.lock().expect("no thread panicked").is_empty()
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// All records are free.
    fn all(shares: Shares) -> (Pool, Vec<FreeCache>) {
        let pool = Pool::new(shares);
        let caches = pool.deal(shares, (1..shares.records() as u32).map(FlowId));
        (pool, caches)
    }

    #[test]
    fn one_worker_gets_the_whole_capacity_and_each_keeps_its_reserve() {
        for (capacity, workers) in [(0, 1), (1, 1), (5, 2), (1000, 2), (4096, 3)] {
            let shares = Shares::new(capacity, workers);
            let (pool, mut caches) = all(shares);
            let mut taken: Vec<u32> =
                std::iter::from_fn(|| caches[0].take_for_new(&pool, 0)).map(|id| id.0).collect();
            assert_eq!(taken.len(), capacity);
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(taken.len(), capacity, "no record twice");
            assert!(caches.iter().all(|cache| cache.len() == shares.reserve));
        }
    }

    #[test]
    fn what_one_worker_gives_back_another_can_take() {
        let (pool, mut caches) = all(Shares::new(1000, 2));
        let taken: Vec<FlowId> = std::iter::from_fn(|| caches[0].take_for_new(&pool, 0)).collect();
        assert_eq!(caches[1].take_for_new(&pool, 0), None);
        for id in taken {
            caches[1].give(&pool, id);
        }
        while let Some(_id) = caches[0].take_for_new(&pool, 0) {}
        caches[1].give_up(&pool, 0);
        let rest = std::iter::from_fn(|| caches[0].take_for_new(&pool, 0)).count();
        assert!(rest > 0);
        assert_eq!(caches[1].len(), RESERVE_MAX);
    }

    #[test]
    fn a_replacement_may_use_the_reserve_and_a_new_flow_may_not() {
        let (pool, mut caches) = all(Shares::new(2, 1));
        let cache = &mut caches[0];
        assert!(cache.take_for_new(&pool, 0).is_some());
        assert!(cache.take_for_new(&pool, 0).is_some());
        assert_eq!(cache.take_for_new(&pool, 0), None);
        assert!(cache.take_for_replacement(&pool).is_some());
        assert_eq!(cache.take_for_new(&pool, 1), None, "the retired record belongs to the reserve");
    }
}
