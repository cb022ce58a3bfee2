//! Gray–Scott and heat: cells a second, one step a call and many, beside a plain copy measured in the same rounds.
//!
//! `cargo bench -p upbeat-kernels --bench flow [-- --size N] [-- --steps S]` measures; without `--bench` (as `cargo test --benches`
//! runs it) answers are checked and nothing is measured. GB/s are those that single steps must move: each field read and
//! written once a step. A blocked run moves fewer, so its figure may lie above the copy's. The copy runs on one thread.

mod common;

use common::wall_seconds;
use upbeat_kernels::flow::{gray_scott, heat, mass, FlowError, GrayScott, Heat};
use upbeat_kernels::pool::Buffer;
use upbeat_kernels::twin;

/// Rounds of a measurement; the best one counts, as other work on the machine only slows.
const ROUNDS: usize = 12;
const SIZES: [usize; 2] = [1024, 4096];
/// The parameters of the C program that this is compared with.
const REACTION: GrayScott = GrayScott { du: 0.16, dv: 0.08, feed: 0.06, kill: 0.062, h: 1.0, dt: 1.0 };
const PLATE: Heat = Heat { kappa: 0.2, h: 1.0, dt: 1.0 };

/// `u = 1`, `v = 0`, and a square of 16 by 16 cells `(½, ¼)`: the start of the C program.
fn start(n: usize) -> [Buffer<f32>; 2] {
    let (mut u, mut v) = (Buffer::zeroed(n * n), Buffer::zeroed(n * n));
    u.fill(1.0);
    for y in n / 2 - 8..n / 2 + 8 {
        u[y * n + n / 2 - 8..][..16].fill(0.5);
        v[y * n + n / 2 - 8..][..16].fill(0.25);
    }
    [u, v]
}

fn both(n: usize, steps: usize, [u, v]: &mut [Buffer<f32>; 2]) -> Result<(), FlowError> {
    gray_scott(&REACTION, [n, n], steps, u, v)
}

/// Blocked steps against single ones, bit for bit, and both against the twin.
fn check() {
    let n = 200;
    let (mut single, mut blocked) = (start(n), start(n));
    let mut exact = single.each_ref().map(|x| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
    for _ in 0..21 {
        both(n, 1, &mut single).expect("the grid fits");
    }
    both(n, 21, &mut blocked).expect("the grid fits");
    let [u, v] = &mut exact;
    twin::flow::gray_scott(&REACTION, [n, n], 21, u, v).expect("the grid fits");
    for f in 0..2 {
        for i in 0..n * n {
            assert_eq!(single[f][i].to_bits(), blocked[f][i].to_bits(), "field {f}, cell {i}");
            assert!((f64::from(single[f][i]) - exact[f][i]).abs() < 1e-5, "field {f}, cell {i}");
        }
    }
    let [mut plate, _] = start(n);
    let [u, _] = &mut start(n).map(|x| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
    heat(&PLATE, [n, n], 21, &mut plate).expect("the grid fits");
    twin::flow::heat(&PLATE, [n, n], 21, u).expect("the grid fits");
    assert!(plate.iter().zip(u).all(|(&fast, &mut exact)| (f64::from(fast) - exact).abs() < 1e-5));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1)?.parse::<usize>().ok()
    };
    check();
    if !arguments.iter().any(|a| a == "--bench") {
        println!("blocked steps have the bits of single ones, and agree with the twins");
        return;
    }
    println!("{} workers, {}", upbeat::current_num_workers(), upbeat_kernels::Isa::active().name());
    println!(
        "{:12} {:>6} {:>6} {:>9} {:>9} {:>7} {:>9}",
        "", "size", "steps", "ms/step", "Mcells/s", "GB/s", "copy GB/s"
    );
    for n in number("--size").map_or(SIZES.to_vec(), |n| vec![n]) {
        let many = number("--steps").unwrap_or(if n > 2048 { 16 } else { 96 });
        let single = (many / 4).max(1);
        let mut fields = start(n);
        let mut plate = start(n);
        let (from, mut to) = (Buffer::<f32>::zeroed(2 * n * n), Buffer::<f32>::zeroed(2 * n * n));
        let names = ["gray_scott", "gray_scott", "heat", "heat"];
        let steps = [1, many, 1, many];
        // Each of the kernels, then the copy.
        let mut best = [f64::MAX; 5];
        for _ in 0..ROUNDS {
            let times = [
                wall_seconds(|| (0..single).for_each(|_| both(n, 1, &mut fields).expect("the grid fits")))
                    / single as f64,
                wall_seconds(|| both(n, many, &mut fields).expect("the grid fits")) / many as f64,
                wall_seconds(|| {
                    (0..single).for_each(|_| heat(&PLATE, [n, n], 1, &mut plate[0]).expect("the grid fits"))
                }) / single as f64,
                wall_seconds(|| heat(&PLATE, [n, n], many, &mut plate[0]).expect("the grid fits"))
                    / many as f64,
                wall_seconds(|| std::hint::black_box(&mut to).copy_from_slice(&from)),
            ];
            best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
        }
        let cells = (n * n) as f64;
        for i in 0..4 {
            let fields = if i < 2 { 2.0 } else { 1.0 };
            println!(
                "{:12} {n:6} {:6} {:9.4} {:9.0} {:7.1} {:9.1}",
                names[i],
                steps[i],
                best[i] * 1e3,
                cells / best[i] / 1e6,
                8.0 * fields * cells / best[i] / 1e9,
                16.0 * cells / best[4] / 1e9,
            );
        }
        println!("{:12} {n:6} Σu = {:.6}, Σv = {:.6}", "", mass(&fields[0]), mass(&fields[1]));
    }
}
