//! How many events a second the simulator does on one core, and what its queue costs beside a binary heap.
//!
//! `cargo bench -p upbeat-sim --bench events` measures; without `--bench`, as `cargo test` runs it, each case runs once and only the
//! answers count.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Instant;

use upbeat::simulation::Hedge;
use upbeat::Generator;
use upbeat_sim::machine::Machine;
use upbeat_sim::program::walk;
use upbeat_sim::queue::Queue;
use upbeat_sim::settings::{Always, Idling, Settings, CONFIGURATIONS};
use upbeat_sim::workloads::{Items, Loops, Search, Shape, Tree, Workload};
use upbeat_sim::{simulate, Plan};

fn main() {
    let test = !std::env::args().any(|argument| argument == "--bench");
    let machine = Machine::preset("2x32").expect("a preset");
    let size = |small: u32, large: u32| if test { small } else { large };
    let shape = Shape { workers: 32, nodes: 2, seed: 1 };
    let loops = Loops {
        items: size(1_000, 2_000_000),
        phases: 1,
        costs: Items::Even { ns: 1_000, noise: 256 },
        memory: 307,
        nodes: 2,
        seed: 1,
        is_placed: false,
    };
    let tree = Tree { leaves: size(1_000, 4_000_000), ns: 500, memory: 0, nodes: 2 };
    let search = Search { root: size(100, 80_000), children: 8, chance: 8_321_499, ns: 250, seed: 1 };
    let programs: [(&str, &dyn upbeat_sim::program::Program); 4] = [
        ("tree, leaves of 500 ns", &tree),
        ("tree, memory", &Tree { memory: 614, ..tree }),
        ("uts, 10^7 nodes", &search),
        ("loop", &loops),
    ];
    println!("events a second, one core, 32 workers of 2x32, best of {}", if test { 1 } else { 3 });
    for (name, program) in programs {
        let leaves = walk(program).leaves;
        let settings = CONFIGURATIONS[3].1;
        let mut best = 0.0f64;
        let mut events = 0;
        for _ in 0..if test { 1 } else { 3 } {
            let plan = Plan { machine: &machine, workers: 32, idling: Idling::SPIN, seed: 1 };
            let start = Instant::now();
            let outcome = simulate(program, plan, &mut Always(settings));
            best = best.max(outcome.events as f64 / start.elapsed().as_secs_f64());
            events = outcome.events;
            assert_eq!(outcome.leaves, leaves, "{name}: every leaf runs once");
        }
        println!("  {name:<24} {:7.2} M/s of {events} events", best / 1e6);
    }
    // All workloads as they are compared, idle workers and all.
    let (mut events, start) = (0, Instant::now());
    for workload in Workload::ALL {
        let program = workload.program(shape);
        let plan = Plan { machine: &machine, workers: 32, idling: Idling::TODAY, seed: 1 };
        events += simulate(&*program, plan, &mut Always(Settings::TODAY)).events;
    }
    println!(
        "  {:<24} {:7.2} M/s of {events} events",
        "all workloads, as today",
        events as f64 / start.elapsed().as_secs_f64() / 1e6
    );
    spinners(test);
    queues(size(1_000, 10_000_000));
    hedge(size(1_000, 200_000));
}

/// Where most of many workers spin most of the time.
fn spinners(test: bool) {
    let (name, workers) = if test { ("2x32", 8) } else { ("8x32", 128) };
    let machine = Machine::preset(name).expect("a preset");
    let placed = CONFIGURATIONS[4].1;
    for (what, idling) in [("spin", Idling::SPIN), ("near", Idling::NEAR), ("learned", Idling::LEARNED)] {
        let (mut events, start) = (0, Instant::now());
        for seed in 1..=if test { 1 } else { 3 } {
            let program = Workload::Layers.program(Shape { workers, nodes: machine.nodes, seed });
            let plan = Plan { machine: &machine, workers: workers as usize, idling, seed };
            events += simulate(&*program, plan, &mut Always(placed)).events;
        }
        println!(
            "  layers placed, {workers} workers, {what:<8} {:7.2} M/s of {events} events",
            events as f64 / start.elapsed().as_secs_f64() / 1e6
        );
    }
}

/// The runtime's Hedge: to draw a budget, and to learn from a period. Best of many short stretches.
fn hedge(stretches: u32) {
    let mut generator = Generator::new(1);
    let idle: Vec<u64> = (0..256).map(|_| generator.below(30_000) as u64).collect();
    let mut hedge = Hedge::new(7_500, 1_000, 1);
    let mut best = [f64::INFINITY; 2];
    for _ in 0..stretches {
        let mut sum = 0;
        let start = Instant::now();
        for _ in &idle {
            sum += hedge.budget();
        }
        best[0] = best[0].min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        idle.iter().for_each(|&idle| hedge.ended(idle));
        best[1] = best[1].min(start.elapsed().as_secs_f64());
        black_box(sum);
    }
    let [draw, learn] = best.map(|best| best * 1e9 / idle.len() as f64);
    println!("ns of Hedge: {draw:.1} to draw a budget, {learn:.1} to learn from a period");
}

/// The engine's pattern: the earliest slot's next event is moved.
fn queues(moves: u32) {
    println!("ns to take the next event and set another");
    for slots in [2, 32, 256] {
        let mut generator = Generator::new(1);
        let mut queue = Queue::new(slots);
        (0..slots).for_each(|slot| queue.set(slot, slot as u64));
        let start = Instant::now();
        let mut sum = 0u64;
        for _ in 0..moves {
            let (now, slot) = queue.next().expect("every slot has one");
            sum = sum.wrapping_add(now);
            queue.set(slot, now + 200 + generator.below(256) as u64);
        }
        let own = start.elapsed().as_secs_f64() * 1e9 / f64::from(moves);
        let mut generator = Generator::new(1);
        let mut heap: BinaryHeap<_> = (0..slots).map(|slot| Reverse((slot as u64, slot))).collect();
        let start = Instant::now();
        let mut twin = 0u64;
        for _ in 0..moves {
            let Reverse((now, slot)) = heap.pop().expect("every slot has one");
            twin = twin.wrapping_add(now);
            heap.push(Reverse((now + 200 + generator.below(256) as u64, slot)));
        }
        let heaps = start.elapsed().as_secs_f64() * 1e9 / f64::from(moves);
        assert_eq!(black_box(sum), black_box(twin), "both take the same events");
        println!("  {slots:>4} slots: tournament tree {own:5.1}, binary heap {heaps:5.1}");
    }
}
