//! What the loops promise: every index once, results in order, the same bits for any number of workers, and panics that
//! arrive.

mod support;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use support::{message, panic_of, watched, Counted};
use upbeat::{par, Runtime};

const WORKERS: [usize; 4] = [1, 2, 3, 8];

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Takes much longer for a few indices than for the others.
fn uneven(i: usize) -> f64 {
    let rounds = if i.is_multiple_of(97) { 5000 } else { i % 7 };
    (0..rounds).fold(i as f64 * 0.1, |x, _| (x + 1.0).sqrt()) + 1.0 / (i as f64 + 1.0)
}

#[test]
fn for_each_visits_each_index_once() {
    for workers in WORKERS {
        let runtime = runtime(workers);
        for length in [0, 1, 2, 3, 7, 64, 1000, 100_003] {
            let visits: Vec<_> = (0..length).map(|_| AtomicU32::new(0)).collect();
            runtime.install(|_| {
                par::for_each(5..5 + length, |i| {
                    visits[i - 5].fetch_add(1, Ordering::Relaxed);
                })
            });
            assert!(visits.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{workers} workers, {length}");
        }
    }
}

#[test]
fn a_range_that_is_empty_or_reversed_runs_nothing() {
    #[allow(clippy::reversed_empty_ranges)]
    for range in [0..0, 7..7, 7..3] {
        par::for_each(range.clone(), |_| unreachable!("an empty range has no index"));
        assert!(par::map(range.clone(), |i| i).is_empty());
        assert_eq!(par::map_reduce(range, |i| i, |a, b| a + b, || 17), 17);
    }
    par::chunks_mut(&mut [0u8; 0], 3, |_, _| unreachable!("an empty slice has no chunk"));
}

#[test]
fn a_range_at_the_end_of_the_numbers_does_not_overflow() {
    let sum = AtomicUsize::new(0);
    par::for_each(usize::MAX - 3..usize::MAX, |i| {
        sum.fetch_add(usize::MAX - i, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 6);
    let least = par::map_reduce(usize::MAX - 10_000..usize::MAX, |i| i, usize::min, || 0);
    assert_eq!(least, usize::MAX - 10_000);
}

#[test]
fn map_keeps_the_order() {
    for workers in WORKERS {
        let texts = runtime(workers).install(|_| par::map(10..10_010, |i| (i, uneven(i).to_bits())));
        assert_eq!(texts.len(), 10_000);
        assert!(texts.into_iter().zip(10..).all(|(pair, i)| pair == (i, uneven(i).to_bits())));
    }
}

#[test]
fn chunks_mut_cuts_like_the_standard_library() {
    for workers in WORKERS {
        let runtime = runtime(workers);
        for (length, size) in
            [(1, 1), (5, 1), (10, 3), (9, 3), (1000, 7), (1000, 1000), (1000, 999), (3, usize::MAX)]
        {
            let (mut ours, mut theirs) = (vec![0; length], vec![0; length]);
            runtime.install(|_| {
                par::chunks_mut(&mut ours, size, |i, chunk| chunk.fill(1 + i * 10_000 + chunk.len()));
            });
            for (i, chunk) in theirs.chunks_mut(size).enumerate() {
                chunk.fill(1 + i * 10_000 + chunk.len());
            }
            assert_eq!(ours, theirs, "{length} by {size}");
        }
    }
}

#[test]
fn map_reduce_has_the_same_bits_for_any_number_of_workers() {
    for length in [1, 2, 3, 1000, 4097, 30_000] {
        let sum = |workers: usize| -> u64 {
            let add = |a: f64, b: f64| a + b;
            runtime(workers).install(|_| par::map_reduce(0..length, uneven, add, || 0.0)).to_bits()
        };
        let alone = sum(1);
        for workers in WORKERS {
            for _ in 0..5 {
                assert_eq!(sum(workers), alone, "{length} numbers on {workers} workers");
            }
        }
    }
}

#[test]
fn map_reduce_combines_neighbours_in_order() {
    let text = |i: usize| i.to_string();
    let serial: String = (0..5000).map(text).collect();
    for workers in WORKERS {
        let joined = runtime(workers).install(|_| par::map_reduce(0..5000, text, |a, b| a + &b, String::new));
        assert_eq!(joined, serial);
    }
}

#[test]
fn loops_nest() {
    watched("nested loops", || {
        for workers in WORKERS {
            let sum = runtime(workers).install(|_| {
                par::map_reduce(
                    0..50,
                    |i| {
                        par::map(0..40, |j| par::map_reduce(0..30, |k| i * j * k, |a, b| a + b, || 0))
                            .iter()
                            .sum()
                    },
                    |a: usize, b| a + b,
                    || 0,
                )
            });
            assert_eq!(sum, 1225 * 780 * 435);
        }
    });
}

#[test]
fn a_panic_arrives_and_what_was_made_is_dropped() {
    for workers in WORKERS {
        let runtime = runtime(workers);
        let fails = |i: usize| assert!(i != 777, "index {i}");
        let (made, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let loops: [&(dyn Fn() + Sync); 4] = [
            &|| par::for_each(0..1000, fails),
            &|| par::chunks_mut(&mut [0; 1000], 1, |i, _| fails(i)),
            &|| par::map_reduce(0..1000, fails, |(), ()| (), || ()),
            &|| {
                par::map(0..1000, |i| {
                    fails(i);
                    made.fetch_add(1, Ordering::Relaxed);
                    Counted(&dropped)
                });
            },
        ];
        for body in loops {
            assert_eq!(message(panic_of(|| runtime.install(|_| body()))), "index 777");
        }
        assert_eq!(made.into_inner(), dropped.into_inner());
        runtime.install(|_| par::for_each(0..1000, |_| ()));
    }
}

#[test]
fn a_chunk_of_nothing_is_refused() {
    let payload = panic_of(|| par::chunks_mut(&mut [1, 2], 0, |_, _| ()));
    assert_eq!(message(payload), "a chunk must have at least one element");
}
