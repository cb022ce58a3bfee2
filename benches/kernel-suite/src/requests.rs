//! Small products by common weights that many clients ask for: as batches, and each as a task of its own. Every answer is compared, bit for
//! bit, with the product computed alone.
//!
//! Each client asks for one product, waits for it and asks for the next.

use std::sync::Arc;
use std::time::Instant;

use upbeat::batch::{BatchOptions, Batcher};
use upbeat::Runtime;
use upbeat_kernels::gemm::{Linear, PackedB};
use upbeat_kernels::{Mat, ShapeError};

/// Clients, and the most submissions of a batch.
pub const CLIENTS: usize = 16;

/// What one shape took.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Rows of a submission.
    pub rows: usize,
    /// Numbers of a row that goes in, and of one that comes out.
    pub weights: (usize, usize),
    /// Microseconds an item from the first to the last answer, and the slowest but one in a hundred from asking to having it: as batches.
    pub batched: (f64, f64),
    /// The same with a task for each item.
    pub alone: (f64, f64),
    /// Items of a batch, on average.
    pub items: f64,
}

/// Weights of 16 MiB, more than a core's own caches hold, and of 172 MiB, more than most hold that cores share.
pub const WEIGHTS: [(usize, usize); 2] = [(1024, 4096), (4096, 11_008)];

/// Measures items of `rows` rows by weights `[k, n]`, in rounds that take turns; `small` checks all of it with smaller ones, and the numbers
/// mean nothing.
///
/// # Panics
/// When an answer is wrong.
pub fn measure(rows: usize, (k, n): (usize, usize), small: bool) -> Measured {
    let (k, n, each, rounds) = match small {
        true => (k / 128, n / 128, 3, 1),
        // About a second a round.
        false => (k, n, ((128 << 20) / (k * n)).clamp(3, 24), 7),
    };
    let runtime = Runtime::builder().build().expect("a runtime");
    let numbers = |seed: usize, len: usize| -> Vec<f32> {
        (0..len).map(|i| (((i * 37 + seed * 101) % 61) as f32 - 30.0) / 16.0).collect()
    };
    let weights = numbers(7, k * n);
    let stored = Mat::new(&weights, n, k).expect("its length is that");
    let layer = Linear::new(PackedB::new(stored, true).expect("it is small enough"));
    let requests: Vec<_> = (0..CLIENTS).map(|client| numbers(client, rows * k)).collect();
    let answers: Vec<_> = requests.iter().map(|request| run_alone(&layer, request.clone())).collect();

    let executor = layer.clone();
    let options = BatchOptions::new(CLIENTS).running(1);
    let batcher = Batcher::on(&runtime, &options, move |items, results| executor.run(items, results))
        .expect("options within their ranges");
    let layer = Arc::new(layer);
    let as_batches = |request: Vec<f32>| {
        batcher.submit(request).expect("the runtime runs").wait().expect("no panic").expect("whole rows")
    };
    let as_tasks = |request: Vec<f32>| {
        let layer = layer.clone();
        runtime.spawn(move || run_alone(&layer, request)).join().expect("no panic")
    };
    let (mut batched, mut alone) = (Times::default(), Times::default());
    for _ in 0..rounds {
        alone.add(serve(&requests, &answers, each, &as_tasks));
        batched.add(serve(&requests, &answers, each, &as_batches));
    }
    let metrics = batcher.metrics();
    let items = metrics.items as f64 / metrics.batches as f64;
    Measured { rows, weights: (k, n), batched: batched.finish(), alone: alone.finish(), items }
}

fn run_alone(layer: &Linear, request: Vec<f32>) -> Vec<f32> {
    let mut results: Vec<Result<Vec<f32>, ShapeError>> = Vec::with_capacity(1);
    layer.run(&mut vec![request], &mut results);
    results.pop().expect("a result for the item").expect("whole rows")
}

/// What rounds took.
#[derive(Default)]
struct Times {
    /// Microseconds an item, of each round.
    items: Vec<f64>,
    /// Microseconds from asking to having.
    waits: Vec<f64>,
}

impl Times {
    fn add(&mut self, (item, waits): (f64, Vec<f64>)) {
        self.items.push(item);
        self.waits.extend(waits);
    }

    fn finish(mut self) -> (f64, f64) {
        self.items.sort_by(f64::total_cmp);
        self.waits.sort_by(f64::total_cmp);
        (self.items[self.items.len() / 2], self.waits[(self.waits.len() * 99).div_ceil(100) - 1])
    }
}

/// All clients ask `each` times; microseconds an item, and of each waiting.
fn serve(
    requests: &[Vec<f32>],
    answers: &[Vec<f32>],
    each: usize,
    ask: &(dyn Fn(Vec<f32>) -> Vec<f32> + Sync),
) -> (f64, Vec<f64>) {
    let client = |client: usize| -> Vec<f64> {
        let ask_once = |_| {
            let begun = Instant::now();
            let answer = ask(requests[client].clone());
            let took = begun.elapsed().as_secs_f64() * 1e6;
            let is_same = answer.iter().map(|x| x.to_bits()).eq(answers[client].iter().map(|x| x.to_bits()));
            assert!(is_same, "client {client} got other bits than alone");
            took
        };
        (0..each).map(ask_once).collect()
    };
    let begun = Instant::now();
    let waits: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..requests.len()).map(|i| scope.spawn(move || client(i))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    });
    (begun.elapsed().as_secs_f64() * 1e6 / waits.len() as f64, waits)
}
