//! Sequential leaves of the workloads and the data that they work on; the same code for every runtime.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Longest slice that quicksort sorts by insertion.
pub(super) const QUICK: usize = 20;
/// Longest slice that mergesort sorts by insertion.
pub(super) const MERGE_LEAF: usize = 32;
/// Most elements that are merged without a fork.
pub(super) const MERGED: usize = 2048;
/// Rows and columns of a tile of a matrix.
pub const TILE: usize = 64;

/// A hash with all bits mixed (splitmix64's).
#[inline(always)]
pub fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Children of a node of the unbalanced tree: 8 with a probability of 0.1248, just below what would grow for ever.
#[inline(always)]
pub fn search_children(state: u64) -> u32 {
    let share = (mix(state) >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
    if share < 0.1248 {
        8
    } else {
        0
    }
}

/// `length` rounds of work that stays in registers; 1.
#[inline(never)]
pub fn spin_item(length: u64) -> u64 {
    let mut x = 1;
    for i in 0..length {
        x = black_box(mix(x ^ i));
    }
    1
}

/// How many rounds of [`spin_item`] take about `time` on this machine now.
pub fn rounds_lasting(time: Duration) -> u64 {
    const ROUNDS: u64 = 20_000;
    let once = || {
        let start = Instant::now();
        spin_item(ROUNDS);
        start.elapsed().as_secs_f64()
    };
    let best = (0..20).map(|_| once()).fold(f64::INFINITY, f64::min);
    ((time.as_secs_f64() / best * ROUNDS as f64) as u64).max(1)
}

pub(super) fn insertion_sort(data: &mut [u32]) {
    for i in 1..data.len() {
        let x = data[i];
        let mut j = i;
        while j > 0 && data[j - 1] > x {
            data[j] = data[j - 1];
            j -= 1;
        }
        data[j] = x;
    }
}

/// Moves what is less than the median of three in front of what is more; where the second part begins.
pub(super) fn partition(data: &mut [u32]) -> usize {
    let last = data.len() - 1;
    let (a, b, c) = (data[0], data[data.len() / 2], data[last]);
    let pivot = a.max(b).min(a.min(b).max(c));
    let (mut i, mut j) = (0, last);
    loop {
        while data[i] < pivot {
            i += 1;
        }
        while data[j] > pivot {
            j -= 1;
        }
        if i >= j {
            return j + 1;
        }
        data.swap(i, j);
        i += 1;
        j -= 1;
    }
}

pub(super) fn merge(a: &[u32], b: &[u32], into: &mut [u32]) {
    let (mut i, mut j) = (0, 0);
    for x in into {
        if j >= b.len() || (i < a.len() && a[i] <= b[j]) {
            *x = a[i];
            i += 1;
        } else {
            *x = b[j];
            j += 1;
        }
    }
}

/// `into += a · b` for one tile.
pub(super) fn multiply_tile(into: &mut [f32], a: &[f32], b: &[f32]) {
    for (into, a) in into.chunks_exact_mut(TILE).zip(a.chunks_exact(TILE)) {
        for (&x, b) in a.iter().zip(b.chunks_exact(TILE)) {
            for (into, &y) in into.iter_mut().zip(b) {
                *into += x * y;
            }
        }
    }
}

/// A square matrix of `side` × `side` tiles (a power of two), each tile by itself, quarters of quarters together, so that
/// every part of the recursion is one slice. Element `i` in memory is `i % period`.
pub fn tiles(side: usize, period: usize) -> Vec<f32> {
    assert!(side.is_power_of_two(), "the recursion halves the side down to one tile");
    (0..side * side * TILE * TILE).map(|i| (i % period) as f32).collect()
}

/// Numbers to sort, and the room for it.
#[derive(Debug)]
pub struct Sorting {
    input: Vec<u32>,
    pub(super) data: Vec<u32>,
    pub(super) other: Vec<u32>,
}

impl Sorting {
    /// `count` random numbers, always the same.
    pub fn new(count: usize) -> Self {
        let input = (0..count as u64).map(|i| mix(i) as u32).collect();
        Self { input, data: vec![0; count], other: vec![0; count] }
    }

    pub(super) fn begin(&mut self) {
        self.data.copy_from_slice(&self.input);
    }

    /// A number that 64 elements and their places decide.
    pub(super) fn fingerprint(&self) -> u64 {
        let step = self.data.len().div_ceil(64).max(1);
        self.data.iter().step_by(step).fold(0, |print, &x| mix(print ^ u64::from(x)))
    }

    /// The answer of a correct sort.
    pub fn answer(&self) -> u64 {
        let mut sorted = Self { input: Vec::new(), data: self.input.clone(), other: Vec::new() };
        sorted.data.sort_unstable();
        sorted.fingerprint()
    }
}
