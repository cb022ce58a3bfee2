//! Small numbers for threads, so that a former can keep a line for each. A number is one thread's at a time and goes to another one when that thread
//! ends, together with all that it did. Proof: `loom-tests/tests/lease.rs`.

use crate::sync::{ordering, process, Ordering};

/// Threads that have numbers at a time; others have none.
pub(super) const THREADS: usize = if cfg!(upbeat_loom) { 2 } else { 63 };

/// A bit for each number: taken.
pub struct Numbers(process::AtomicU64);

impl Numbers {
    /// Takes a free number; [`THREADS`] when there is none.
    pub fn take(&self) -> usize {
        let free = |taken: u64| {
            let number = taken.trailing_ones() as usize;
            (number < THREADS).then_some(taken | 1 << number)
        };
        // Acquire: what was done with it before.
        let taken = self.0.fetch_update(ordering!("number_take", Acquire), Ordering::Relaxed, free);
        taken.map_or(THREADS, |taken| taken.trailing_ones() as usize)
    }

    /// Gives a number back that [`take`](Self::take) gave.
    pub fn give(&self, number: usize) {
        if number < THREADS {
            // Release: what was done with it, for who takes it.
            self.0.fetch_and(!(1 << number), ordering!("number_give", Release));
        }
    }
}

#[cfg(not(upbeat_loom))]
mod own {
    use std::cell::Cell;

    use super::{process, Numbers, THREADS};
    use crate::sync::thread_local;

    static NUMBERS: Numbers = Numbers(process::AtomicU64::new(0));

    /// Not asked for yet.
    const UNKNOWN: usize = usize::MAX;

    /// Gives the number back at the thread's end.
    struct Owner(usize);

    impl Drop for Owner {
        fn drop(&mut self) {
            // Destructors that come later add without a number.
            NUMBER.set(THREADS);
            NUMBERS.give(self.0);
        }
    }

    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
        static OWNER: Owner = Owner(NUMBERS.take());
    }

    #[cold]
    fn ask() -> usize {
        let number = OWNER.try_with(|owner| owner.0).unwrap_or(THREADS);
        NUMBER.set(number);
        number
    }

    /// This thread's number; [`THREADS`] if it has none.
    #[inline]
    pub(in crate::batch) fn number() -> usize {
        match NUMBER.get() {
            UNKNOWN => ask(),
            number => number,
        }
    }
}

/// A process has threads before its models; so each of those has numbers of its own, and gives them to threads as it likes.
#[cfg(upbeat_loom)]
mod own {
    use std::cell::Cell;

    use super::{process, Numbers, THREADS};

    impl Numbers {
        /// None taken.
        #[allow(clippy::new_without_default)]
        pub fn new() -> Self {
            Self(process::AtomicU64::new(0))
        }
    }

    loom::thread_local! {
        static NUMBER: Cell<usize> = Cell::new(THREADS);
    }

    /// Says what number this thread has from now on.
    pub fn set_number(number: usize) {
        NUMBER.with(|own| own.set(number));
    }

    pub(in crate::batch) fn number() -> usize {
        NUMBER.with(Cell::get)
    }
}

pub(super) use own::number;
#[cfg(upbeat_loom)]
pub use own::set_number;
