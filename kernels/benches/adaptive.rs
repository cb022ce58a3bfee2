//! Adaptive attention beside plain attention: times in turns, shares of the work, bounds and true errors.
//!
//! `cargo bench -p upbeat-kernels --bench adaptive [-- POSITIONS]` measures; without `--bench` (as `cargo test --benches` runs it) each runs
//! once on few positions. Either way no error may exceed its bound. `UPBEAT_WORKERS` says how many workers run.

use std::time::Instant;

use upbeat_kernels::attention::{Attention, Heads, HeadsMut, Mask, Resolution, Summary};

const HEADS: usize = 4;
const DIM: usize = 64;
/// Rounds, in each of which everything is timed once; medians count.
const ROUNDS: usize = 7;
const RESOLUTIONS: [Resolution; 6] = [
    Resolution::Tolerance(0.3),
    Resolution::Tolerance(0.1),
    Resolution::Tolerance(0.03),
    Resolution::Tolerance(0.01),
    Resolution::Budget(0),
    Resolution::Budget(16),
];

/// How keys and values are spread over positions.
#[derive(Clone, Copy, Debug)]
enum Spread {
    /// Every 32 have a centre of their own, with a twentieth around it.
    Clustered,
    /// Each is near the one before.
    Slow,
    /// Independent.
    Noise,
}

fn vectors(positions: usize, spread: Spread, seed: u64) -> Vec<f32> {
    let (row, mut state) = (HEADS * DIM, seed);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 1.7
    };
    let mut x = vec![0.0; positions * row];
    for at in 0..x.len() {
        let position = at / row;
        x[at] = match spread {
            Spread::Clustered if position % 32 > 0 => x[at - position % 32 * row] + 0.05 * next(),
            Spread::Slow if position > 0 => 0.9995 * x[at - row] + 0.03 * next(),
            _ => next(),
        };
    }
    x
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn measure(positions: usize, spread: Spread, rounds: usize) {
    let shape = [1, positions, HEADS, DIM];
    let [q, k, v] = [1, 2, 3].map(|seed| vectors(positions, spread, seed));
    let [q, k, v] = [&q, &k, &v].map(|x| Heads::new(x, shape).expect("the shape fits"));
    let (mut out, mut lse) = (vec![0.0; positions * HEADS * DIM], vec![0.0; positions * HEADS]);
    let mut plain = out.clone();
    let attention = Attention::new().mask(Mask::Causal);
    let (mut of_plain, mut of_summary) = (Vec::new(), Vec::new());
    let mut of_adaptive = RESOLUTIONS.map(|_| Vec::new());
    let mut told = RESOLUTIONS.map(|_| None);
    for _ in 0..rounds {
        of_plain.push(seconds(|| {
            let out = HeadsMut::new(&mut plain, shape).expect("the shape fits");
            attention.forward(q, k, v, out, &mut lse).expect("the shapes fit");
        }));
        let mut summary = None;
        of_summary.push(seconds(|| summary = Some(Summary::new(k, v).expect("the shapes fit"))));
        let summary = summary.expect("it was made");
        for (at, &resolution) in RESOLUTIONS.iter().enumerate() {
            of_adaptive[at].push(seconds(|| {
                let out = HeadsMut::new(&mut out, shape).expect("the shape fits");
                let done = attention.adaptive(resolution, &summary, q, k, v, out, &mut lse);
                told[at] = Some(done.expect("the shapes fit"));
            }));
            let done = told[at].as_ref().expect("it ran");
            let errors = out
                .chunks(DIM)
                .zip(plain.chunks(DIM))
                .map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt());
            let mut most = 0.0_f64;
            for (at, error) in errors.enumerate() {
                // Outputs are by position, bounds by head.
                let bound = f64::from(done.bounds[at % HEADS * positions + at / HEADS]);
                assert!(error <= bound + 1e-3, "{spread:?}, {resolution:?}: {error:e} is above {bound:e}");
                most = most.max(error);
            }
            if of_plain.len() == rounds {
                let (time, plain) = (median(&mut of_adaptive[at]), median(&mut of_plain.clone()));
                println!(
                    "| {spread:?} | {resolution:?} | {:.1} | {:.1} | {:.2} | {:.2} | {:.4} | {most:.5} | {:.4} |",
                    1e3 * time,
                    1e3 * plain,
                    time / plain,
                    done.share(),
                    done.bound(),
                    done.qualities().0,
                );
            }
        }
    }
    println!("| {spread:?} | the summary | {:.1} | | | | | | |", 1e3 * median(&mut of_summary));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let positions = arguments.iter().find_map(|argument| argument.parse().ok());
    let (positions, rounds) = if measured { (positions.unwrap_or(8192), ROUNDS) } else { (200, 1) };
    println!(
        "{positions} positions, {HEADS} heads of {DIM}, causal, {} workers",
        upbeat::current_num_workers()
    );
    println!("| keys | resolution | ms | plain, ms | ratio | share of the products | largest bound | largest error | mean quality |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for spread in [Spread::Clustered, Spread::Slow, Spread::Noise] {
        measure(positions, spread, rounds);
    }
}
