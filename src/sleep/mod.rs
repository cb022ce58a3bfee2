//! Seats: which workers are awake, who watches, and how work wakes the others. The protocol is in `README.md` beside this file.
//!
//! Each worker index has a *seat*; whoever holds it, the worker's own thread or a caller from outside, is that worker. A seat
//! is free while its thread sleeps. Nothing here is on the path of a join.

pub mod polling;

use std::sync::OnceLock;
use std::time::Duration;

use crate::sync::thread::{park, park_timeout, Thread};
use crate::sync::{
    fence, fence_after_rmw, full_fence, left_out, lock, ordering, statistic, ticks, AtomicBool, AtomicU64,
    AtomicUsize, Mutex, Ordering, SEATS_A_WORD,
};

const WORD: usize = SEATS_A_WORD;

/// The seats of one runtime, and the watcher's office.
pub struct Sleep {
    workers: usize,
    /// Bit `i % 64` of word `i / 64`: seat `i` is free.
    free: Vec<AtomicU64>,
    /// The same for seats whose threads hold them and do nothing, until the runtime's size grows again.
    absent: Vec<AtomicU64>,
    /// 1 + the index of the worker that watches the busy ones, awake or napping; 0 when nobody does.
    watcher: AtomicUsize,
    /// Workers that hold their seat and run nothing: they look for work, or wait for a thief or a scope.
    hungry: statistic::AtomicUsize,
    terminate: AtomicBool,
    sleepers: Vec<Sleeper>,
    /// Running mean of the time from a wake-up until the thread runs, ticks.
    latency: statistic::AtomicU64,
    #[cfg(upbeat_loom)]
    parked: Mutex<usize>,
}

/// What it takes to wake one worker.
struct Sleeper {
    /// The seat was claimed for the thread by somebody else.
    granted: AtomicBool,
    /// When, ticks.
    granted_at: statistic::AtomicU64,
    thread: OnceLock<Thread>,
    /// The caller that holds the seat and may be asleep in a wait.
    guest: Mutex<Option<Thread>>,
}

/// Some of the workers, such as those of one memory node: the bits of their seats.
#[derive(Debug)]
pub struct Group(Vec<u64>);

/// Which bit of a word wakers take.
const HIGHEST: fn(u64) -> u32 = |free| u64::BITS - 1 - free.leading_zeros();

/// Why [`Sleep::rest`] returned; the seat is held in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// There was something to do, so the worker did not sleep.
    NotSlept,
    /// Its time was up, or the runtime ends.
    ByItself,
    /// Somebody woke it.
    ByOthers,
}

impl Sleep {
    /// For `workers` workers, all asleep.
    pub fn new(workers: usize) -> Self {
        let words = workers.div_ceil(WORD);
        let sleeper = || Sleeper {
            granted: AtomicBool::new(false),
            granted_at: statistic::AtomicU64::new(0),
            thread: OnceLock::new(),
            guest: Mutex::new(None),
        };
        Self {
            workers,
            free: (0..words).map(|word| AtomicU64::new(all_free(workers, word))).collect(),
            absent: (0..words).map(|_| AtomicU64::new(0)).collect(),
            watcher: AtomicUsize::new(0),
            hungry: statistic::AtomicUsize::new(0),
            terminate: AtomicBool::new(false),
            sleepers: (0..workers).map(|_| sleeper()).collect(),
            latency: statistic::AtomicU64::new(0),
            #[cfg(upbeat_loom)]
            parked: Mutex::new(0),
        }
    }

    /// Tells which thread worker `index` runs on; once, before it waits for its seat.
    pub fn register(&self, index: usize, thread: Thread) {
        let first = self.sleepers[index].thread.set(thread).is_ok();
        debug_assert!(first, "worker {index} registered twice");
        // Pairs with the fence in `terminate`: it finds the thread to wake, or the thread sees the flag.
        fence(Ordering::SeqCst);
    }

    /// Claims seat `index` if it is free. What its last holder did is visible then.
    pub fn try_claim(&self, index: usize) -> bool {
        let bit = 1 << (index % WORD);
        let word = &self.free[index / WORD];
        word.load(Ordering::Relaxed) & bit != 0
            && word.fetch_and(!bit, ordering!("seat_claim", Acquire)) & bit != 0
    }

    /// Whether seat `index` is free now.
    pub fn is_free(&self, index: usize) -> bool {
        self.free[index / WORD].load(Ordering::Relaxed) & 1 << (index % WORD) != 0
    }

    /// As `try_claim`, for the seat's own thread, which will be hungry. It is counted first, so that nobody misses it in between.
    fn try_claim_for_thread(&self, index: usize) -> bool {
        self.begin_hunger();
        let claimed = self.try_claim(index);
        if !claimed {
            self.end_hunger();
        }
        claimed
    }

    /// Claims a seat for a caller from outside: one of `seats` if given, else the lowest free one. A watcher that napped there watches
    /// no more.
    pub fn claim_for_guest(&self, seats: Option<&[usize]>) -> Option<usize> {
        let index = match seats {
            Some(seats) => seats.iter().copied().find(|&index| self.try_claim(index)),
            None => self.claim_any(
                u64::trailing_zeros,
                |index| self.try_claim(index),
                0..self.free.len(),
                |_| u64::MAX,
            ),
        }?;
        if self.watcher.load(Ordering::Relaxed) == index + 1 {
            self.stop_watching(index);
        }
        // Pairs with the fence in `rest`: who leaves the watch sees us here, or we see that nobody watches.
        fence_after_rmw!("sleep_active_fence");
        Some(index)
    }

    fn claim_any(
        &self,
        choose: impl Fn(u64) -> u32,
        claim: impl Fn(usize) -> bool,
        mut words: impl Iterator<Item = usize>,
        among: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        words.find_map(|word| {
            let mut free = self.free[word].load(Ordering::Relaxed) & among(word);
            while free != 0 {
                let index = word * WORD + choose(free) as usize;
                if claim(index) {
                    return Some(index);
                }
                free = self.free[word].load(Ordering::Relaxed) & among(word);
            }
            None
        })
    }

    /// Gives seat `index` back: what its holder did becomes visible to the next one.
    ///
    /// Whoever releases looks afterwards for work that came while no seat was free.
    pub fn release(&self, index: usize) {
        self.free[index / WORD].fetch_or(1 << (index % WORD), ordering!("seat_release", Release));
        // Pairs with the fence in `wake_one`: a publisher sees the free seat, or we see its work.
        fence_after_rmw!("sleep_park_fence");
        if self.is_terminating() {
            // The thread cannot leave before it had its seat.
            self.unpark_thread(index);
        }
    }

    /// Wakes one sleeper if there is one. Call after the work was published.
    ///
    /// Returns whether a worker was woken.
    pub fn wake_one(&self) -> bool {
        // Pairs with the fence in `release`: the sleeper sees our work, or we see its free seat.
        full_fence!("sleep_publish_fence");
        let claim = |index| self.try_claim_for_thread(index);
        let claimed = self.claim_any(HIGHEST, claim, (0..self.free.len()).rev(), |_| u64::MAX);
        claimed.map(|index| self.grant(index)).is_some()
    }

    /// As [`wake_one`](Self::wake_one), but one of `group` if any of it sleeps.
    pub fn wake_one_of(&self, group: &Group) -> bool {
        // As in `wake_one`.
        full_fence!("sleep_publish_fence");
        let claim = |index| self.try_claim_for_thread(index);
        let words = || (0..self.free.len()).rev();
        let of_group = self.claim_any(HIGHEST, claim, words(), |word| group.0[word]);
        let claimed = of_group.or_else(|| self.claim_any(HIGHEST, claim, words(), |_| u64::MAX));
        claimed.map(|index| self.grant(index)).is_some()
    }

    /// The workers `members`, as [`wake_one_of`](Self::wake_one_of) takes them.
    pub fn group(&self, members: &[usize]) -> Group {
        let mut words = vec![0; self.free.len()];
        members.iter().for_each(|index| words[index / WORD] |= 1 << (index % WORD));
        Group(words)
    }

    /// As `wake_one`, for a task that this worker will run itself at the latest, and without a fence: wakes nobody when no free seat was seen.
    ///
    /// A worker that goes to sleep at this very moment may miss the task. It then sees this one awake (rule 3) and watches, so
    /// it looks again after a nap.
    pub fn wake_if_seen(&self) -> bool {
        !left_out!("sleep_wake_seen") && self.has_sleepers() && self.wake_one()
    }

    /// Wakes worker `index` if it sleeps. Call after something for it alone was published.
    pub fn wake(&self, index: usize) {
        // As in `wake_one`.
        full_fence!("sleep_publish_fence");
        if left_out!("broadcast_wake") {
            return;
        }
        match self.try_claim_for_thread(index) {
            true => self.grant(index),
            false => self.unpark(index),
        }
    }

    /// Wakes the watcher if it naps; anybody, if nobody watches.
    pub fn wake_watcher(&self) {
        match self.watcher.load(Ordering::Relaxed) {
            0 => {
                self.wake_one();
            }
            watcher => {
                // Asked first, for to claim it for the thread counts it as hungry, in a word that all read.
                if self.is_free(watcher - 1) && self.try_claim_for_thread(watcher - 1) {
                    self.grant(watcher - 1);
                }
            }
        }
    }

    /// How long it takes from a wake-up until the thread runs, ticks, learned.
    pub fn wake_latency(&self) -> u64 {
        self.latency.load(Ordering::Relaxed)
    }

    /// When seat `index` was last granted to its thread, ticks.
    pub fn granted_at(&self, index: usize) -> u64 {
        self.sleepers[index].granted_at.load(Ordering::Relaxed)
    }

    /// Hands seat `index`, which the caller has claimed, to its thread.
    fn grant(&self, index: usize) {
        self.sleepers[index].granted_at.store(ticks(), Ordering::Relaxed);
        // Release: what the seat's last holder did, which the claim has acquired. A swap and not a store, for loom's sake: it lets a
        // later swap read what was there before a store.
        self.sleepers[index].granted.swap(true, ordering!("seat_grant", Release));
        self.unpark_thread(index);
    }

    fn unpark_thread(&self, index: usize) {
        if let Some(thread) = self.sleepers[index].thread.get() {
            thread.unpark();
        }
    }

    /// Worker `index`, which is hungry, gives up its seat and sleeps, for `limit` at most when given, unless `has_work` after that.
    /// It has the seat again and is hungry when this returns; a guest may have had it meanwhile.
    pub fn rest(&self, index: usize, limit: Option<Duration>, has_work: impl Fn() -> bool) -> Woken {
        self.release(index);
        if !left_out!("sleep_second_look") && (has_work() || self.is_terminating()) && self.try_claim(index) {
            return Woken::NotSlept;
        }
        // From here on its free seat counts.
        self.end_hunger();
        self.wait_for_seat(index, limit)
    }

    /// Claims the seat for its own thread at once, unless a waker just has.
    pub fn take_seat(&self, index: usize) {
        if !self.try_claim_for_thread(index) {
            self.wait_for_seat(index, None);
        }
    }

    /// Sleeps until the seat is granted, or until `limit` has passed and it is free; the worker is hungry then.
    pub fn wait_for_seat(&self, index: usize, mut limit: Option<Duration>) -> Woken {
        let granted = &self.sleepers[index].granted;
        loop {
            // Whoever claimed the seat for us acquired what its last holder did, and passes that on.
            if granted.swap(false, ordering!("seat_granted", Acquire)) {
                let taken = ticks().saturating_sub(self.sleepers[index].granted_at.load(Ordering::Relaxed));
                let mean = self.latency.load(Ordering::Relaxed);
                // Moves by an eighth of itself at most per wake-up: one that came late by a whole time slice says little.
                let taken = taken.min(mean.saturating_mul(2).max(1 << 16));
                self.latency.store(mean - mean / 8 + taken / 8, Ordering::Relaxed);
                return Woken::ByOthers;
            }
            if self.is_terminating() && self.try_claim_for_thread(index) {
                return Woken::ByItself;
            }
            #[cfg(upbeat_loom)]
            self.count_parked(1);
            let nap = limit.take();
            nap.map_or_else(park, park_timeout);
            #[cfg(upbeat_loom)]
            self.count_parked(-1);
            // A stray token makes a nap shorter, which harms nobody. If a guest has the seat now, or if somebody is just
            // granting it to us, we wait for that.
            if nap.is_some() && self.try_claim_for_thread(index) {
                return Woken::ByItself;
            }
        }
    }

    /// Takes the watcher's office if it is vacant.
    pub fn try_watch(&self, index: usize) -> bool {
        self.watcher.load(Ordering::Relaxed) == 0
            && self.watcher.compare_exchange(0, index + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Leaves the office, if worker `index` holds it.
    pub fn stop_watching(&self, index: usize) {
        // Relaxed: followed by the fence of `rest` where it matters.
        let _ = self.watcher.compare_exchange(index + 1, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether worker `index` holds the office.
    pub fn is_watcher(&self, index: usize) -> bool {
        self.watcher.load(Ordering::Relaxed) == index + 1
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.watcher.load(Ordering::Relaxed) != 0
    }

    /// Whether anybody but worker `index` is awake.
    pub fn others_awake(&self, index: usize) -> bool {
        self.awake(index).any(|awake| awake != 0)
    }

    /// The workers but `index` that are awake, as words of bits.
    fn awake(&self, index: usize) -> impl Iterator<Item = u64> + '_ {
        self.free.iter().zip(&self.absent).enumerate().map(move |(word, (free, absent))| {
            let own = if index / WORD == word { 1 << (index % WORD) } else { 0 };
            let asleep = free.load(Ordering::Relaxed) | absent.load(Ordering::Relaxed);
            all_free(self.workers, word) & !(asleep | own)
        })
    }

    /// Worker `index`, which holds its seat, will not take part for a while, or does again.
    pub fn set_absent(&self, index: usize, absent: bool) {
        let (word, bit) = (&self.absent[index / WORD], 1 << (index % WORD));
        match absent {
            true => word.fetch_or(bit, Ordering::Relaxed),
            false => word.fetch_and(!bit, Ordering::Relaxed),
        };
    }

    /// Whether somebody but worker `index` is awake and nobody watches: a reason not to sleep.
    pub fn needs_watcher(&self, index: usize) -> bool {
        !self.is_watched() && self.others_awake(index)
    }

    /// As [`needs_watcher`](Self::needs_watcher), for a caller that leaves: not for those who are awake because they look for work, for they
    /// watch or look around before they sleep.
    pub fn leaves_unwatched(&self, index: usize) -> bool {
        let others = || self.awake(index).map(|awake| awake.count_ones() as usize).sum::<usize>();
        !self.is_watched() && others() > self.hungry.load(Ordering::Relaxed)
    }

    /// Whether any worker sleeps.
    pub fn has_sleepers(&self) -> bool {
        self.free.iter().any(|free| free.load(Ordering::Relaxed) != 0)
    }

    /// Remembers that the caller that holds seat `index` may sleep in a wait.
    pub fn note_guest(&self, index: usize, guest: Option<Thread>) {
        *lock(&self.sleepers[index].guest) = guest;
    }

    /// Wakes whoever holds seat `index` if it sleeps in a wait for a latch; harmless otherwise.
    pub fn unpark(&self, index: usize) {
        match &*lock(&self.sleepers[index].guest) {
            Some(guest) => guest.unpark(),
            None => self.unpark_thread(index),
        }
    }

    /// A worker has nothing to do. Said before anyone can know that its last task is done, so that whoever waited for that task
    /// finds it counted.
    pub fn begin_hunger(&self) {
        self.hungry.fetch_add(1, Ordering::Relaxed);
    }

    /// It has something again, or sleeps.
    pub fn end_hunger(&self) {
        self.hungry.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many workers have nothing to do, asleep or awake.
    pub fn hungry(&self) -> usize {
        let asleep: u32 = self.free.iter().map(|free| free.load(Ordering::Relaxed).count_ones()).sum();
        asleep as usize + self.hungry.load(Ordering::Relaxed)
    }

    /// Whether any worker has nothing to do.
    pub fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::Relaxed) > 0 || self.has_sleepers()
    }

    /// Worker `index` begins to run tasks after it had none. Wakes a watcher when nobody watches, but not if it `may_wait` and nobody
    /// else is awake: then it is for the caller to wake one as soon as there is something to share. False in that case.
    pub fn enter_active(&self, index: usize, may_wait: bool) -> bool {
        // Pairs with the fence in `release`: who leaves the watch sees us awake, or we see that nobody watches. And of two who begin at
        // the same time one sees the other.
        full_fence!("sleep_active_fence");
        if self.is_watched() {
            return true;
        }
        let waits = may_wait && !self.others_awake(index);
        if !waits {
            self.wake_one();
        }
        !waits
    }

    #[cfg(upbeat_loom)]
    fn count_parked(&self, more: isize) {
        let mut parked = lock(&self.parked);
        *parked = parked.wrapping_add_signed(more);
    }

    /// How many threads sleep for want of a seat, or are on their way there; what they did before is visible.
    #[cfg(upbeat_loom)]
    pub fn parked(&self) -> usize {
        *lock(&self.parked)
    }

    /// Tells every worker to leave once there is no work.
    pub fn terminate(&self) {
        self.terminate.store(true, ordering!("terminate_set", Release));
        fence(Ordering::SeqCst);
        // A thread that looked at the flag before it was set finds a token when it parks.
        for index in 0..self.workers {
            self.unpark_thread(index);
        }
    }

    /// Whether [`terminate`](Self::terminate) was called; if so, what was published before is visible.
    pub fn is_terminating(&self) -> bool {
        self.terminate.load(ordering!("terminate_read", Acquire))
    }
}

/// Word `word` of a bitmap of `workers` seats that are all free.
fn all_free(workers: usize, word: usize) -> u64 {
    u64::MAX >> (u64::BITS as usize - WORD.min(workers - word * WORD))
}
