//! rayon's own calls: joins, scopes, parallel iterators and sorts.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::Rows;

fn fib(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = rayon::join(|| fib(n - 1), || fib(n - 2));
    a + b
}

fn quicksort(data: &mut [u32]) {
    if data.len() <= 32 {
        return data.sort_unstable();
    }
    let middle = data.len() / 2;
    let (left, _, right) = data.select_nth_unstable(middle);
    rayon::join(|| quicksort(left), || quicksort(right));
}

/// Work of two thirds of a nanosecond a step, about.
fn turns(i: usize, steps: usize) -> usize {
    (0..steps).fold(i, |x, k| x.rotate_left(5) ^ k)
}

/// Numbers without order.
fn numbers(count: u32) -> Vec<u32> {
    (0..count).map(|i| i.wrapping_mul(0x9e37_79b9) ^ (i >> 3)).collect()
}

pub(crate) fn run(rows: &Rows) {
    assert_eq!(fib(20), 6765);
    rows.row("fib 25, outside", || fib(25));
    rayon::scope(|_| rows.row("fib 25, in a pool", || fib(25)));

    rows.row("empty install", || rayon::scope(|_| ()));
    rayon::scope(|_| rows.row("empty scope, in a pool", || rayon::scope(|_| ())));
    let count = AtomicUsize::new(0);
    let spawns = || {
        rayon::scope(|scope| {
            for _ in 0..1000 {
                scope.spawn(|_| {
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        })
    };
    spawns();
    assert_eq!(count.load(Ordering::Relaxed), 1000);
    rows.row("1000 spawns", spawns);
    for (length, steps) in [("0.3", 450), ("1", 1500), ("5", 7500)] {
        let sum = AtomicUsize::new(0);
        let spawns = || {
            rayon::scope(|scope| {
                for i in 0..1000 {
                    let sum = &sum;
                    scope.spawn(move |_| {
                        sum.fetch_add(turns(i, steps) & 1, Ordering::Relaxed);
                    });
                }
            })
        };
        spawns();
        assert_eq!(sum.load(Ordering::Relaxed), (0..1000).filter(|&i| turns(i, steps) & 1 == 1).count());
        rows.row(&format!("1000 spawns of {length} us"), spawns);
    }
    rows.row("broadcast", || rayon::broadcast(|context| context.index()));

    for length in [1_000, 100_000, 10_000_000] {
        let data: Vec<u64> = (0..length).collect();
        let sum = || data.par_iter().sum::<u64>();
        assert_eq!(sum(), length * (length - 1) / 2);
        rows.row(&format!("par_iter sum {length}"), sum);
    }
    // Half of the work is in the last tenth.
    let work = |i: usize| turns(i, if i >= 900 { 9000 } else { 1000 });
    let expected = (0..1000).map(work).fold(0, usize::wrapping_add);
    let uneven = || (0..1000).into_par_iter().map(work).reduce(|| 0, usize::wrapping_add);
    assert_eq!(uneven(), expected);
    rows.row("uneven par_iter", uneven);

    let shuffled = numbers(1_000_000);
    let mut sorted = shuffled.clone();
    sorted.sort();
    let sort = |sort: fn(&mut Vec<u32>)| {
        let mut data = shuffled.clone();
        sort(&mut data);
        data
    };
    let ways: [(&str, fn(&mut Vec<u32>)); 3] = [
        ("par_sort 1M", |data| data.par_sort()),
        ("par_sort_unstable 1M", |data| data.par_sort_unstable()),
        ("quicksort by join 1M", |data| rayon::scope(|_| quicksort(data))),
    ];
    for (name, way) in ways {
        assert_eq!(sort(way), sorted, "{name}");
        rows.row(name, || sort(way));
    }
}
