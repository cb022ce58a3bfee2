//! What the loops promise: every index once, results in order, the same bits for any number of workers, and panics that
//! arrive.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use support::{message, panic_of, watched, Counted, Meeting};
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
        let loops: [&(dyn Fn() + Sync); 7] = [
            &|| par::chunks(&[0; 1000], 1, |i, _| fails(i)),
            &|| par::chunks_pair_mut(&mut [0; 1000], &[0; 1000], 1, |i, _, _| fails(i)),
            &|| {
                par::find_any(0..1000, |i| {
                    fails(i);
                    false
                });
            },
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
fn chunks_and_pairs_cut_alike() {
    for workers in WORKERS {
        let runtime = runtime(workers);
        for (length, size) in [(0, 3), (1, 3), (3, 3), (10, 3), (1000, 7), (50_001, 64), (100, usize::MAX)] {
            let from: Vec<usize> = (0..length).collect();
            let seen: Vec<_> = (0..length).map(|_| AtomicUsize::new(usize::MAX)).collect();
            let mut to = vec![(usize::MAX, 0); length];
            runtime.install(|_| {
                par::chunks(&from, size, |i, chunk| {
                    assert_eq!(from.chunks(size).nth(i), Some(chunk));
                    chunk.iter().for_each(|&element| seen[element].store(i, Ordering::Relaxed));
                });
                par::chunks_pair_mut(&mut to, &from, size, |i, to, from| {
                    assert_eq!(to.len(), from.len());
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = (i, *from));
                });
            });
            for (element, to) in to.iter().enumerate() {
                assert_eq!(*to, (element / size, element));
                assert_eq!(seen[element].load(Ordering::Relaxed), element / size);
            }
        }
    }
}

#[test]
fn a_pair_of_slices_must_match() {
    let payload = panic_of(|| par::chunks_pair_mut(&mut [1, 2], &[1], 1, |_, _, _| ()));
    assert!(message(payload).contains("the same length"));
}

#[test]
fn find_any_finds_what_there_is_and_nothing_else() {
    for workers in WORKERS {
        let runtime = runtime(workers);
        for length in [0usize, 1, 2, 50, 10_000] {
            for wanted in [0, 1, length / 2, length.saturating_sub(1), length] {
                let found = runtime.install(|_| par::find_any(3..3 + length, |i| i == 3 + wanted));
                assert_eq!(found, (wanted < length).then_some(3 + wanted));
            }
        }
        let found = runtime.install(|_| par::find_any(0..10_000, |i| i % 100 == 99));
        assert!(found.is_some_and(|i| i % 100 == 99), "one of many");
    }
}

/// Were it not to stop, it would run for centuries.
#[test]
fn a_search_stops_everywhere_once_something_is_found() {
    watched("an endless search", || {
        for workers in WORKERS {
            let runtime = runtime(workers);
            let found = runtime.install(|_| par::find_any(0..usize::MAX, |i| i == 5_000_000));
            assert_eq!(found, Some(5_000_000));
        }
    });
}

#[test]
fn the_upper_half_of_a_long_range_is_reached_by_a_second_worker() {
    watched("a long search", || {
        let far = u32::MAX as usize / 3 * 2;
        let found = runtime(2).install(|_| par::find_any(0..usize::MAX, |i| i > far));
        assert!(found.is_some_and(|i| i > far));
    });
}

#[test]
fn chunks_of_a_slice_are_reduced_in_order_and_with_the_same_bits() {
    for length in [0, 1, 4095, 4097, 20_000, 100_000, 1_200_000] {
        let data: Vec<f64> = (0..length).map(|i| 1.0 / (i as f64 + 1.0)).collect();
        let sum = |workers| {
            runtime(workers)
                .install(|_| par::map_reduce_chunks(&data, |c| c.iter().sum::<f64>(), |a, b| a + b, || 0.0))
                .to_bits()
        };
        let alone = sum(1);
        for workers in WORKERS {
            assert_eq!(sum(workers), alone, "{length} numbers on {workers} workers");
        }
        let join = |mut a: Vec<f64>, b: Vec<f64>| {
            a.extend(b);
            a
        };
        let all = runtime(3).install(|_| par::map_reduce_chunks(&data, <[f64]>::to_vec, join, Vec::new));
        assert!(all == data, "in order");
    }
}

/// Coarse items of one leaf are computed side by side, and still combined from left to right.
#[test]
fn coarse_items_of_a_small_result_meet_and_are_combined_in_order() {
    watched("coarse items", || {
        for _ in 0..50 {
            let meeting = Meeting::of(2);
            let text = runtime(2).install(|_| {
                par::map_reduce(
                    0..2,
                    |i| {
                        meeting.arrive(i);
                        i as u64 + 1
                    },
                    |a, b| a * 10 + b,
                    || 0,
                )
            });
            assert_eq!(text, 12);
        }
        let slow = |i: usize| (0..20_000).fold(i as u64, |x, _| std::hint::black_box(x));
        let keep = |a: u64, b: u64| a.wrapping_mul(31).wrapping_add(b);
        let serial = (0..300).map(slow).reduce(keep).unwrap();
        for workers in WORKERS {
            assert_eq!(runtime(workers).install(|_| par::map_reduce(0..300, slow, keep, || 0)), serial);
        }
    });
}

#[test]
fn a_map_of_nothing_but_drops_or_of_no_size_works() {
    for workers in WORKERS {
        let runtime = runtime(workers);
        let dropped = AtomicUsize::new(0);
        let results = runtime.install(|_| par::map(0..5000, |_| Counted(&dropped)));
        assert_eq!((results.len(), dropped.load(Ordering::Relaxed)), (5000, 0));
        drop(results);
        assert_eq!(dropped.into_inner(), 5000);
        assert_eq!(runtime.install(|_| par::map(0..70_000, |_| ())).len(), 70_000);
    }
}

#[test]
fn a_chunk_of_nothing_is_refused() {
    let payload = panic_of(|| par::chunks_mut(&mut [1, 2], 0, |_, _| ()));
    assert_eq!(message(payload), "a chunk must have at least one element");
}

/// A loop that was short many times begins alone; one that is long this time is shared all the same.
#[test]
fn a_loop_that_was_short_may_be_long_the_next_time() {
    let seen = Mutex::new(HashSet::new());
    let run = |item: &(dyn Fn(usize) + Sync)| {
        upbeat::par::for_each(0..64, item);
        seen.lock().unwrap().clear();
        let sum = upbeat::par::map_reduce(0..64, |i| (item(i), i).1, |a, b| a + b, || 0);
        assert_eq!(sum, 64 * 63 / 2);
    };
    let runtime = runtime(2);
    let is_long = AtomicBool::new(false);
    let item = |i: usize| {
        if is_long.load(Ordering::Relaxed) {
            seen.lock().unwrap().insert(std::thread::current().id());
            // Long, and it does not end before another thread has come.
            while i >= 8 && seen.lock().unwrap().len() < 2 {
                std::thread::sleep(Duration::from_micros(50));
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    };
    for _ in 0..50 {
        runtime.install(|_| run(&item));
    }
    is_long.store(true, Ordering::Relaxed);
    watched("a long loop after short ones", || runtime.install(|_| run(&item)));
}
