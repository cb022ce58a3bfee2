//! The pool's accounts: live bytes and their peak, in total and by tag, counted where they cost next to nothing.
//!
//! Each thread counts what it allocated less what it freed, in words that only it writes, and its own highest value.
//! A reader adds the threads up, so live bytes are exact. A peak needs the sum at one moment, so a thread that moved by
//! more than [`DRIFT`] since it last did so adds the difference to a total that all threads share, and raises the shared
//! peak to that total's highest value meanwhile. Who owns which account is [`super::cache`]'s matter.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// How far a thread's count may be from what other threads have seen of it, in bytes. [`Usage::peak_bytes`] is exact
/// while one thread uses the pool, and at most twice this wrong for each other one.
pub const DRIFT: u64 = 1 << 20;

/// What memory is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// Values: parameters, activations, data, optimizer state. What is not said to be something else.
    #[default]
    Tensor,
    /// Gradients.
    Gradient,
    /// Scratch of a kernel, gone when the kernel returns.
    Workspace,
}

impl Tag {
    /// All tags.
    pub const ALL: [Self; 3] = [Self::Tensor, Self::Gradient, Self::Workspace];

    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Gradient => "gradient",
            Self::Workspace => "workspace",
        }
    }
}

/// Bytes in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that buffers which are alive hold for their users.
    pub live_bytes: u64,
    /// Most bytes ever alive at once: exact while one thread uses the pool, at most 2 · [`DRIFT`] too much or
    /// too little for each other one.
    pub peak_bytes: u64,
}

/// What the pool has handed out and holds, in bytes, and in calls since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes in buffers that are alive.
    pub live_bytes: u64,
    /// Most bytes ever alive at once, as exact as [`Usage::peak_bytes`].
    pub peak_bytes: u64,
    /// Bytes taken from the system and not given back: live, cached, idle or lost.
    pub reserved_bytes: u64,
    /// Bytes in threads' caches: the next request of the same size and thread takes them.
    pub cached_bytes: u64,
    /// Bytes that are free for any request of any thread that fits.
    pub idle_bytes: u64,
    /// Requests that needed memory from the system.
    pub fresh: u64,
    /// Requests served by memory that was kept.
    pub reused: u64,
    pub(super) by_tag: [Usage; Tag::ALL.len()],
}

impl PoolStats {
    /// What is in use under a tag.
    pub fn of(&self, tag: Tag) -> Usage {
        self.by_tag[tag as usize]
    }

    /// Bytes reserved that hold nobody's numbers and that no request can use: rounding to the alignment, headers,
    /// ends of mappings.
    pub fn lost_bytes(&self) -> u64 {
        self.reserved_bytes.saturating_sub(self.live_bytes + self.cached_bytes + self.idle_bytes)
    }

    /// [`lost_bytes`](Self::lost_bytes) as a share of what is reserved; 0 when nothing is.
    ///
    /// Idle bytes are not in it, however small the pieces they lie in: `reserved_bytes / peak_bytes` tells what
    /// pieces of unfit sizes cost.
    pub fn fragmentation(&self) -> f64 {
        self.lost_bytes() as f64 / self.reserved_bytes.max(1) as f64
    }
}

/// What all threads together have published of one meter.
struct Total {
    sum: AtomicI64,
    peak: AtomicI64,
}

/// All tags together, then each.
const METERS: usize = 1 + Tag::ALL.len();
static TOTALS: [Total; METERS] =
    [const { Total { sum: AtomicI64::new(0), peak: AtomicI64::new(0) } }; METERS];

/// One thread's part of a sum; only its owner writes.
struct Meter {
    /// Allocated less freed. Negative where others' memory was freed.
    net: AtomicI64,
    /// Highest `net` since the last publication.
    high: AtomicI64,
    /// The part of `net` that is in the total.
    published: AtomicI64,
}

impl Meter {
    const fn new() -> Self {
        Self { net: AtomicI64::new(0), high: AtomicI64::new(0), published: AtomicI64::new(0) }
    }

    #[inline(always)]
    fn add(&self, bytes: u64, total: &Total) {
        let net = self.net.load(Relaxed) + bytes as i64;
        self.net.store(net, Relaxed);
        if net > self.high.load(Relaxed) {
            self.rise(net, total);
        }
    }

    #[inline(always)]
    fn subtract(&self, bytes: u64, total: &Total) {
        let net = self.net.load(Relaxed) - bytes as i64;
        self.net.store(net, Relaxed);
        if net < self.published.load(Relaxed) - DRIFT as i64 {
            self.publish(total);
        }
    }

    /// Who is not higher than before cannot be farther above what is published than before.
    #[cold]
    fn rise(&self, net: i64, total: &Total) {
        self.high.store(net, Relaxed);
        if net > self.published.load(Relaxed) + DRIFT as i64 {
            self.publish(total);
        }
    }

    #[cold]
    fn publish(&self, total: &Total) {
        let (net, high) = (self.net.load(Relaxed), self.high.load(Relaxed));
        let published = self.published.load(Relaxed);
        let peak = total.sum.fetch_add(net - published, Relaxed) + high - published;
        if peak > total.peak.load(Relaxed) {
            total.peak.fetch_max(peak, Relaxed);
        }
        self.published.store(net, Relaxed);
        self.high.store(net, Relaxed);
    }
}

/// What one thread has counted. It passes from a thread that ended to a new one as it is.
#[repr(align(128))]
pub(super) struct Account {
    meters: [Meter; METERS],
    reused: AtomicU64,
    cached: AtomicU64,
}

impl Account {
    pub(super) const fn new() -> Self {
        Self {
            meters: [const { Meter::new() }; METERS],
            reused: AtomicU64::new(0),
            cached: AtomicU64::new(0),
        }
    }

    /// Counts `bytes` that were handed out. For the owner alone.
    #[inline(always)]
    pub(super) fn add(&self, tag: Tag, bytes: usize) {
        for meter in [0, 1 + tag as usize] {
            self.meters[meter].add(bytes as u64, &TOTALS[meter]);
        }
    }

    /// Counts `bytes` that were taken back. For the owner alone.
    #[inline(always)]
    pub(super) fn subtract(&self, tag: Tag, bytes: usize) {
        for meter in [0, 1 + tag as usize] {
            self.meters[meter].subtract(bytes as u64, &TOTALS[meter]);
        }
    }

    /// Counts `bytes` under `to` that were under `from`. For the owner alone.
    pub(super) fn retag(&self, from: Tag, to: Tag, bytes: usize) {
        let (from, to) = (1 + from as usize, 1 + to as usize);
        self.meters[from].subtract(bytes as u64, &TOTALS[from]);
        self.meters[to].add(bytes as u64, &TOTALS[to]);
    }

    /// Counts a request served without the system. For the owner alone.
    #[inline(always)]
    pub(super) fn count_reuse(&self) {
        self.reused.store(self.reused.load(Relaxed) + 1, Relaxed);
    }

    /// Says how much the cache holds. For the owner alone.
    #[inline(always)]
    pub(super) fn set_cached(&self, bytes: usize) {
        self.cached.store(bytes as u64, Relaxed);
    }

    /// Before the owner ends, so that nothing of its movements is left unknown.
    pub(super) fn publish(&self) {
        for (meter, total) in self.meters.iter().zip(&TOTALS) {
            meter.publish(total);
        }
    }
}

/// The sums over `accounts`. What the heap knows stays 0.
pub(super) fn sum<'a>(accounts: impl Iterator<Item = &'a Account> + Clone) -> PoolStats {
    let usage = |meter: usize| {
        let meters = accounts.clone().map(|account| &account.meters[meter]);
        let live: i64 = meters.clone().map(|meter| meter.net.load(Relaxed)).sum();
        // The highest that a thread has been since it published, with the others as they are now.
        let highs = meters.map(|meter| live - meter.net.load(Relaxed) + meter.high.load(Relaxed));
        let peak = highs.fold(TOTALS[meter].peak.load(Relaxed).max(live), i64::max);
        Usage { live_bytes: live.max(0) as u64, peak_bytes: peak.max(0) as u64 }
    };
    let all = usage(0);
    PoolStats {
        live_bytes: all.live_bytes,
        peak_bytes: all.peak_bytes,
        cached_bytes: accounts.clone().map(|account| account.cached.load(Relaxed)).sum(),
        reused: accounts.clone().map(|account| account.reused.load(Relaxed)).sum(),
        by_tag: Tag::ALL.map(|tag| usage(1 + tag as usize)),
        ..PoolStats::default()
    }
}
