//! How time changes with the number of workers: the same work on more of them (strong), work that grows with them (weak),
//! and work that memory limits.
//!
//! Everything is relative to plain sequential code, not to our own runtime with one worker, so that what the runtime
//! costs by itself shows.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use upbeat::{par, BuildError, Pin, Runtime};

use crate::affinity::Cpus;
use crate::timing::{repeat, time, Body, Samples};
use crate::workloads::{on_upbeat, right_first, rounds_lasting, sequential, tiles, Layout, Node, TILE};

/// The bodies of a workload, whose arguments may depend on the number of shares; `|state in cell|` gives them turns.
macro_rules! bodies {
    ($body:ident($($argument:expr),*)) => {
        bodies!(|_share| $body($($argument),*))
    };
    (|$share:ident| $body:ident($($argument:expr),*)) => {{
        let $share = 1;
        Bodies {
            sequential: vec![
                Box::new(move |times| repeat(times, || sequential::$body((), $($argument),*))),
                Box::new(move |times| repeat(times, || right_first::$body((), $($argument),*))),
            ],
            parallel: Box::new(move |runtime, $share| {
                Box::new(move |times| {
                    repeat(times, || runtime.install(|worker| on_upbeat::$body(worker, $($argument),*)))
                })
            }),
        }
    }};
    (|$state:ident in $cell:ident| $body:ident($($argument:expr),*)) => {
        Bodies {
            sequential: vec![Box::new(move |times| {
                let $state = &mut *$cell.borrow_mut();
                repeat(times, || sequential::$body((), $($argument),*))
            })],
            parallel: Box::new(move |runtime, _| {
                Box::new(move |times| {
                    let $state = &mut *$cell.borrow_mut();
                    repeat(times, || runtime.install(|worker| on_upbeat::$body(worker, $($argument),*)))
                })
            }),
        }
    };
}

/// Numbers in each array of the memory workload; three arrays together are far larger than caches.
const TRIAD: usize = 8 << 20;

/// What grows with the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// Nothing: the work is fixed.
    Strong,
    /// The work.
    Weak,
    /// Nothing, and memory is the limit.
    Memory,
}

impl Scaling {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strong => "strong",
            Self::Weak => "weak",
            Self::Memory => "memory",
        }
    }
}

/// A workload on some number of workers.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Workers.
    pub workers: usize,
    /// Median time of a call, ns.
    pub time: f64,
    /// Work done a time, as a multiple of what sequential code does.
    pub speedup: f64,
    /// Speed-up a worker.
    pub efficiency: f64,
    /// The share of the work that does not run in parallel, as Karp and Flatt (CACM 33, 1990) estimate it from a speed-up
    /// of fixed work; none for one worker, and for work that grows.
    pub serial_fraction: Option<f64>,
    /// Bytes moved a nanosecond (GB/s), where memory is the limit.
    pub bandwidth: Option<f64>,
}

/// A workload on every number of workers.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What grows.
    pub scaling: Scaling,
    /// What is done.
    pub work: String,
    /// Median time of sequential code, of one worker's share where work grows, ns.
    pub sequential: f64,
    /// One for each number of workers.
    pub points: Vec<Point>,
}

/// The serial fraction that explains a speed-up on `workers` workers.
pub fn karp_flatt(speedup: f64, workers: usize) -> Option<f64> {
    let share = 1.0 / workers as f64;
    (workers > 1).then(|| (1.0 / speedup - share) / (1.0 - share))
}

/// How many curves [`measure`] makes.
pub const CURVES: usize = 6;

/// Whom [`measure`] tells how far it is: the share that is done, and what is being measured.
pub type Progress<'p> = &'p mut dyn FnMut(f64, &str);

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Numbers of workers.
    pub workers: Vec<usize>,
    /// About the time for each curve.
    pub limit: Duration,
    /// Tiny workloads, for tests of everything but the numbers.
    pub small: bool,
}

/// Measures every workload on every number of workers.
///
/// # Errors
/// When a runtime cannot be built.
///
/// # Panics
/// When an answer is wrong.
pub fn measure(plan: &Plan, progress: Progress<'_>) -> Result<Vec<Curve>, BuildError> {
    let cpus = Cpus::read();
    let mut runtimes = Vec::new();
    for &workers in &plan.workers {
        let pin = if workers <= cpus.count() { Pin::Cores } else { Pin::None };
        runtimes.push((workers, Runtime::builder().workers(workers).pin(pin).build()?));
    }
    let size = |measured: u64, tested: u64| if plan.small { tested } else { measured };
    let mut run = Run { runtimes: &runtimes, limit: plan.limit, progress, curves: Vec::new() };

    let queens = size(12, 6) as u32;
    let board = (1 << queens) - 1;
    run.curve(
        Scaling::Strong,
        format!("{queens} queens"),
        None,
        sequential::queens((), board),
        bodies!(queens(board)),
    );

    let nodes = size(1 << 20, 127);
    let tree = &*Node::balanced(nodes as usize, Layout::LeftFirst);
    run.curve(Scaling::Strong, format!("tree of {nodes} nodes"), None, nodes, bodies!(tree(black_box(tree))));

    let side = size(8, 1) as usize;
    let (a, b, into) = (&tiles(side, 7), &tiles(side, 5), &RefCell::new(tiles(side, 1)));
    let answer = sequential::matmul((), &mut into.borrow_mut(), a, b);
    let work = format!("product of {0} x {0} matrices", side * TILE);
    run.curve(Scaling::Strong, work, None, answer, bodies!(|into in into| matmul(into, a, b)));

    let (items, length) = (size(4096, 16), rounds_lasting(Duration::from_micros(1)));
    let work = format!("{items} items of 1 us a worker");
    run.curve(Scaling::Weak, work, None, items, bodies!(|share| spin(items * share, length)));

    let (sums, count) = (size(64, 4), size(10_000, 100));
    let data: &Vec<u64> = &(0..count).collect();
    let answer = sums * (count * (count - 1) / 2);
    let work = format!("{sums} sums of {count} numbers, nested joins, a worker");
    run.curve(Scaling::Weak, work, None, answer, bodies!(|share| nested(sums * share, black_box(data), 16)));

    let triad = Triad::new(size(TRIAD as u64, 1000) as usize);
    run.curve(Scaling::Memory, triad.work(), Some(triad.bytes()), triad.answer(), triad.bodies());
    let curves = run.curves;
    cpus.release();
    Ok(curves)
}

/// The sequential forms of a workload, and its form on a runtime for some shares of work.
struct Bodies<'a> {
    sequential: Vec<Body<'a>>,
    parallel: Box<dyn Fn(&'a Runtime, u64) -> Body<'a> + 'a>,
}

struct Run<'a, 'p> {
    runtimes: &'a [(usize, Runtime)],
    limit: Duration,
    progress: Progress<'p>,
    curves: Vec<Curve>,
}

impl<'a> Run<'a, '_> {
    /// `answer` is that of one share.
    fn curve<'b>(
        &mut self,
        scaling: Scaling,
        work: String,
        bytes: Option<f64>,
        answer: u64,
        bodies: Bodies<'b>,
    ) where
        'a: 'b,
    {
        let shares = |workers: usize| if scaling == Scaling::Weak { workers as u64 } else { 1 };
        let mut all: Vec<(Body<'b>, u64)> =
            bodies.sequential.into_iter().map(|body| (body, answer)).collect();
        let plain = all.len();
        for (workers, runtime) in self.runtimes {
            let shares = shares(*workers);
            all.push(((bodies.parallel)(runtime, shares), answer * shares));
        }
        let mut samples = vec![Samples::default(); all.len()];
        let (started, count) = (Instant::now(), all.len());
        let mut round = 0;
        while round < 5 || started.elapsed() < self.limit {
            for i in 0..count {
                let which = (i + round) % count;
                let (body, answer) = &mut all[which];
                let took = time(body, 1, *answer, &work);
                // The first round warms up.
                if round > 0 {
                    samples[which].push(took);
                }
            }
            round += 1;
            let share = (started.elapsed().as_secs_f64() / self.limit.as_secs_f64().max(1e-9)).min(1.0);
            (self.progress)((self.curves.len() as f64 + share) / CURVES as f64, &work);
        }
        let sequential = samples[..plain].iter().map(Samples::median).fold(f64::INFINITY, f64::min);
        let point = |((workers, _), samples): (&(usize, Runtime), &Samples)| {
            let (workers, time) = (*workers, samples.median());
            let speedup = sequential * shares(workers) as f64 / time;
            Point {
                workers,
                time,
                speedup,
                efficiency: speedup / workers as f64,
                serial_fraction: (scaling != Scaling::Weak).then(|| karp_flatt(speedup, workers)).flatten(),
                bandwidth: bytes.map(|bytes| bytes / time),
            }
        };
        let points = self.runtimes.iter().zip(&samples[plain..]).map(point).collect();
        self.curves.push(Curve { scaling, work, sequential, points });
    }
}

/// `a = b + 3 c` over arrays that no cache holds.
struct Triad {
    a: RefCell<Vec<f64>>,
    b: Vec<f64>,
    c: Vec<f64>,
}

impl Triad {
    /// Numbers in a chunk of the loop.
    const CHUNK: usize = 512;

    fn new(count: usize) -> Self {
        let numbers = |factor: usize| (0..count).map(|i| (i * factor) as f64).collect();
        Self { a: RefCell::new(vec![0.0; count]), b: numbers(1), c: numbers(2) }
    }

    fn work(&self) -> String {
        format!("a = b + 3 c, arrays of {} MB", self.b.len() * 8 / 1_000_000)
    }

    /// Read twice and written once; that a write may read its line first is not counted.
    fn bytes(&self) -> f64 {
        self.b.len() as f64 * 24.0
    }

    fn answer(&self) -> u64 {
        7 * (self.b.len() as u64 - 1)
    }

    fn bodies(&self) -> Bodies<'_> {
        let (a, b, c) = (&self.a, &self.b[..], &self.c[..]);
        let plain: Body<'_> = Box::new(move |times| {
            let a = &mut *a.borrow_mut();
            repeat(times, || {
                a.chunks_mut(Self::CHUNK).enumerate().for_each(|(i, chunk)| triad(i, chunk, b, c));
                a[a.len() - 1] as u64
            })
        });
        let parallel = move |runtime, _| -> Body<'_> { on_runtime(runtime, a, b, c) };
        Bodies { sequential: vec![plain], parallel: Box::new(parallel) }
    }
}

fn on_runtime<'a>(runtime: &'a Runtime, a: &'a RefCell<Vec<f64>>, b: &'a [f64], c: &'a [f64]) -> Body<'a> {
    Box::new(move |times| {
        let a = &mut a.borrow_mut()[..];
        repeat(times, || {
            runtime.install(|_| par::chunks_mut(a, Triad::CHUNK, |i, chunk| triad(i, chunk, b, c)));
            a[a.len() - 1] as u64
        })
    })
}

/// The `i`-th chunk.
fn triad(i: usize, a: &mut [f64], b: &[f64], c: &[f64]) {
    let from = i * Triad::CHUNK;
    let (b, c) = (&b[from..from + a.len()], &c[from..from + a.len()]);
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = b + 3.0 * c;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_fraction_is_the_one_of_amdahls_law() {
        for serial in [0.0, 0.1, 0.5, 1.0] {
            for workers in [2, 3, 64] {
                let speedup = 1.0 / (serial + (1.0 - serial) / workers as f64);
                let found = karp_flatt(speedup, workers).unwrap();
                assert!((found - serial).abs() < 1e-12, "{serial} on {workers}: {found}");
            }
        }
        assert_eq!(karp_flatt(1.0, 1), None);
    }

    #[test]
    fn every_curve_has_a_point_for_each_number_of_workers() {
        let mut shares = Vec::new();
        let plan = Plan { workers: vec![1, 3], limit: Duration::ZERO, small: true };
        let curves = measure(&plan, &mut |share, _| shares.push(share)).unwrap();
        assert_eq!(curves.len(), CURVES);
        assert!(shares.is_sorted() && (shares[shares.len() - 1] - 1.0).abs() < 1e-9, "{shares:?}");
        for curve in &curves {
            let workers: Vec<_> = curve.points.iter().map(|point| point.workers).collect();
            assert_eq!(workers, [1, 3], "{}", curve.work);
            for point in &curve.points {
                let grown = if curve.scaling == Scaling::Weak { point.workers as f64 } else { 1.0 };
                assert!((point.speedup * point.time / (curve.sequential * grown) - 1.0).abs() < 1e-9);
                assert!((point.efficiency * point.workers as f64 / point.speedup - 1.0).abs() < 1e-9);
                let fraction = point.workers > 1 && curve.scaling != Scaling::Weak;
                assert_eq!(point.serial_fraction.is_some(), fraction, "{}", curve.work);
                assert_eq!(point.bandwidth.is_some(), curve.scaling == Scaling::Memory);
            }
        }
    }
}
