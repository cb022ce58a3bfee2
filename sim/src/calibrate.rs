//! The simulator beside the real runtime: five programs run on two real workers and on two simulated ones.
//!
//! Both run the same program: the real workers spin for as long as its costs say. What the host's costs are is measured apart from what is
//! compared: how long the work takes one thread while the other core is busy, a cache line's way, a wake-up. Nothing is fitted to the
//! makespans.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use upbeat::{BuildError, Pin, Runtime, Worker};
use upbeat_benches::affinity::Cpus;
use upbeat_benches::probe::Probe;
use upbeat_benches::workloads::{rounds_lasting, spin_item};

use crate::engine::{simulate, Plan};
use crate::machine::Machine;
use crate::program::{Cost, Next, Program, Start, Step, Task};
use crate::settings::{Always, Idling, Settings};
use crate::workloads::{hash, Search, Shape, Workload};

/// What is run. Sizes of the unbalanced tree differ so much that the usual one may have next to nothing for two; this one has 4 ms.
fn programs() -> [(&'static str, Box<dyn Program>); 5] {
    let of =
        |workload: Workload| (workload.name(), workload.program(Shape { workers: 2, nodes: 1, seed: 1 }));
    let search = Search { root: 2_000, children: 8, chance: 7_381_975, ns: 250, seed: 1 };
    [
        of(Workload::Tree),
        (Workload::Search.name(), Box::new(search)),
        of(Workload::SkewedLoop),
        of(Workload::Quicksort),
        of(Workload::Layers),
    ]
}

/// One workload, really and simulated; medians over the rounds.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub workload: &'static str,
    /// One thread, while the other core is busy, ns.
    pub sequential: f64,
    /// Two real workers, ns.
    pub real: f64,
    /// Two simulated ones, ns.
    pub simulated: f64,
    /// Steals of the real ones.
    pub real_steals: f64,
    /// Steals of the simulated ones.
    pub simulated_steals: f64,
}

impl Row {
    /// By what share the simulated makespan is off.
    pub fn error(&self) -> f64 {
        self.simulated / self.real - 1.0
    }

    /// By what share the simulated number of steals is off.
    pub fn steal_error(&self) -> f64 {
        self.simulated_steals / self.real_steals.max(1.0) - 1.0
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// A row a workload.
    pub rows: Vec<Row>,
    /// The machine as it was measured.
    pub machine: Machine,
    /// How much longer or shorter the same work takes from time to time.
    pub noise: f64,
    /// Rounds in which two threads had two cores, of all.
    pub quiet: (u32, u32),
}

/// Runs everything, `rounds` times.
///
/// # Errors
/// When the runtime cannot be built.
pub fn calibrate(rounds: u32, progress: &mut dyn FnMut(f64, &str)) -> Result<Calibration, BuildError> {
    let cpus = Cpus::read();
    let runtime = Runtime::builder().workers(2).pin(Pin::Cores).build()?;
    cpus.pin(0);
    let calibration = measure(&runtime, &cpus, rounds, progress);
    cpus.release();
    Ok(calibration)
}

fn measure(runtime: &Runtime, cpus: &Cpus, rounds: u32, progress: &mut dyn FnMut(f64, &str)) -> Calibration {
    progress(0.0, "latencies");
    let probe = Probe::new(cpus);
    let machine = latencies(cpus);
    let rate = rounds_lasting(Duration::from_millis(2)) as f64 / 2e6;
    let noise = noise(cpus, rate);
    let programs = programs();
    let mut quiet = (0, 0);
    let mut rows = Vec::new();
    for (at, (name, program)) in programs.iter().enumerate() {
        let program = &**program;
        let real = Real { program, rate };
        let (mut sequential, mut parallel, mut steals) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let share = (at as f64 + f64::from(round) / f64::from(rounds)) / programs.len() as f64;
            progress(share, name);
            let alone = beside_a_busy_core(cpus, || real.run_alone());
            // Twice, so that the second finds the other worker awake: between the rounds it has gone to sleep.
            real.run_on(runtime);
            let before = runtime.metrics();
            let took = timed(|| real.run_on(runtime));
            let after = runtime.metrics().since(&before).total();
            quiet.1 += 1;
            // A round in which two threads did not get two cores says nothing; if none did, all count.
            if probe.is_quiet() {
                quiet.0 += 1;
                sequential.push(alone);
                parallel.push(took);
                steals.push(after.steals.iter().sum::<u64>() as f64);
            } else if round + 1 == rounds && parallel.is_empty() {
                sequential.push(alone);
                parallel.push(took);
                steals.push(after.steals.iter().sum::<u64>() as f64);
            }
        }
        let sequential = median(sequential);
        let total = crate::program::walk(program).ns as f64;
        let factor = (sequential / total * 1024.0) as u64;
        let simulated: Vec<_> = (1..=15)
            .map(|seed| {
                let scaled = Scaled { program, factor, noise, seed };
                let plan = Plan { machine: &machine, workers: 2, idling: Idling::TODAY, seed };
                simulate(&scaled, plan, &mut Always(Settings::TODAY))
            })
            .collect();
        rows.push(Row {
            workload: name,
            sequential,
            real: median(parallel),
            simulated: median(simulated.iter().map(|run| run.makespan as f64).collect()),
            real_steals: median(steals),
            simulated_steals: median(simulated.iter().map(|run| run.stolen() as f64).collect()),
        });
    }
    Calibration { rows, machine, noise: noise as f64 / 1024.0, quiet }
}

/// A program whose costs are spent by spinning.
struct Real<'a> {
    program: &'a dyn Program,
    /// Rounds a ns.
    rate: f64,
}

impl Real<'_> {
    fn spend(&self, ns: u64) {
        spin_item((ns as f64 * self.rate) as u64);
    }

    fn root(&self) -> Task {
        match self.program.start() {
            Start::Root(task) => task,
            Start::Jobs(_) => unreachable!("none of the calibration's programs is a service"),
        }
    }

    fn item(&self, range: Task, i: u32) {
        self.spend(self.program.stretch(range.over(i, i + 1)).ns);
    }

    fn run_alone(&self) {
        self.alone(self.root());
    }

    fn alone(&self, first: Task) {
        let mut next = Some(first);
        while let Some(task) = next {
            let step = self.program.step(task);
            self.spend(step.cost.ns);
            match step.next {
                Next::Done => {}
                Next::Fork(left, right) => {
                    self.alone(left);
                    self.alone(right);
                }
                Next::Loop(range) => (range.lo..range.hi).for_each(|i| self.item(range, i)),
            }
            next = step.then;
        }
    }

    fn run_on(&self, runtime: &Runtime) {
        runtime.install(|worker| self.on(worker, self.root()));
    }

    fn on(&self, worker: &Worker, first: Task) {
        let mut next = Some(first);
        while let Some(task) = next {
            let step = self.program.step(task);
            self.spend(step.cost.ns);
            match step.next {
                Next::Done => {}
                Next::Fork(left, right) => {
                    worker.join(|worker| self.on(worker, left), |worker| self.on(worker, right));
                }
                Next::Loop(range) => {
                    upbeat::par::for_each(range.lo as usize..range.hi as usize, |i| {
                        self.item(range, i as u32)
                    });
                }
            }
            next = step.then;
        }
    }
}

/// A program whose costs are those of this host.
struct Scaled<'a> {
    program: &'a dyn Program,
    /// In 1/1024.
    factor: u64,
    /// How much more or less each cost is, drawn anew for each seed, in 1/1024.
    noise: u64,
    seed: u64,
}

impl Scaled<'_> {
    fn cost(&self, cost: Cost, of: Task) -> Cost {
        let which = of.seed ^ u64::from(of.lo) << 32 ^ u64::from(of.hi) ^ u64::from(of.job) << 16;
        let random = 1024 - self.noise + (hash(self.seed, which) >> 32) % (2 * self.noise + 1);
        Cost { ns: cost.ns * self.factor / 1024 * random / 1024, memory: 0, home: 0 }
    }
}

impl Program for Scaled<'_> {
    fn start(&self) -> Start {
        self.program.start()
    }

    fn step(&self, task: Task) -> Step {
        let step = self.program.step(task);
        Step { cost: self.cost(step.cost, task), ..step }
    }

    fn stretch(&self, of: Task) -> Cost {
        self.cost(self.program.stretch(of), of)
    }
}

fn timed(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64
}

/// How long `run` takes while another thread keeps the second core busy with the same kind of work.
fn beside_a_busy_core(cpus: &Cpus, run: impl FnOnce()) -> f64 {
    let (up, done) = (AtomicBool::new(false), AtomicBool::new(false));
    cpus.pin(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            up.store(true, Ordering::Release);
            while !done.load(Ordering::Acquire) {
                spin_item(200);
            }
        });
        cpus.pin(0);
        while !up.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let took = timed(run);
        done.store(true, Ordering::Release);
        took
    })
}

/// How much longer or shorter than their median nine tenths of pieces of 500 ns take while the other core is busy, in 1/1024: half of the
/// range of a uniform distribution.
fn noise(cpus: &Cpus, rate: f64) -> u64 {
    let rounds = (500.0 * rate) as u64;
    let mut pieces = Vec::new();
    beside_a_busy_core(cpus, || {
        pieces.extend((0..4000).map(|_| {
            timed(|| {
                spin_item(rounds);
            })
        }));
    });
    pieces.sort_by(f64::total_cmp);
    let [low, middle, high] = [200, 2000, 3800].map(|at: usize| pieces[at]);
    // 90 % of a uniform distribution are nine tenths of its range.
    (((high - low) / middle / 1.8 * 1024.0) as u64).min(512)
}

/// The machine of two cores with this host's cache line and wake-up.
fn latencies(cpus: &Cpus) -> Machine {
    let machine = Machine::preset("2-core").expect("a preset");
    let line = line_latency(cpus);
    let wake = wake_latency(cpus);
    Machine {
        name: "this host, two cores".into(),
        probe: [line; 4],
        // The task's frame, its data and the latch: three lines, and the compare-and-swap.
        steal: [3 * line + line / 2; 4],
        latch: line,
        wake,
        ..machine
    }
}

/// How long a cache line takes from one core to the other: half of a round trip, the least of several tries, ns.
fn line_latency(cpus: &Cpus) -> u64 {
    const TRIPS: u64 = 2_000;
    let turn = AtomicU64::new(0);
    cpus.pin(1);
    let best = std::thread::scope(|scope| {
        scope.spawn(|| {
            for trip in 0..20 * TRIPS {
                while turn.load(Ordering::Acquire) != 2 * trip + 1 {
                    std::hint::spin_loop();
                }
                turn.store(2 * trip + 2, Ordering::Release);
            }
        });
        cpus.pin(0);
        let mut trip = 0;
        let mut best = f64::INFINITY;
        for _ in 0..20 {
            let took = timed(|| {
                for _ in 0..TRIPS {
                    turn.store(2 * trip + 1, Ordering::Release);
                    while turn.load(Ordering::Acquire) != 2 * trip + 2 {
                        std::hint::spin_loop();
                    }
                    trip += 1;
                }
            });
            best = best.min(took / TRIPS as f64);
        }
        best
    });
    (best / 2.0).max(1.0) as u64
}

/// What a wake-up costs who wakes, and when the woken runs; medians, ns.
fn wake_latency(cpus: &Cpus) -> [u64; 2] {
    const WAKES: usize = 50;
    let start = Instant::now();
    let woken_at = Arc::new(AtomicU64::new(0));
    cpus.pin(1);
    let sleeper = {
        let woken_at = woken_at.clone();
        std::thread::spawn(move || {
            for _ in 0..WAKES {
                while woken_at.load(Ordering::Acquire) != 1 {
                    std::thread::park();
                }
                woken_at.store(start.elapsed().as_nanos() as u64, Ordering::Release);
            }
        })
    };
    cpus.pin(0);
    let (mut costs, mut latencies) = (Vec::new(), Vec::new());
    for _ in 0..WAKES {
        std::thread::sleep(Duration::from_micros(300));
        woken_at.store(1, Ordering::Release);
        let before = start.elapsed().as_nanos() as u64;
        sleeper.thread().unpark();
        costs.push(start.elapsed().as_nanos() as f64 - before as f64);
        let after = loop {
            match woken_at.load(Ordering::Acquire) {
                1 => std::hint::spin_loop(),
                after => break after,
            }
        };
        latencies.push(after.saturating_sub(before) as f64);
    }
    sleeper.join().expect("the sleeper does not panic");
    [median(costs) as u64, median(latencies) as u64]
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => samples[middle],
        _ => (samples[middle - 1] + samples[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::walk;

    /// The real workers do what the simulated ones do: each item once.
    #[test]
    fn the_real_program_is_the_simulated_one() {
        /// Counts what is asked of it; costs nothing.
        struct Counted<'a>(&'a dyn Program, AtomicU64);
        impl Program for Counted<'_> {
            fn start(&self) -> Start {
                self.0.start()
            }
            fn step(&self, task: Task) -> Step {
                let step = self.0.step(task);
                if let Next::Done = step.next {
                    self.1.fetch_add(1, Ordering::Relaxed);
                }
                Step { cost: Cost::default(), ..step }
            }
            fn stretch(&self, of: Task) -> Cost {
                self.1.fetch_add(u64::from(of.hi - of.lo), Ordering::Relaxed);
                Cost::default()
            }
        }
        let runtime = Runtime::builder().workers(2).build().unwrap();
        for (name, program) in programs() {
            let leaves = walk(&*program).leaves;
            let counted = Counted(&*program, AtomicU64::new(0));
            let real = Real { program: &counted, rate: 1.0 };
            real.run_alone();
            assert_eq!(counted.1.swap(0, Ordering::Relaxed), leaves, "{name}");
            real.run_on(&runtime);
            assert_eq!(counted.1.load(Ordering::Relaxed), leaves, "{name}");
        }
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }
}
