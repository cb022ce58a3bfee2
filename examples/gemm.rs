//! A matrix product on the runtime's workers: shapes, a fused epilogue, an answer checked against a plain loop.
//! Run with `cargo run --release --example gemm`.

use std::time::Instant;
use upbeat_kernels::{gemm, Activation, Epilogue, Gemm, Mat, MatMut, ShapeError, Write};

/// Numbers between -1 and 1 that depend on the position alone.
fn filled(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 2_654_435_761 + seed * 40_503) % 2003) as f32 / 1001.0 - 1.0).collect()
}

fn main() -> Result<(), ShapeError> {
    let (m, k, n) = (500, 700, 600);
    let (a, b, bias, residual) = (filled(m * k, 1), filled(k * n, 2), filled(n, 3), filled(m * n, 4));
    let mut c = vec![f32::NAN; m * n];

    // C = GELU(A·B + bias) + residual, in one call: each tile is finished while it is still in cache.
    let mut product = || {
        gemm::gemm(Gemm {
            a: Mat::new(&a, m, k)?,
            transpose_a: false,
            b: Mat::new(&b, k, n)?,
            transpose_b: false,
            c: MatMut::new(&mut c, m, n)?,
            write: Write::Overwrite,
            epilogue: Epilogue {
                bias: Some(&bias),
                activation: Activation::Gelu,
                residual: Some(Mat::new(&residual, m, n)?),
                ..Epilogue::default()
            },
        })
    };
    product()?;
    let repeats = 20;
    let start = Instant::now();
    for _ in 0..repeats {
        product()?;
    }
    let seconds = start.elapsed().as_secs_f64() / f64::from(repeats);

    for (i, j) in [(0, 0), (3, n - 1), (m / 2, n / 3), (m - 1, 0), (m - 1, n - 1)] {
        let dot: f64 = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j])).sum();
        let gelu = upbeat_kernels::twin::activation::gelu(dot + f64::from(bias[j]));
        let (expected, found) = (gelu + f64::from(residual[i * n + j]), f64::from(c[i * n + j]));
        assert!((expected - found).abs() < 1e-3, "C[{i}, {j}] is {found}, not {expected}");
    }
    // Shapes are checked before anything is written.
    assert!(Mat::new(&a, m, k + 1).is_err());
    println!("[{m}, {k}]·[{k}, {n}]: {:.1} GFLOP/s", 2.0 * (m * k * n) as f64 / seconds * 1e-9);
    Ok(())
}
