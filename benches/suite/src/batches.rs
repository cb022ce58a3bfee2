//! Forming batches: upbeat's batcher beside a channel of tokio, a `SegQueue` and a `Mutex<Vec>`, each with somebody who makes batches of
//! up to 100 items of what comes and adds them up. Every answer is checked by count and sum.
//!
//! *alone*: one thread adds and runs the batches. *streams*: producers add beside one consumer. *crowd*: 32 producers on whatever cores
//! there are. Times are nanoseconds an item, or of a single addition where a row says so.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use upbeat::batch::{BatchOptions, Batcher};
use upbeat::Runtime;

use crate::timing::Samples;

/// Items of a batch.
const CAP: usize = 100;

/// One measured row; lower values are better.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was done.
    pub work: String,
    /// Unit of all values.
    pub unit: &'static str,
    /// Ours.
    pub value: f64,
    /// The peers', if any were measured.
    pub peers: Vec<(&'static str, f64)>,
    /// The most that our value may be.
    pub goal: Option<f64>,
}

impl Row {
    /// The best peer and its value.
    pub fn peer(&self) -> Option<(&'static str, f64)> {
        self.peers.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Whether the goal is met; where there is none, whether we are not behind the best peer.
    pub fn met(&self) -> Option<bool> {
        match (self.goal, self.peer()) {
            (Some(goal), _) => Some(self.value <= goal),
            (None, Some((_, peer))) => Some(self.value <= peer),
            (None, None) => None,
        }
    }
}

/// What arrived: how many items and their sum.
#[derive(Default)]
struct Sum {
    count: AtomicU64,
    sum: AtomicU64,
}

impl Sum {
    fn add(&self, items: &[u64]) {
        self.sum.fetch_add(items.iter().sum(), Ordering::Relaxed);
        self.count.fetch_add(items.len() as u64, Ordering::Release);
    }

    /// Blocks until items 0 to `count` are there, each once as far as a sum can tell.
    fn wait_for(&self, count: u64) {
        while self.count.load(Ordering::Acquire) < count {
            std::thread::yield_now();
        }
        assert_eq!(self.count.load(Ordering::Acquire), count, "each item once");
        assert_eq!(self.sum.load(Ordering::Relaxed), count * (count - 1) / 2, "the items that were added");
    }
}

/// Adds items for a consumer; made once for each producer.
type Push<'a> = Box<dyn FnMut(u64) + Send + 'a>;

/// Runs `producers` threads that add `each` items; nanoseconds from the first item to the last sum, and of each addition if `timed`.
fn drive(
    producers: u64,
    each: u64,
    sum: &Sum,
    timed: bool,
    mut push: impl FnMut() -> Push<'static>,
) -> (f64, Vec<u32>) {
    let begun = Instant::now();
    let threads: Vec<_> = (0..producers)
        .map(|producer| {
            let mut push = push();
            std::thread::spawn(move || {
                let mut times = Vec::with_capacity(if timed { each as usize } else { 0 });
                for item in producer * each..(producer + 1) * each {
                    if timed {
                        let begun = Instant::now();
                        push(item);
                        times.push(begun.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
                    } else {
                        push(item);
                    }
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for thread in threads {
        times.extend(thread.join().expect("a producer"));
    }
    sum.wait_for(producers * each);
    (begun.elapsed().as_nanos() as f64 / (producers * each) as f64, times)
}

/// With room for `items`, as the peers have it.
fn batcher(runtime: &Runtime, sum: &Arc<Sum>, items: u64) -> Batcher<u64, ()> {
    let sum = sum.clone();
    let options = BatchOptions::new(CAP).backlog(2 * items as usize / CAP + 256);
    match Batcher::on(runtime, &options, move |items, _| sum.add(items)) {
        Ok(batcher) => batcher,
        Err(error) => unreachable!("{error}"),
    }
}

/// One contender's run of `drive`.
type Contender = fn(u64, u64, bool) -> (f64, Vec<u32>);

fn upbeat(producers: u64, each: u64, timed: bool) -> (f64, Vec<u32>) {
    let runtime = Runtime::builder().workers(1).build().expect("a runtime of one worker");
    let sum = Arc::new(Sum::default());
    let batcher = batcher(&runtime, &sum, producers * each);
    drive(producers, each, &sum, timed, || {
        let batcher = batcher.clone();
        Box::new(move |item| batcher.push(item).expect("the runtime runs"))
    })
}

fn upbeat_in_bulk(producers: u64, each: u64, timed: bool) -> (f64, Vec<u32>) {
    let runtime = Runtime::builder().workers(1).build().expect("a runtime of one worker");
    let sum = Arc::new(Sum::default());
    let batcher = batcher(&runtime, &sum, producers * each);
    drive(producers, each, &sum, timed, || {
        let mut producer = batcher.producer();
        Box::new(move |item| producer.push(item).expect("the runtime runs"))
    })
}

/// Calls `take` on a thread of its own until `drive` is done.
fn consume(sum: &Arc<Sum>, mut take: impl FnMut(&mut Vec<u64>) + Send + 'static) -> impl Drop {
    struct Consumer(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);
    impl Drop for Consumer {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            if let Some(thread) = self.1.take() {
                thread.join().expect("the consumer");
            }
        }
    }
    let ends = Arc::new(AtomicBool::new(false));
    let (end, sum) = (ends.clone(), sum.clone());
    let thread = std::thread::spawn(move || {
        let mut batch = Vec::with_capacity(CAP);
        while !end.load(Ordering::Relaxed) {
            take(&mut batch);
            if batch.is_empty() {
                std::thread::yield_now();
                continue;
            }
            sum.add(&batch);
            batch.clear();
        }
    });
    Consumer(ends, Some(thread))
}

fn mutex(producers: u64, each: u64, timed: bool) -> (f64, Vec<u32>) {
    let sum = Arc::new(Sum::default());
    let queue = Arc::new(Mutex::new(VecDeque::with_capacity(1 << 16)));
    let taken = queue.clone();
    let _consumer = consume(&sum, move |batch| {
        let mut queue = taken.lock().expect("no panics");
        let count = queue.len().min(CAP);
        batch.extend(queue.drain(..count));
    });
    drive(producers, each, &sum, timed, || {
        let queue = queue.clone();
        Box::new(move |item| queue.lock().expect("no panics").push_back(item))
    })
}

#[cfg(feature = "peers")]
fn seg_queue(producers: u64, each: u64, timed: bool) -> (f64, Vec<u32>) {
    let sum = Arc::new(Sum::default());
    let queue = Arc::new(crossbeam_queue::SegQueue::new());
    let taken = queue.clone();
    let _consumer = consume(&sum, move |batch| {
        while batch.len() < CAP {
            let Some(item) = taken.pop() else { break };
            batch.push(item);
        }
    });
    drive(producers, each, &sum, timed, || {
        let queue = queue.clone();
        Box::new(move |item| queue.push(item))
    })
}

#[cfg(feature = "peers")]
fn tokio_channel(producers: u64, each: u64, timed: bool) -> (f64, Vec<u32>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime of tokio");
    let sum = Arc::new(Sum::default());
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let added = sum.clone();
    runtime.spawn(async move {
        let mut batch = Vec::with_capacity(CAP);
        while receiver.recv_many(&mut batch, CAP).await > 0 {
            added.add(&batch);
            batch.clear();
        }
    });
    drive(producers, each, &sum, timed, || {
        let sender = sender.clone();
        Box::new(move |item| sender.send(item).expect("the receiver lives"))
    })
}

/// Everybody but us.
#[cfg(feature = "peers")]
const PEERS: [(&str, Contender); 3] =
    [("tokio mpsc", tokio_channel), ("SegQueue", seg_queue), ("Mutex<VecDeque>", mutex)];
#[cfg(not(feature = "peers"))]
const PEERS: [(&str, Contender); 1] = [("Mutex<VecDeque>", mutex)];

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    Samples::of(values).median()
}

/// What share `quantile` of the times is below, in their unit.
fn quantile(times: &[u32], quantile: f64) -> f64 {
    Samples::of(times.iter().copied().map(f64::from)).quantile(quantile)
}

/// The mean and a tail of every contender, in interleaved rounds.
fn contest(
    name: &str,
    producers: u64,
    each: u64,
    rounds: usize,
    tail: (f64, &str, Option<f64>),
    rows: &mut dyn FnMut(Row),
) {
    let bulk: Contender = upbeat_in_bulk;
    let ours: Contender = upbeat;
    let all: Vec<(&str, Contender)> =
        [("upbeat", ours), ("upbeat in bulk", bulk)].into_iter().chain(PEERS).collect();
    let mut means = vec![Vec::new(); all.len()];
    let mut tails = vec![Vec::new(); all.len()];
    for _ in 0..rounds {
        for (index, (_, run)) in all.iter().enumerate() {
            means[index].push(run(producers, each, false).0);
            tails[index].push(quantile(&run(producers, each.div_ceil(4), true).1, tail.0));
        }
    }
    let mut row = |work: String, unit, values: Vec<f64>, goal| {
        let peers =
            all[2..].iter().map(|(name, _)| *name).zip(values[2..].iter().copied()).collect::<Vec<_>>();
        rows(Row { work: work.clone(), unit, value: values[0], peers: peers.clone(), goal });
        if goal.is_none() {
            rows(Row { work: format!("{work}, 64 at a time"), unit, value: values[1], peers, goal });
        }
    };
    row(format!("{name}: mean"), "ns an item", means.into_iter().map(median).collect(), None);
    row(format!("{name}: {} of an addition", tail.1), "ns", tails.into_iter().map(median).collect(), tail.2);
}

/// One worker adds items and runs the batches itself: nanoseconds an item, everything included.
fn alone(items: u64, in_bulk: bool) -> f64 {
    let runtime = Runtime::builder().workers(1).build().expect("a runtime of one worker");
    let sum = Arc::new(Sum::default());
    let batcher = batcher(&runtime, &sum, 0);
    let took = runtime.run_on_worker(|_| {
        let begun = Instant::now();
        if in_bulk {
            let mut producer = batcher.producer();
            (0..items).for_each(|item| producer.push(item).expect("the runtime runs"));
        } else {
            (0..items).for_each(|item| batcher.push(item).expect("the runtime runs"));
        }
        begun.elapsed()
    });
    sum.wait_for(items);
    took.as_nanos() as f64 / items as f64
}

/// Times to add 100 items in turn, nanoseconds, on each of `workers` workers at once.
fn forming(workers: usize, batches: u64) -> Vec<u32> {
    let runtime = Runtime::builder().workers(workers).build().expect("a runtime");
    let sum = Arc::new(Sum::default());
    let batcher = batcher(&runtime, &sum, 0);
    let times = runtime.broadcast(|worker| {
        let first = worker.index() as u64 * batches * CAP as u64;
        let mut times = Vec::with_capacity(batches as usize);
        for batch in 0..batches {
            let begun = Instant::now();
            for item in 0..CAP as u64 {
                batcher.push(first + batch * CAP as u64 + item).expect("the runtime runs");
            }
            times.push(begun.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
        }
        times
    });
    sum.wait_for(workers as u64 * batches * CAP as u64);
    times.into_iter().flatten().collect()
}

/// Measures everything and hands out the rows one by one; `small` runs and checks all of it, and the numbers mean nothing.
pub fn measure(small: bool, rows: &mut dyn FnMut(Row)) {
    let (items, rounds) = if small { (2_000, 1) } else { (1_000_000, 5) };
    let best = |run: &dyn Fn() -> f64| median((0..rounds).map(|_| run()));
    let row = |work: &str, unit, value, goal| Row {
        work: work.into(),
        unit,
        value,
        peers: Vec::new(),
        goal: Some(goal),
    };
    rows(row("alone: one at a time, run by who adds", "ns an item", best(&|| alone(items, false)), 12.0));
    rows(row("alone: 64 at a time, run by who adds", "ns an item", best(&|| alone(items, true)), 1.0));
    // A batch in 256 makes room by running others, which is not forming.
    let batches = items / 100;
    rows(row(
        "forming 100 items: half of all",
        "ns",
        best(&|| quantile(&forming(1, batches.min(250)), 0.5)),
        2e3,
    ));
    rows(row("forming 100 items: 99 %", "ns", best(&|| quantile(&forming(1, batches.min(250)), 0.99)), 2e3));
    rows(row(
        "forming 100 items, two at once: 99 %",
        "ns",
        best(&|| quantile(&forming(2, batches.min(120)), 0.99)),
        5e4,
    ));
    contest("one producer", 1, items, rounds, (0.999, "99.9 %", None), rows);
    contest("two producers", 2, items / 2, rounds, (0.999, "99.9 %", None), rows);
    contest("32 producers", 32, items / 32, rounds, (0.9999, "99.99 %", Some(5e4)), rows);
}
