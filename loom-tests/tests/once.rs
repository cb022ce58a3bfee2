//! The global runtime's first use: by several threads at once, with a first attempt that fails.
#![cfg(upbeat_loom)]

use std::sync::Arc;

use loom::thread;
use upbeat::model::Once;
use upbeat_loom_tests::{check, Datum, Tally};

/// The value and what became of the attempts to make it.
struct Place {
    once: Once<Datum>,
    attempts: Tally,
    made: Tally,
}

impl Place {
    fn new() -> Arc<Self> {
        Arc::new(Self { once: Once::new(), attempts: Tally::new(), made: Tally::new() })
    }

    /// One use; the first `failures` attempts of all to make the value fail.
    fn use_once(&self, failures: usize) -> Option<usize> {
        let made = self.once.get_or_make(|| {
            self.attempts.hit();
            if self.attempts.get() <= failures {
                return Err(());
            }
            self.made.hit();
            Ok(Datum::new(7))
        });
        made.ok().map(Datum::read)
    }
}

#[test]
fn two_threads_that_use_it_first_make_one() {
    check(3, || {
        let place = Place::new();
        let other = {
            let place = place.clone();
            thread::spawn(move || place.use_once(0))
        };
        assert_eq!(place.use_once(0), Some(7));
        assert_eq!(other.join().unwrap(), Some(7));
        assert_eq!([place.attempts.get(), place.made.get()], [1, 1]);
    });
}

// Fault 37.
#[test]
fn a_failed_attempt_is_told_to_one_and_the_next_use_tries_again() {
    check(3, || {
        let place = Place::new();
        let other = {
            let place = place.clone();
            thread::spawn(move || place.use_once(1))
        };
        let mine = place.use_once(1);
        let theirs = other.join().unwrap();
        assert!(
            mine.is_some() != theirs.is_some(),
            "one is told of the failure, the other one gets the value"
        );
        assert_eq!(place.use_once(1), Some(7));
        assert_eq!([place.attempts.get(), place.made.get()], [2, 1]);
    });
}
