//! One batcher for each key: items that one executor runs, but not together, such as products of different shapes.
//!
//! The keys are a table that is never changed: a new key or one that retires puts another table in its place, and the old one is freed
//! when nobody can look at it any more (epochs; Fraser, 2004, as crossbeam-epoch has them). So submitting to a known key takes no lock
//! and writes to nothing that keys share. Who submits holds its epoch until the item is added; hence a batcher that retires is dropped,
//! and seals its last batch, after the last item.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_epoch::{pin, Atomic, Guard, Owned};

use super::batcher::{BatchMetrics, BatchOptions, Batcher, Reply};
use super::error::{BatchOptionsError, Refused};
use crate::runtime::current_registry;
use crate::runtime::registry::Registry;
use crate::sync::{lock, Mutex};
use crate::task::unwind::discard;
use crate::Runtime;

type Table<K, T, R> = HashMap<K, Batcher<T, R>>;
/// Runs the items of one key.
type Executor<K, T, R> = Arc<dyn Fn(&K, &mut Vec<T>, &mut Vec<R>) + Send + Sync>;

/// A [`Batcher`] for each key, made when the key is first used.
///
/// ```
/// use upbeat::batch::{BatchOptions, Batchers};
///
/// // Sums of vectors, in batches of vectors of equal length.
/// let sums = Batchers::new(BatchOptions::new(32), |len: &usize, items: &mut Vec<Vec<f32>>, results| {
///     assert!(items.iter().all(|item| item.len() == *len));
///     results.extend(items.iter().map(|item| item.iter().sum::<f32>()));
/// })?;
/// let short = sums.submit(2, vec![1.0, 2.0])?;
/// let long = sums.submit(3, vec![1.0, 2.0, 3.0])?;
/// assert_eq!((short.wait()?, long.wait()?), (3.0, 6.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Batchers<K, T: Send + 'static, R: Send + 'static> {
    table: Atomic<Table<K, T, R>>,
    /// Held by who puts another table in its place.
    changing: Mutex<()>,
    options: BatchOptions,
    executor: Executor<K, T, R>,
    registry: Arc<Registry>,
}

impl<K, T, R> Batchers<K, T, R>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    /// Batchers on the current runtime, all with these options and this executor.
    ///
    /// # Errors
    /// [`BatchOptionsError`] when an option is out of its range.
    ///
    /// # Panics
    /// When the global runtime is needed and cannot be built.
    pub fn new(
        options: BatchOptions,
        executor: impl Fn(&K, &mut Vec<T>, &mut Vec<R>) + Send + Sync + 'static,
    ) -> Result<Self, BatchOptionsError> {
        Self::on_registry(current_registry(), options, executor)
    }

    /// Batchers on `runtime`.
    ///
    /// # Errors
    /// [`BatchOptionsError`] when an option is out of its range.
    pub fn on(
        runtime: &Runtime,
        options: BatchOptions,
        executor: impl Fn(&K, &mut Vec<T>, &mut Vec<R>) + Send + Sync + 'static,
    ) -> Result<Self, BatchOptionsError> {
        Self::on_registry(runtime.registry().clone(), options, executor)
    }

    fn on_registry(
        registry: Arc<Registry>,
        options: BatchOptions,
        executor: impl Fn(&K, &mut Vec<T>, &mut Vec<R>) + Send + Sync + 'static,
    ) -> Result<Self, BatchOptionsError> {
        options.check()?;
        let table = Atomic::new(HashMap::new());
        Ok(Self { table, changing: Mutex::new(()), options, executor: Arc::new(executor), registry })
    }

    /// [`Batcher::submit`] to the batcher of `key`.
    ///
    /// # Errors
    /// [`Refused`], with the item, when the runtime has ended.
    pub fn submit(&self, key: K, item: T) -> Result<Reply<R>, Refused<T>> {
        // One that may wait must not hold its epoch meanwhile: nothing would be freed.
        self.try_submit(&key, item).or_else(|refused| self.batcher(&key).submit(refused.item))
    }

    /// [`Batcher::try_submit`] to the batcher of `key`.
    ///
    /// # Errors
    /// [`Refused`], with the item, when the key's backlog is full or the runtime has ended.
    pub fn try_submit(&self, key: &K, item: T) -> Result<Reply<R>, Refused<T>> {
        self.with(key, |batcher| batcher.try_submit(item))
    }

    /// [`Batcher::submit_within`] to the batcher of `key`.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_within(&self, key: &K, item: T, within: Duration) -> Result<Reply<R>, Refused<T>> {
        self.batcher(key).submit_within(item, within)
    }

    /// The batcher of `key`, which stays usable after the key has retired.
    pub fn batcher(&self, key: &K) -> Batcher<T, R> {
        self.with(key, Batcher::clone)
    }

    /// Makes the batcher of `key` ahead, with all the memory that its batches need, so that its first item waits for nothing.
    pub fn prewarm(&self, key: &K) {
        self.with(key, |_| ());
    }

    /// Forgets `key`: what was submitted is run, and its memory is freed when everybody has gone on who might look at it, which on a
    /// runtime that is idle takes until it is used again. An item that comes later makes it anew. Whether it was known.
    pub fn retire(&self, key: &K) -> bool {
        let guard = pin();
        self.change(&guard, |table| table.remove(key).is_some())
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.table(&pin()).len()
    }

    /// Whether no key was used yet, or all have retired.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the batcher of `key` has done so far, if it is there.
    pub fn metrics(&self, key: &K) -> Option<BatchMetrics> {
        self.table(&pin()).get(key).map(Batcher::metrics)
    }

    fn table<'a>(&self, guard: &'a Guard) -> &'a Table<K, T, R> {
        let table = self.table.load(Ordering::Acquire, guard);
        // SAFETY: never null, and what was replaced is freed after this guard's epoch.
        unsafe { table.deref() }
    }

    fn with<S>(&self, key: &K, f: impl FnOnce(&Batcher<T, R>) -> S) -> S {
        let guard = pin();
        if let Some(batcher) = self.table(&guard).get(key) {
            return f(batcher);
        }
        self.change(&guard, |table| {
            table.entry(key.clone()).or_insert_with(|| {
                let (executor, own) = (self.executor.clone(), key.clone());
                let executor = move |items: &mut _, results: &mut _| executor(&own, items, results);
                match Batcher::on_registry(&self.registry, &self.options, executor) {
                    Ok(batcher) => batcher,
                    Err(error) => unreachable!("the options were checked: {error}"),
                }
            });
        });
        // Retired again meanwhile: then this one is the last to use it.
        match self.table(&guard).get(key) {
            Some(batcher) => f(batcher),
            None => self.with(key, f),
        }
    }

    /// Puts a changed copy in the table's place.
    fn change<S>(&self, guard: &Guard, change: impl FnOnce(&mut Table<K, T, R>) -> S) -> S {
        let changing = lock(&self.changing);
        let mut table = self.table(guard).clone();
        let result = change(&mut table);
        let old = self.table.swap(Owned::new(table), Ordering::AcqRel, guard);
        drop(changing);
        // Whoever collects it is in the middle of something else: a panic of a key's destructor must not end that.
        // SAFETY: it is in the table's place no more, and was put there once, so it is freed once, after all who may look at it; keys and
        // batchers may be dropped by any thread.
        unsafe { guard.defer_unchecked(move || discard(old.into_owned())) };
        // So that what has retired is freed soon, and not with the next hundred.
        guard.flush();
        result
    }
}

impl<K, T: Send + 'static, R: Send + 'static> Drop for Batchers<K, T, R> {
    fn drop(&mut self) {
        let table = std::mem::replace(&mut self.table, Atomic::null());
        // SAFETY: nobody else has this, so nobody looks at the table, which is not null.
        drop(unsafe { table.into_owned() });
    }
}

impl<K, T: Send + 'static, R: Send + 'static> std::fmt::Debug for Batchers<K, T, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batchers").field("options", &self.options).finish_non_exhaustive()
    }
}
