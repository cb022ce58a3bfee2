//! Each thread's cache of blocks, and the way of a request: this cache first, then the heap.
//!
//! A warm request and its return touch nothing but the thread's own [`Slot`]: no lock, no atomic operation that
//! another thread takes part in. Blocks are kept by their exact size, at most [`CACHED_BYTES`] of them; a block that another
//! thread frees goes to that thread's cache, and from there to the heap when the cache is full, so memory that flows
//! one way between threads comes back through the heap.
//!
//! A slot belongs to one thread at a time. A thread gets one from [`REGISTRY`] at its first use of the pool and puts it
//! back, its cache empty, when it ends; slots are never freed, so there are as many as threads that lived at once.

use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use super::block::HEADER;
use super::error::PoolError;
use super::heap;
use super::tracking::{self, Account, PoolStats, Tag};

/// Most bytes in a thread's cache.
pub const CACHED_BYTES: usize = 4 << 20;
/// Larger blocks go to the heap at once, whose lock (tens of ns) is nothing beside the time to write them.
const LARGEST: usize = 1 << 20;
/// Sets of blocks; which one a block is in follows from its size.
const SETS: usize = 32;
/// Blocks in a set.
const WAYS: usize = 8;
/// Whether buffers are the system's own allocations (`--cfg upbeat_exact`).
const EXACT: bool = cfg!(upbeat_exact);

/// Grows with every trim; a cache that has not seen the last one empties itself at its next use.
static EPOCH: AtomicU32 = AtomicU32::new(0);

/// Blocks of sizes that fall on the same set.
#[derive(Clone, Copy)]
struct Set {
    /// Sizes in units of [`HEADER`]; 0 where there is no block.
    units: [u32; WAYS],
    blocks: [NonNull<u8>; WAYS],
}

/// Blocks that a thread keeps.
struct Cache {
    sets: [Set; SETS],
    bytes: usize,
    epoch: u32,
}

// SAFETY: a cache owns its blocks, which have no thread affinity.
unsafe impl Send for Cache {}

impl Cache {
    const fn new() -> Self {
        let set = Set { units: [0; WAYS], blocks: [NonNull::dangling(); WAYS] };
        Self { sets: [set; SETS], bytes: 0, epoch: 0 }
    }

    #[inline(always)]
    fn set_of(units: u32) -> usize {
        // Fibonacci hashing: neighbouring sizes and multiples of powers of two fall on different sets.
        (units.wrapping_mul(0x9e37_79b9) >> (u32::BITS - SETS.ilog2())) as usize
    }

    #[inline(always)]
    fn take(&mut self, units: u32) -> Option<NonNull<u8>> {
        let set = &mut self.sets[Self::set_of(units)];
        let way = set.units.iter().position(|&kept| kept == units)?;
        set.units[way] = 0;
        self.bytes -= units as usize * HEADER;
        Some(set.blocks[way])
    }

    /// Keeps a block, or says why not: the set is full, or the cache.
    #[inline(always)]
    fn put(&mut self, units: u32, block: NonNull<u8>) -> Result<(), Full> {
        let bytes = self.bytes + units as usize * HEADER;
        if bytes > CACHED_BYTES {
            return Err(Full::Cache);
        }
        let set = &mut self.sets[Self::set_of(units)];
        let way = set.units.iter().position(|&kept| kept == 0).ok_or(Full::Set)?;
        set.units[way] = units;
        set.blocks[way] = block;
        self.bytes = bytes;
        Ok(())
    }

    /// Gives the blocks of some sets to the heap.
    #[cold]
    fn flush(&mut self, sets: std::ops::Range<usize>) {
        let mut heap = heap::lock();
        for set in &mut self.sets[sets] {
            for (units, block) in set.units.iter_mut().zip(set.blocks).filter(|(units, _)| **units > 0) {
                self.bytes -= *units as usize * HEADER;
                *units = 0;
                // SAFETY: the block came from the heap, was given back to this cache, and is in it no more.
                unsafe { heap.free(block) };
            }
        }
    }

    /// Empties the cache when a trim has asked for it.
    #[inline(always)]
    fn look_at_epoch(&mut self) {
        let epoch = EPOCH.load(Relaxed);
        if self.epoch != epoch {
            self.epoch = epoch;
            self.flush(0..SETS);
        }
    }
}

/// Why a cache does not keep a block.
enum Full {
    Set,
    Cache,
}

/// What belongs to one thread at a time.
struct Slot {
    /// Written by the owner, read by all.
    account: Account,
    /// The owner's alone.
    cache: UnsafeCell<Cache>,
}

// SAFETY: the account is made of atomics; the cache is used by the slot's owner only, and the registry's lock lies
// between one owner's last use and the next one's first.
unsafe impl Sync for Slot {}

impl Slot {
    /// Runs `f` on the cache. Only for the slot of [`with_slot`], which is this thread's.
    #[inline(always)]
    fn with_cache<R>(&self, f: impl FnOnce(&mut Cache) -> R) -> R {
        // SAFETY: this thread owns the slot, and no `f` in this file leads back here.
        let cache = unsafe { &mut *self.cache.get() };
        let result = f(cache);
        self.account.set_cached(cache.bytes);
        result
    }
}

/// All slots, and the account of threads that have none: those that use the pool in destructors of thread-locals.
struct Registry {
    all: Vec<&'static Slot>,
    vacant: Vec<&'static Slot>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { all: Vec::new(), vacant: Vec::new() });
/// Written under the registry's lock.
static HOMELESS: Account = Account::new();

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

thread_local! {
    /// The slot of this thread. Without a destructor, so that reading it costs one instruction.
    static SLOT: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    /// Puts the slot back when the thread ends.
    static LEAVES: Leaves = const { Leaves };
}

struct Leaves;

impl Drop for Leaves {
    fn drop(&mut self) {
        if let Some(slot) = SLOT.take() {
            slot.with_cache(|cache| cache.flush(0..SETS));
            slot.account.publish();
            registry().vacant.push(slot); // There is room: see `claim`.
        }
    }
}

/// A slot for this thread; `None` when the thread is ending.
#[cold]
fn claim() -> Option<&'static Slot> {
    LEAVES.try_with(|_| ()).ok()?;
    let mut registry = registry();
    let slot = registry.vacant.pop().unwrap_or_else(|| {
        let slot: &'static Slot =
            Box::leak(Box::new(Slot { account: Account::new(), cache: UnsafeCell::new(Cache::new()) }));
        registry.all.push(slot);
        let room = registry.all.len() - registry.vacant.len();
        registry.vacant.reserve(room);
        slot
    });
    SLOT.set(Some(slot));
    Some(slot)
}

/// This thread's slot.
#[inline(always)]
fn slot() -> Option<&'static Slot> {
    SLOT.get().or_else(claim)
}

/// Runs `f` on the account to count in, which nobody else writes meanwhile.
fn with_account(f: impl FnOnce(&Account)) {
    match slot() {
        Some(slot) => f(&slot.account),
        None => {
            let _registry = registry();
            f(&HOMELESS);
            HOMELESS.publish();
        }
    }
}

/// Memory for `bytes` (more than 0) under `tag`: initialised, of unspecified content.
#[inline]
pub(super) fn obtain(bytes: usize, tag: Tag) -> Result<NonNull<u8>, PoolError> {
    if bytes <= LARGEST && !EXACT {
        if let Some(slot) = slot() {
            let units = bytes.div_ceil(HEADER) as u32;
            let kept = slot.with_cache(|cache| {
                cache.look_at_epoch();
                cache.take(units)
            });
            if let Some(block) = kept {
                slot.account.count_reuse();
                slot.account.add(tag, bytes);
                return Ok(block);
            }
        }
    }
    obtain_shared(bytes, tag)
}

#[cold]
fn obtain_shared(bytes: usize, tag: Tag) -> Result<NonNull<u8>, PoolError> {
    let (block, reused) = match allocate(bytes) {
        Err(error) => {
            // Maybe what this thread keeps, and what others keep and will see, is what is missing.
            empty_caches();
            heap::lock().make_room(&error);
            // What was given back may be what the request would have been cut from: then the rest must go as well.
            allocate(bytes).or_else(|_| {
                heap::lock().trim_to(0);
                allocate(bytes)
            })?
        }
        Ok(found) => found,
    };
    with_account(|account| {
        account.add(tag, bytes);
        if reused {
            account.count_reuse();
        }
    });
    Ok(block)
}

/// A block of the heap, and whether it was there already.
fn allocate(bytes: usize) -> Result<(NonNull<u8>, bool), PoolError> {
    let mut heap = heap::lock();
    let fresh = heap.fresh;
    let block =
        if EXACT { heap.allocate_exact(bytes)? } else { heap.allocate(bytes.next_multiple_of(HEADER))? };
    Ok((block, heap.fresh == fresh))
}

/// Takes memory back.
///
/// # Safety
/// `block` came from [`obtain`] with the same `bytes`, counts under `tag`, and nobody uses it any more.
#[inline]
pub(super) unsafe fn give_back(block: NonNull<u8>, bytes: usize, tag: Tag) {
    if bytes <= LARGEST && !EXACT {
        if let Some(slot) = slot() {
            slot.account.subtract(tag, bytes);
            let units = bytes.div_ceil(HEADER) as u32;
            slot.with_cache(|cache| {
                cache.look_at_epoch();
                if let Err(full) = cache.put(units, block) {
                    put_with_room(cache, units, block, full);
                }
            });
            return;
        }
    }
    // SAFETY: the caller's promise.
    unsafe { give_back_shared(block, bytes, tag) };
}

/// Makes room, then keeps the block. All of a set, or of the cache, goes at once: one turn with the lock for many blocks,
/// and sizes that nobody asks for any more do not stay for good.
#[cold]
fn put_with_room(cache: &mut Cache, units: u32, block: NonNull<u8>, full: Full) {
    match full {
        Full::Set => {
            let set = Cache::set_of(units);
            cache.flush(set..set + 1);
        }
        Full::Cache => cache.flush(0..SETS),
    }
    let kept = cache.put(units, block);
    debug_assert!(kept.is_ok(), "one block fits an empty cache");
}

/// # Safety
/// As [`give_back`].
#[cold]
unsafe fn give_back_shared(block: NonNull<u8>, bytes: usize, tag: Tag) {
    with_account(|account| account.subtract(tag, bytes));
    let mut heap = heap::lock();
    if EXACT {
        // SAFETY: as the caller promises; all blocks are of this kind.
        unsafe { heap.free_exact(block, bytes) };
    } else {
        // SAFETY: as the caller promises.
        unsafe { heap.free(block) };
    }
}

/// Counts `bytes` under another tag.
pub(super) fn retag(from: Tag, to: Tag, bytes: usize) {
    with_account(|account| account.retag(from, to, bytes));
}

/// Empties this thread's cache, and has the others empty theirs when they next use them.
fn empty_caches() {
    EPOCH.fetch_add(1, Relaxed);
    if let Some(slot) = slot() {
        slot.with_cache(Cache::look_at_epoch);
    }
}

pub(super) fn trim_to(bytes: usize) {
    if heap::lock().reserved > bytes {
        empty_caches();
        heap::lock().trim_to(bytes);
    }
}

pub(super) fn stats() -> PoolStats {
    let registry = registry();
    let accounts = registry.all.iter().map(|slot| &slot.account).chain([&HOMELESS]);
    let counted = tracking::sum(accounts);
    let heap = heap::lock();
    PoolStats {
        reserved_bytes: heap.reserved as u64,
        idle_bytes: heap.idle as u64,
        fresh: heap.fresh,
        ..counted
    }
}
