//! The search: sizes are changed one after the other, and kept where typical products run faster.

use std::time::Instant;

use super::{active, set, Tuning};
use crate::gemm::gemm;
use crate::{Buffer, Epilogue, Gemm, Mat, MatMut, ShapeError, Write};

/// `(m, n, k)` and whether A and B are stored transposed: a square, a linear layer, and its two gradients.
const PRODUCTS: [((usize, usize, usize), bool, bool); 4] = [
    ((1024, 1024, 1024), false, false),
    ((2048, 1152, 384), false, true),
    ((2048, 384, 1536), false, false),
    ((1536, 384, 2048), true, false),
];
/// Sizes must be better by this much to be taken: less is noise.
const GAIN: f64 = 1.02;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// The sizes tried.
    pub tuning: Tuning,
    /// Rate of the products, in GFLOP/s, all weighing the same.
    pub rate: f64,
    /// Rate of the best sizes before, measured in the same rounds.
    pub best_before: f64,
    /// Whether they are the best since.
    pub taken: bool,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The best sizes.
    pub tuning: Tuning,
    /// Everything tried, in order.
    pub trials: Vec<Trial>,
}

struct Product {
    shape: (usize, usize, usize),
    transposed: (bool, bool),
    a: Buffer<f32>,
    b: Buffer<f32>,
    c: Buffer<f32>,
}

impl Product {
    fn new(shape: (usize, usize, usize), transposed: (bool, bool)) -> Self {
        let (m, n, k) = shape;
        let filled = |len| {
            let mut numbers = Buffer::unspecified(len);
            numbers.fill(0.5);
            numbers
        };
        Self { shape, transposed, a: filled(m * k), b: filled(k * n), c: filled(m * n) }
    }

    fn flops(&self) -> f64 {
        let (m, n, k) = self.shape;
        2.0 * (m * n * k) as f64
    }

    /// Seconds of one run.
    fn run(&mut self) -> Result<f64, ShapeError> {
        let (m, n, k) = self.shape;
        let (transpose_a, transpose_b) = self.transposed;
        let [a, b] = [(transpose_a, m, k), (transpose_b, k, n)].map(|(transposed, rows, cols)| {
            if transposed {
                (cols, rows)
            } else {
                (rows, cols)
            }
        });
        let product = Gemm {
            a: Mat::new(&self.a, a.0, a.1)?,
            transpose_a,
            b: Mat::new(&self.b, b.0, b.1)?,
            transpose_b,
            c: MatMut::new(&mut self.c, m, n)?,
            write: Write::Overwrite,
            epilogue: Epilogue::default(),
        };
        let start = Instant::now();
        gemm(product)?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// Sets the sizes that were active before, however the search ends.
struct Restore(Tuning);

impl Drop for Restore {
    fn drop(&mut self) {
        set(self.0).expect("sizes that were active make sense");
    }
}

/// Refines the active sizes on the current runtime's workers: each is halved and doubled as long as typical products run at least
/// 2 % faster. Takes some seconds, in which nothing else should run; the active sizes change meanwhile, and are restored at the end.
/// Each product runs `rounds` times with old and new sizes in turn, and its best time counts, as other work only slows; 5 is enough on a quiet
/// machine. `progress` is told the share of the search that is surely done, from 0 to 1, and each trial.
///
/// # Panics
/// When `rounds` is 0.
pub fn search(rounds: usize, mut progress: impl FnMut(f64, &Trial)) -> Found {
    assert!(rounds > 0, "nothing is measured in no rounds");
    let before = Restore(active());
    let mut products = PRODUCTS.map(|(shape, a, b)| Product::new(shape, (a, b)));
    let mut best = before.0;
    let mut trials: Vec<Trial> = Vec::new();
    let fields = best.fields().len();
    for field in 0..fields {
        for double in [false, true] {
            loop {
                let mut tried = best;
                let (_, value, _) = tried.fields().into_iter().nth(field).expect("a field");
                *value = if double { *value * 2 } else { *value / 2 };
                // A size that makes no sense, or was tried before with the same others, ends this direction.
                if tried.check().is_err() || trials.iter().any(|trial| trial.tuning == tried) {
                    break;
                }
                let [rate, best_before] = compare(&mut products, [tried, best], rounds);
                let trial = Trial { tuning: tried, rate, best_before, taken: rate > GAIN * best_before };
                let done = (2 * field + usize::from(double)) as f64 / (2 * fields) as f64;
                progress(done, &trial);
                trials.push(trial);
                if !trial.taken {
                    break;
                }
                best = tried;
            }
        }
    }
    drop(before);
    Found { tuning: best, trials }
}

/// Rates of two sizes, measured in interleaved rounds: the geometric mean of the products' best ones.
fn compare(products: &mut [Product], tunings: [Tuning; 2], rounds: usize) -> [f64; 2] {
    let mut logarithms = [0.0; 2];
    for product in products.iter_mut() {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..rounds {
            for (best, tuning) in best.iter_mut().zip(tunings) {
                set(tuning).expect("only sizes that make sense are compared");
                *best = best.min(product.run().expect("the shapes fit"));
            }
        }
        for (sum, best) in logarithms.iter_mut().zip(best) {
            *sum += (product.flops() / best / 1e9).ln();
        }
    }
    logarithms.map(|sum| (sum / products.len() as f64).exp())
}
