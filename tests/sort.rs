//! What the sorts promise: the order of a plain sort, stable where they say so, and each element once whatever a comparison does.

mod support;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use support::{message, panic_of, Counted};
use upbeat::{par, Runtime};

const WORKERS: [usize; 3] = [1, 2, 5];
/// Around the lengths at which slices are cut, blocks end and merges are shared.
const LENGTHS: [usize; 14] =
    [0, 1, 2, 3, 50, 8191, 8192, 8193, 8500, 16_385, 20_000, 70_001, 131_072, 300_007];

fn on_each_runtime(test: impl Fn() + Sync) {
    for workers in WORKERS {
        Runtime::builder().workers(workers).build().unwrap().install(|_| test());
    }
}

/// Numbers in no order, below `below`.
fn numbers(length: usize, below: u64) -> Vec<u32> {
    let mut state = length as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below) as u32
    };
    (0..length).map(|_| next()).collect()
}

/// Slices of length `length` with an order that a sort may stumble over.
fn shapes(length: usize) -> Vec<(&'static str, Vec<u32>)> {
    let n = length as u32;
    let mut nearly: Vec<u32> = (0..n).collect();
    if length > 100 {
        nearly.swap(7, length - 9);
    }
    vec![
        ("in no order", numbers(length, u64::from(u32::MAX))),
        ("few values", numbers(length, 3)),
        ("sorted", (0..n).collect()),
        ("nearly sorted", nearly),
        ("descending", (0..n).rev().collect()),
        ("all equal", vec![7; length]),
        ("saw teeth", (0..n).map(|i| i % 1000).collect()),
        ("organ pipe", (0..n).map(|i| i.min(n - i)).collect()),
        ("two runs", (0..n).map(|i| i / 2 + i % 2 * n).collect()),
        ("one low at the end", (1..n).chain((n > 0).then_some(0)).collect()),
    ]
}

#[test]
fn all_sorts_give_the_order_of_a_plain_one() {
    on_each_runtime(|| {
        for length in LENGTHS {
            for (shape, data) in shapes(length) {
                let mut sorted = data.clone();
                sorted.sort();
                let check = |name: &str, sort: &dyn Fn(&mut [u32])| {
                    let mut mine = data.clone();
                    sort(&mut mine);
                    assert!(mine == sorted, "{name}: {length} numbers, {shape}");
                };
                check("sort", &|data| par::sort(data));
                check("sort_by_key", &|data| par::sort_by_key(data, |x| u64::from(*x) * 3));
                check("sort_unstable", &|data| par::sort_unstable(data));
                check("sort_unstable_by_key", &|data| par::sort_unstable_by_key(data, |x| *x));
                sorted.reverse();
                let check = |name: &str, sort: &dyn Fn(&mut [u32])| {
                    let mut mine = data.clone();
                    sort(&mut mine);
                    assert!(mine == sorted, "{name}: {length} numbers, {shape}");
                };
                check("sort_by", &|data| par::sort_by(data, |a, b| b.cmp(a)));
                check("sort_unstable_by", &|data| par::sort_unstable_by(data, |a, b| b.cmp(a)));
            }
        }
    });
}

#[test]
fn a_stable_sort_keeps_the_order_of_equal_elements() {
    on_each_runtime(|| {
        for length in LENGTHS {
            let data: Vec<_> = numbers(length, 50).into_iter().enumerate().collect();
            let mut sorted = data.clone();
            sorted.sort_by_key(|&(_, key)| key);
            let mut mine = data.clone();
            par::sort_by_key(&mut mine, |&(_, key)| key);
            assert!(mine == sorted, "by key, {length}");
            let mut mine = data;
            par::sort_by(&mut mine, |a, b| a.1.cmp(&b.1));
            assert!(mine == sorted, "by comparison, {length}");
        }
    });
}

#[test]
fn elements_that_own_memory_are_moved_not_copied() {
    on_each_runtime(|| {
        let words: Vec<String> = numbers(30_000, 5000).iter().map(u32::to_string).collect();
        let mut sorted = words.clone();
        sorted.sort();
        let (mut stable, mut unstable) = (words.clone(), words);
        par::sort(&mut stable);
        par::sort_unstable(&mut unstable);
        assert!(stable == sorted && unstable == sorted);
    });
}

#[test]
fn elements_without_a_size_are_counted() {
    on_each_runtime(|| {
        let mut data = vec![(); 100_000];
        par::sort(&mut data);
        par::sort_unstable(&mut data);
        assert_eq!(data.len(), 100_000);
    });
}

/// An element that is counted when dropped, with a number to sort by.
struct Element<'a> {
    number: u32,
    _counted: Counted<'a>,
}

#[test]
fn a_comparison_that_panics_loses_no_element() {
    on_each_runtime(|| {
        for unstable in [false, true] {
            for when in [1, 9000, 20_000, 300_000, 500_000, 700_000, 800_000] {
                let length = 40_000;
                let dropped = AtomicUsize::new(0);
                let mut data: Vec<_> = numbers(length, 1 << 30)
                    .into_iter()
                    .map(|number| Element { number, _counted: Counted(&dropped) })
                    .collect();
                let mut expected: Vec<_> = data.iter().map(|element| element.number).collect();
                expected.sort_unstable();
                let comparisons = AtomicUsize::new(0);
                let compare = |a: &Element<'_>, b: &Element<'_>| {
                    assert!(comparisons.fetch_add(1, Relaxed) != when, "comparison {when}");
                    a.number.cmp(&b.number)
                };
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    if unstable {
                        par::sort_unstable_by(&mut data, compare);
                    } else {
                        par::sort_by(&mut data, compare);
                    }
                }));
                assert_eq!(outcome.is_err(), comparisons.load(Relaxed) > when);
                if let Err(payload) = outcome {
                    assert_eq!(message(payload), format!("comparison {when}"));
                }
                let mut numbers: Vec<_> = data.iter().map(|element| element.number).collect();
                numbers.sort_unstable();
                assert!(numbers == expected, "each element once, after comparison {when}");
                drop(data);
                assert_eq!(dropped.into_inner(), length, "each is dropped once");
            }
        }
    });
}

#[test]
#[allow(clippy::borrowed_box)] // a comparison of the elements, which are boxes
fn a_comparison_that_is_no_order_loses_no_element() {
    on_each_runtime(|| {
        for unstable in [false, true] {
            for seed in 0..6 {
                let length = 50_000;
                let mut data: Vec<Box<usize>> = (0..length).map(Box::new).collect();
                let calls = AtomicUsize::new(seed);
                let compare = |a: &Box<usize>, b: &Box<usize>| {
                    // Says whatever it likes, and not the same twice.
                    let call = calls.fetch_add(1, Relaxed);
                    (**a ^ call).wrapping_mul(0x9E37_79B9).cmp(&(**b ^ call << 3).wrapping_mul(0x85EB_CA6B))
                };
                // It may panic, as the standard library's may.
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    if unstable {
                        par::sort_unstable_by(&mut data, compare);
                    } else {
                        par::sort_by(&mut data, compare);
                    }
                }));
                let mut there: Vec<usize> = data.iter().map(|element| **element).collect();
                there.sort_unstable();
                assert!(there.into_iter().eq(0..length), "each element once");
            }
        }
    });
}

/// Elements may be sent to other threads, not shared: a sort must never compare one on two threads at once.
#[test]
fn elements_that_cannot_be_shared_are_compared_by_one_thread_at_a_time() {
    struct Watched {
        number: u32,
        users: AtomicUsize,
        _not_shared: std::cell::Cell<()>,
    }
    let use_both = |a: &Watched, b: &Watched| {
        for element in [a, b] {
            assert_eq!(element.users.fetch_add(1, Relaxed), 0, "compared on two threads at once");
        }
        let order = a.number.cmp(&b.number);
        for element in [a, b] {
            element.users.fetch_sub(1, Relaxed);
        }
        order
    };
    on_each_runtime(|| {
        let fresh = || -> Vec<Watched> {
            let users = || AtomicUsize::new(0);
            let numbers = numbers(60_000, 1 << 20).into_iter();
            numbers.map(|number| Watched { number, users: users(), _not_shared: ().into() }).collect()
        };
        let (mut stable, mut unstable) = (fresh(), fresh());
        par::sort_by(&mut stable, use_both);
        par::sort_unstable_by(&mut unstable, use_both);
        assert!(stable.is_sorted_by_key(|element| element.number));
        assert!(unstable.is_sorted_by_key(|element| element.number));
    });
}

#[test]
fn a_sort_outside_a_runtime_takes_the_global_one() {
    let mut data = numbers(50_000, 1 << 30);
    par::sort(&mut data);
    assert!(data.is_sorted());
    let payload = panic_of(|| par::sort_unstable_by(&mut data, |_, _| panic!("no order")));
    assert_eq!(message(payload), "no order");
}
