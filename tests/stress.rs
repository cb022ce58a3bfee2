//! Random programs of joins, scopes, spawned tasks and loops on four times as many workers as cores: every task runs
//! exactly once, whatever the interleaving.
//!
//! `UPBEAT_STRESS_SECONDS` says how long (3 by default); the seeds go on from `UPBEAT_STRESS_SEED`.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::watched;
use upbeat::{par, Generator, JoinHandle, Runtime, Stealing};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

/// A program: each node is one task with a number of its own.
enum Program {
    Leaf(usize),
    Join(usize, Box<(Program, Program)>),
    Scope(usize, Vec<Program>),
    Spawn(usize, Vec<Arc<Program>>),
    Loop(usize, Vec<Program>),
}

fn draw(random: &mut Generator, budget: u32, next: &mut usize) -> Program {
    let id = *next;
    *next += 1;
    if budget == 0 {
        return Program::Leaf(id);
    }
    let kind = random.below(8);
    let children = 1 + random.below(5);
    let mut child = || {
        let budget = random.below(budget as usize) as u32;
        draw(random, budget, next)
    };
    match kind {
        0..=4 => Program::Join(id, Box::new((child(), child()))),
        5 => Program::Scope(id, (0..children).map(|_| child()).collect()),
        6 => Program::Spawn(id, (0..children).map(|_| Arc::new(child())).collect()),
        _ => Program::Loop(id, (0..children).map(|_| child()).collect()),
    }
}

type Runs = Arc<Vec<AtomicU32>>;

fn run(program: &Program, runs: &Runs) {
    let ran = |id: usize| runs[id].fetch_add(1, Ordering::Relaxed);
    match program {
        Program::Leaf(id) => {
            ran(*id);
            (0..id % 300).for_each(|_| std::hint::spin_loop());
        }
        Program::Join(id, sides) => {
            upbeat::join(|| run(&sides.0, runs), || run(&sides.1, runs));
            ran(*id);
        }
        Program::Scope(id, tasks) => {
            upbeat::scope(|scope| {
                for task in tasks {
                    scope.spawn(move |_| run(task, runs));
                }
            });
            ran(*id);
        }
        Program::Spawn(id, tasks) => {
            let spawn = |task: &Arc<Program>| {
                let (task, runs) = (task.clone(), runs.clone());
                upbeat::spawn(move || run(&task, &runs))
            };
            let handles: Vec<JoinHandle<()>> = tasks.iter().map(spawn).collect();
            handles.into_iter().for_each(|handle| handle.join().unwrap());
            ran(*id);
        }
        Program::Loop(id, bodies) => {
            par::for_each(0..bodies.len(), |i| run(&bodies[i], runs));
            ran(*id);
        }
    }
}

#[test]
fn each_task_of_a_random_program_runs_once() {
    let end = Instant::now() + Duration::from_secs(number("UPBEAT_STRESS_SECONDS", 3));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let build = |workers, stealing| Runtime::builder().workers(workers).stealing(stealing).build().unwrap();
    let runtimes = [build(4 * cores, Stealing::Nearest), build(2, Stealing::Random)];
    let mut seed = number("UPBEAT_STRESS_SEED", 1);
    // At least some programs on a machine that is busy with other things.
    let first = seed;
    while Instant::now() < end || seed < first + 20 {
        let mut tasks = 0;
        let program = draw(&mut Generator::new(seed), 14, &mut tasks);
        for runtime in &runtimes {
            watched(&format!("seed {seed}"), || {
                let runs: Runs = Arc::new((0..tasks).map(|_| AtomicU32::new(0)).collect());
                runtime.install(|_| run(&program, &runs));
                let wrong = runs.iter().position(|runs| runs.load(Ordering::Relaxed) != 1);
                assert_eq!(wrong, None, "seed {seed}: a task that did not run exactly once");
            });
        }
        seed += 1;
    }
}
