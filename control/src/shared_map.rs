//! A sorted map whose copies share what they have in common, and that says cheaply where two of them differ.
//!
//! Desired state is kept in these from the documents to what is compiled: a change copies some pages, and every step after it
//! asks for the difference instead of comparing everything.

use std::{cmp::Ordering, fmt, sync::Arc};

/// A page is split when it has more entries.
const PAGE_MAX: usize = 64;
/// Two neighbours with no more entries together become one page when one of them shrinks.
const PAGE_JOIN: usize = PAGE_MAX / 2;

/// Sorted; never empty.
type Page<K, V> = Vec<(K, V)>;

/// A sorted map in pages. A copy costs nothing; the first change after it copies one page, and a pointer to each other one.
pub struct SharedMap<K, V> {
    pages: Arc<Vec<Arc<Page<K, V>>>>,
    len: usize,
}

/// A key that is not the same in two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference<'a, K, V> {
    /// The key.
    pub key: &'a K,
    /// `None` where it is new.
    pub before: Option<&'a V>,
    /// `None` where it is gone.
    pub after: Option<&'a V>,
}

impl<K, V> SharedMap<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pages.iter().flat_map(|page| page.iter()).map(|(key, value)| (key, value))
    }

    /// All keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The entries from the first on that is not `below`.
    pub fn from(&self, below: impl Fn(&K) -> bool) -> impl Iterator<Item = (&K, &V)> {
        let page = self.pages.partition_point(|page| page.last().is_some_and(|(key, _)| below(key)));
        let at = self.pages.get(page).map_or(0, |page| page.partition_point(|(key, _)| below(key)));
        let entries = self.pages[page..].iter().flat_map(|page| page.iter()).skip(at);
        entries.map(|(key, value)| (key, value))
    }

    /// The entries that are `below`, the last one first.
    pub fn back_from(&self, below: impl Fn(&K) -> bool) -> impl Iterator<Item = (&K, &V)> {
        let page = self.pages.partition_point(|page| page.first().is_some_and(|(key, _)| below(key)));
        let last = page.checked_sub(1).and_then(|page| self.pages.get(page));
        let over = last.map_or(0, |page| page.len() - page.partition_point(|(key, _)| below(key)));
        let entries = self.pages[..page].iter().rev().flat_map(|page| page.iter().rev()).skip(over);
        entries.map(|(key, value)| (key, value))
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let page = self.pages.get(self.page_of(key))?;
        page.binary_search_by(|(other, _)| other.cmp(key)).ok().map(|at| &page[at].1)
    }

    /// Whether there is a value of a key.
    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The page that has a key, or would have it.
    fn page_of(&self, key: &K) -> usize {
        self.pages
            .partition_point(|page| page.first().is_some_and(|(first, _)| first <= key))
            .saturating_sub(1)
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Writes a value; returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let at = self.page_of(&key);
        let pages = Arc::make_mut(&mut self.pages);
        let Some(page) = pages.get_mut(at) else {
            pages.push(Arc::new(vec![(key, value)]));
            self.len += 1;
            return None;
        };
        let page = Arc::make_mut(page);
        match page.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(entry) => Some(std::mem::replace(&mut page[entry].1, value)),
            Err(entry) => {
                page.insert(entry, (key, value));
                if page.len() > PAGE_MAX {
                    // Keys that come in their order leave full pages behind.
                    let half = if entry + 1 == page.len() { PAGE_MAX } else { page.len() / 2 };
                    let rest = page.split_off(half);
                    pages.insert(at + 1, Arc::new(rest));
                }
                self.len += 1;
                None
            }
        }
    }

    /// Removes a key; returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.page_of(key);
        let entry = self.pages.get(at)?.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        let pages = Arc::make_mut(&mut self.pages);
        let page = Arc::make_mut(&mut pages[at]);
        let (_, value) = page.remove(entry);
        let left = page.len();
        self.len -= 1;
        if left == 0 {
            pages.remove(at);
        } else if pages.get(at + 1).is_some_and(|next| left + next.len() <= PAGE_JOIN) {
            let next = pages.remove(at + 1);
            Arc::make_mut(&mut pages[at]).extend(next.iter().cloned());
        }
        Some(value)
    }
}

impl<K: Ord, V: PartialEq> SharedMap<K, V> {
    /// Every key that is not the same in `before`, in their order. Costs what is different, and a look at each page.
    pub fn since<'a>(&'a self, before: &'a SharedMap<K, V>) -> Vec<Difference<'a, K, V>> {
        let mut found = Vec::new();
        if Arc::ptr_eq(&self.pages, &before.pages) {
            return found;
        }
        let (mut old, mut new) = (Cursor::new(&before.pages), Cursor::new(&self.pages));
        loop {
            while old.shares_page(&new) {
                old.skip_page();
                new.skip_page();
            }
            let order = match (old.entry(), new.entry()) {
                (None, None) => return found,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let gone = if order.is_le() { old.take() } else { None };
            let come = if order.is_ge() { new.take() } else { None };
            let (before, after) = (gone.map(|(_, value)| value), come.map(|(_, value)| value));
            if let Some((key, _)) = come.or(gone)
                && before != after
            {
                found.push(Difference { key, before, after });
            }
        }
    }
}

/// A place in a map.
struct Cursor<'a, K, V> {
    pages: &'a [Arc<Page<K, V>>],
    entry: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn new(pages: &'a [Arc<Page<K, V>>]) -> Cursor<'a, K, V> {
        Cursor { pages, entry: 0 }
    }

    /// Whether both are at the beginning of the same page.
    fn shares_page(&self, other: &Cursor<'_, K, V>) -> bool {
        let same = matches!((self.pages, other.pages), ([a, ..], [b, ..]) if Arc::ptr_eq(a, b));
        same && self.entry == 0 && other.entry == 0
    }

    fn skip_page(&mut self) {
        self.pages = &self.pages[1..];
    }

    fn entry(&self) -> Option<&'a (K, V)> {
        self.pages.first()?.get(self.entry)
    }

    fn take(&mut self) -> Option<&'a (K, V)> {
        let taken = self.entry()?;
        self.entry += 1;
        if self.entry == self.pages[0].len() {
            self.skip_page();
            self.entry = 0;
        }
        Some(taken)
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SharedMap<K, V> {
    /// Of a key that comes twice, the last value counts.
    fn from_iter<T: IntoIterator<Item = (K, V)>>(entries: T) -> SharedMap<K, V> {
        let mut all: Vec<(K, V)> = entries.into_iter().collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        let len = all.len();
        let mut all = all.into_iter();
        let pages = std::iter::from_fn(|| {
            let page: Page<K, V> = all.by_ref().take(PAGE_MAX).collect();
            (!page.is_empty()).then(|| Arc::new(page))
        });
        SharedMap { pages: Arc::new(pages.collect()), len }
    }
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> SharedMap<K, V> {
        SharedMap { pages: Arc::clone(&self.pages), len: self.len }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> SharedMap<K, V> {
        SharedMap { pages: Arc::default(), len: 0 }
    }
}

impl<K: Ord, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &SharedMap<K, V>) -> bool {
        self.len == other.len && self.since(other).is_empty()
    }
}

impl<K: Ord, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<u16, u8>;

    /// Keys with a value, or without one to remove them.
    fn writes() -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
        prop::collection::vec((0..600u16, prop::option::weighted(0.7, any::<u8>())), 0..900)
    }

    fn write(map: &mut SharedMap<u16, u8>, model: &mut Model, writes: &[(u16, Option<u8>)]) {
        for (key, value) in writes {
            let (was, expected) = match value {
                Some(value) => (map.insert(*key, *value), model.insert(*key, *value)),
                None => (map.remove(key), model.remove(key)),
            };
            assert_eq!(was, expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_map_and_knows_what_changed(first in writes(), second in writes(), bound in 0..600u16) {
            let (mut map, mut model) = (SharedMap::default(), Model::new());
            write(&mut map, &mut model, &first);
            let (before, was) = (map.clone(), model.clone());
            write(&mut map, &mut model, &second);
            prop_assert!(before.iter().eq(was.iter()), "a copy stays as it is");
            prop_assert!(map.iter().eq(model.iter()) && map.len() == model.len());
            prop_assert!(map.from(|key| *key < bound).eq(model.range(bound..)));
            prop_assert!(map.back_from(|key| *key <= bound).eq(model.range(..=bound).rev()));
            let keys = was.keys().chain(model.keys()).collect::<std::collections::BTreeSet<_>>();
            let different = keys.into_iter().filter(|key| was.get(key) != model.get(key));
            let expected = different.map(|key| Difference { key, before: was.get(key), after: model.get(key) });
            prop_assert_eq!(map.since(&before), expected.collect::<Vec<_>>());
            let built: SharedMap<u16, u8> = model.iter().map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(built, map);
        }
    }

    #[test]
    fn a_change_copies_one_page() {
        let before: SharedMap<u32, u32> = (0..100_000).map(|key| (key, key)).collect();
        let mut after = before.clone();
        after.insert(70_000, 0);
        let shared = after.pages.iter().zip(before.pages.iter()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, before.pages.len() - 1);
        assert_eq!(
            after.since(&before),
            [Difference { key: &70_000, before: Some(&70_000), after: Some(&0) }]
        );
    }
}
