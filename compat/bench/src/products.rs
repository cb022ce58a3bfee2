//! Products and a factorization by libraries that run on rayon.

use candle_core::{Device, Tensor};
use faer::linalg::matmul::matmul;
use faer::linalg::solvers::Solve;
use faer::{Accum, Mat, Par};
use gemm::Parallelism;

use crate::Rows;

/// Elements that a product of their rows and columns tells apart.
fn element(i: usize, j: usize) -> f32 {
    ((i * 31 + j * 17) % 23) as f32 / 23.0 - 0.5
}

/// One element of the product of two such matrices, in f64.
fn expected(n: usize, i: usize, j: usize) -> f64 {
    (0..n).map(|k| f64::from(element(i, k)) * f64::from(element(k, j))).sum()
}

fn check(name: &str, n: usize, at: impl Fn(usize, usize) -> f64) {
    for (i, j) in [(0, 0), (n / 2, n - 1), (n - 1, n / 3)] {
        let (is, should) = (at(i, j), expected(n, i, j));
        assert!(
            (is - should).abs() < 1e-3 * (n as f64).sqrt(),
            "{name} {n}: {is} at ({i}, {j}), not {should}"
        );
    }
}

pub(crate) fn run(rows: &Rows) {
    for n in [64, 128, 256, 512, 1024] {
        let matrix = || (0..n * n).map(|at| element(at / n, at % n)).collect::<Vec<_>>();
        let (a, b) = (matrix(), matrix());

        let mut c = vec![0.0; n * n];
        gemm_product(n, &mut c, &a, &b);
        check("gemm", n, |i, j| c[i * n + j].into());
        rows.row(&format!("gemm {n}"), || gemm_product(n, &mut c, &a, &b));

        let tensor = |values| Tensor::from_vec(values, (n, n), &Device::Cpu).expect("the shape fits");
        let (ta, tb) = (tensor(a), tensor(b));
        let product = ta.matmul(&tb).and_then(|c| c.to_vec2::<f32>()).expect("the shapes fit");
        check("candle", n, |i, j| product[i][j].into());
        rows.row(&format!("candle {n}"), || ta.matmul(&tb).expect("the shapes fit"));

        let (fa, fb) = (Mat::from_fn(n, n, element), Mat::from_fn(n, n, element));
        let mut fc = Mat::<f32>::zeros(n, n);
        let mut product =
            || matmul(fc.as_mut(), Accum::Replace, fa.as_ref(), fb.as_ref(), 1.0, Par::rayon(0));
        product();
        rows.row(&format!("faer {n}"), product);
        check("faer", n, |i, j| fc[(i, j)].into());
    }
    for n in [128, 512] {
        let a = Mat::from_fn(n, n, |i, j| f64::from(element(i, j)) + if i == j { n as f64 } else { 0.0 });
        let b = Mat::from_fn(n, 1, |i, _| i as f64);
        faer::set_global_parallelism(Par::rayon(0));
        let left = &a * a.partial_piv_lu().solve(&b);
        assert!((0..n).all(|i| (left[(i, 0)] - b[(i, 0)]).abs() < 1e-6), "faer's LU solves");
        rows.row(&format!("faer LU {n}"), || a.partial_piv_lu());
    }
}

/// `c = a * b`, row-major.
fn gemm_product(n: usize, c: &mut [f32], a: &[f32], b: &[f32]) {
    let row = n as isize;
    assert!([c.len(), a.len(), b.len()] == [n * n; 3]);
    // SAFETY: the three slices hold n rows of n, as strides say, and `c` overlaps none of the others.
    unsafe {
        gemm::gemm(
            n,
            n,
            n,
            c.as_mut_ptr(),
            1,
            row,
            false,
            a.as_ptr(),
            1,
            row,
            b.as_ptr(),
            1,
            row,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}
