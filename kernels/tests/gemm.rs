//! What GEMM promises, against its f64 twin, at every instruction-set level.

mod common;

use common::{at_every_level, wide, Numbers, PageEnd};
use upbeat_kernels::{gemm::gemm, Activation, Element, Epilogue, Gemm, Mat, MatMut, ShapeError, Write};

/// Edges of register tiles (6, 12, 16, 32), of vectors, of blocks of k (384) and of small tasks.
const SHAPES: [(usize, usize, usize); 19] = [
    (1, 1, 1),
    (1, 1, 500),
    (1, 33, 7),
    (7, 1, 33),
    (2, 3, 5),
    (5, 17, 384),
    (6, 16, 3),
    (7, 17, 385),
    (12, 32, 4),
    (13, 31, 9),
    (1, 200, 390),
    (200, 1, 390),
    (65, 48, 130),
    (48, 65, 130),
    (31, 47, 1000),
    (100, 3, 65),
    (3, 100, 65),
    (150, 131, 40),
    (131, 150, 41),
];

/// A matrix stored plainly or transposed, its rows `gap` apart, in a guarded slice that ends with its last element.
struct Stored {
    data: PageEnd<f32>,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl Stored {
    fn new(numbers: &mut Numbers, (rows, cols): (usize, usize), transposed: bool, gap: usize) -> Self {
        let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
        let stride = cols + gap;
        let len = if rows * cols == 0 { 0 } else { (rows - 1) * stride + cols };
        let mut data = numbers.vector(len);
        for (i, x) in data.iter_mut().enumerate() {
            if i % stride >= cols {
                *x = f32::NAN; // What lies between rows must not be used.
            }
        }
        Self { data: PageEnd::copied(&data), rows, cols, stride }
    }

    fn mat(&self) -> Mat<'_, f32> {
        Mat::strided(&self.data, self.rows, self.cols, self.stride).unwrap()
    }
}

/// One product to check.
#[derive(Clone, Copy, Debug)]
struct Case {
    shape: (usize, usize, usize),
    transpose: (bool, bool),
    gap: usize,
    write: Write,
    bias: bool,
    residual: bool,
    activation: Activation,
    scale: Option<f32>,
}

const PLAIN: Case = Case {
    shape: (0, 0, 0),
    transpose: (false, false),
    gap: 0,
    write: Write::Overwrite,
    bias: false,
    residual: false,
    activation: Activation::Identity,
    scale: None,
};

/// Runs a case and its twin, and compares by norm: `|c - twin| ≤ 2·(k + 4)·u·(|A||B| + |bias| + |residual| + |c₀|)`,
/// the derivatives of the activations being below 1.2 in size and their own errors a few ulp.
fn check(case: Case) {
    let Case { shape: (m, n, k), transpose: (ta, tb), gap, .. } = case;
    let mut numbers = Numbers::new((m * 1000 + n * 10 + k) as u64);
    let a = Stored::new(&mut numbers, (m, k), ta, gap);
    let b = Stored::new(&mut numbers, (k, n), tb, gap);
    let residual = Stored::new(&mut numbers, (m, n), false, gap);
    let bias = PageEnd::copied(&numbers.vector(n));
    let mut c = Stored::new(&mut numbers, (m, n), false, gap);
    if case.write == Write::Overwrite {
        c.data.fill(f32::NAN);
    }
    let before = wide(&c.data);

    gemm(Gemm {
        a: a.mat(),
        transpose_a: ta,
        b: b.mat(),
        transpose_b: tb,
        c: MatMut::strided(&mut c.data, m, n, c.stride).unwrap(),
        write: case.write,
        epilogue: Epilogue {
            scale: case.scale,
            bias: case.bias.then_some(&bias),
            activation: case.activation,
            residual: case.residual.then(|| residual.mat()),
        },
    })
    .unwrap();

    let (wide_a, wide_b, wide_bias, wide_residual) =
        (wide(&a.data), wide(&b.data), wide(&bias), wide(&residual.data));
    let mut twin = before.clone();
    f64::gemm(Gemm {
        a: Mat::strided(&wide_a, a.rows, a.cols, a.stride).unwrap(),
        transpose_a: ta,
        b: Mat::strided(&wide_b, b.rows, b.cols, b.stride).unwrap(),
        transpose_b: tb,
        c: MatMut::strided(&mut twin, m, n, c.stride).unwrap(),
        write: case.write,
        epilogue: Epilogue {
            scale: case.scale.map(f64::from),
            bias: case.bias.then_some(&wide_bias),
            activation: case.activation,
            residual: case.residual.then(|| Mat::strided(&wide_residual, m, n, residual.stride).unwrap()),
        },
    })
    .unwrap();

    let unit = 2f64.powi(-24);
    for (at, (&got, &want)) in c.data.iter().zip(&twin).enumerate() {
        let (i, j) = (at / c.stride, at % c.stride);
        if j >= n {
            assert!(got.is_nan(), "{case:?}: the gap behind row {i} was written");
            continue;
        }
        let size: f64 = (0..k)
            .map(|p| {
                let a = if ta { a.data[p * a.stride + i] } else { a.data[i * a.stride + p] };
                let b = if tb { b.data[j * b.stride + p] } else { b.data[p * b.stride + j] };
                f64::from(a * b).abs()
            })
            .sum();
        let old = if case.write == Write::Add { before[at].abs() } else { 0.0 };
        let size = size + old + 2.0; // Bias and residual are below 1.
        let bound = 2.0 * (k as f64 + 4.0) * unit * size;
        let error = (f64::from(got) - want).abs();
        assert!(error <= bound, "{case:?}: c[{i}, {j}] is {got}, twin {want}, off by {error:e} > {bound:e}");
    }
}

#[test]
fn every_level() {
    at_every_level();
}

#[test]
fn every_layout_of_every_shape_agrees_with_the_twin() {
    for shape in SHAPES {
        for transpose in [(false, false), (false, true), (true, false), (true, true)] {
            for (gap, write) in [(0, Write::Overwrite), (3, Write::Add)] {
                check(Case { shape, transpose, gap, write, ..PLAIN });
            }
        }
    }
}

#[test]
fn every_epilogue_agrees_with_the_twin() {
    for shape in [(1, 1, 1), (7, 17, 385), (65, 48, 13), (20, 100, 800)] {
        for activation in
            [Activation::Identity, Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu]
        {
            for (bias, residual, scale) in
                [(true, false, None), (false, true, Some(0.75)), (true, true, Some(-1.0))]
            {
                for write in [Write::Overwrite, Write::Add] {
                    check(Case { shape, activation, bias, residual, scale, write, gap: 1, ..PLAIN });
                }
            }
        }
    }
}

#[test]
fn many_tasks_and_slabs_agree_with_the_twin() {
    check(Case { shape: (500, 400, 390), transpose: (false, true), bias: true, residual: true, ..PLAIN });
    check(Case { shape: (400, 500, 390), transpose: (true, false), write: Write::Add, ..PLAIN });
    // Few rows.
    for (m, transposed) in [(3, false), (3, true), (20, true)] {
        check(Case {
            shape: (m, 700, 600),
            transpose: (false, transposed),
            bias: true,
            residual: true,
            ..PLAIN
        });
    }
}

#[test]
fn no_products_leave_zeros_and_the_epilogue() {
    for shape in [(3, 5, 0), (5, 3, 0), (40, 50, 0)] {
        check(Case { shape, ..PLAIN });
        check(Case { shape, write: Write::Add, gap: 2, ..PLAIN });
        check(Case { shape, bias: true, residual: true, activation: Activation::Gelu, ..PLAIN });
    }
}

#[test]
fn an_empty_output_is_left_alone() {
    for shape in [(0, 5, 3), (5, 0, 3), (0, 0, 3), (0, 0, 0)] {
        check(Case { shape, bias: true, ..PLAIN });
        check(Case { shape, transpose: (true, true), write: Write::Add, ..PLAIN });
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_batch_and_layout() {
    let (m, n, k) = (97, 131, 1000);
    let mut numbers = Numbers::new(7);
    let (a, b) = (numbers.vector(m * k), numbers.vector(k * n));
    let b_transposed: Vec<f32> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
    let product = |rows: std::ops::Range<usize>, cols: std::ops::Range<usize>, transpose_b: bool| {
        let mut c = vec![0.0f32; rows.len() * cols.len()];
        let b = if transpose_b {
            Mat::new(&b_transposed[cols.start * k..cols.end * k], cols.len(), k)
        } else {
            Mat::strided(&b[cols.start..], k, cols.len(), n)
        };
        gemm(Gemm {
            a: Mat::new(&a[rows.start * k..rows.end * k], rows.len(), k).unwrap(),
            transpose_a: false,
            b: b.unwrap(),
            transpose_b,
            c: MatMut::new(&mut c, rows.len(), cols.len()).unwrap(),
            write: Write::Overwrite,
            epilogue: Epilogue::default(),
        })
        .unwrap();
        c
    };
    let whole = product(0..m, 0..n, false);
    for rows in [0..1, 5..6, 10..12, 20..23, 30..34, 3..11, 90..97, 0..16, 1..18, 7..39, 8..41, 0..50] {
        for cols in [0..n, 0..1, 17..40, 100..131] {
            for transpose_b in [false, true] {
                let part = product(rows.clone(), cols.clone(), transpose_b);
                for (r, row) in part.chunks(cols.len()).enumerate() {
                    let same = &whole[(rows.start + r) * n..][cols.clone()];
                    assert!(
                        row.iter().zip(same).all(|(x, y)| x.to_bits() == y.to_bits()),
                        "rows {rows:?} by columns {cols:?}, B transposed: {transpose_b}"
                    );
                }
            }
        }
    }
}

#[test]
fn nan_and_infinity_reach_their_own_row_and_column_only() {
    let (m, n, k) = (14, 35, 20);
    let mut numbers = Numbers::new(3);
    let (mut a, mut b) = (numbers.vector(m * k), numbers.vector(k * n));
    a[13 * k + 4] = f32::NAN;
    b[6 * n + 34] = f32::INFINITY;
    let mut c = vec![0.0; m * n];
    gemm(Gemm {
        a: Mat::new(&a, m, k).unwrap(),
        transpose_a: false,
        b: Mat::new(&b, k, n).unwrap(),
        transpose_b: false,
        c: MatMut::new(&mut c, m, n).unwrap(),
        write: Write::Overwrite,
        epilogue: Epilogue::default(),
    })
    .unwrap();
    for (at, x) in c.iter().enumerate() {
        let (i, j) = (at / n, at % n);
        match (i == 13, j == 34) {
            (true, _) => assert!(x.is_nan(), "c[{i}, {j}] = {x}"),
            (false, true) => assert_eq!(*x, f32::INFINITY * a[i * k + 6].signum(), "c[{i}, {j}]"),
            (false, false) => assert!(x.is_finite(), "c[{i}, {j}] = {x}"),
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_before_anything_is_written() {
    let data = [1.0f32; 64];
    let mut c = [5.0f32; 12];
    let mut refused = |a: (usize, usize), b: (usize, usize), bias: usize, residual: (usize, usize)| {
        let result = gemm(Gemm {
            a: Mat::new(&data[..a.0 * a.1], a.0, a.1).unwrap(),
            transpose_a: false,
            b: Mat::new(&data[..b.0 * b.1], b.0, b.1).unwrap(),
            transpose_b: false,
            c: MatMut::new(&mut c, 3, 4).unwrap(),
            write: Write::Overwrite,
            epilogue: Epilogue {
                bias: Some(&data[..bias]),
                activation: Activation::Identity,
                residual: Some(Mat::new(&data[..residual.0 * residual.1], residual.0, residual.1).unwrap()),
                ..Epilogue::default()
            },
        });
        let Err(ShapeError::Mismatch { what, .. }) = result else { panic!("{result:?}") };
        what
    };
    assert_eq!(refused((3, 2), (3, 4), 4, (3, 4)), "a product's rows of op(b), which are op(a)'s columns,");
    assert_eq!(refused((2, 2), (2, 4), 4, (3, 4)), "a product's rows of c");
    assert_eq!(refused((3, 2), (2, 5), 4, (3, 4)), "a product's columns of c");
    assert_eq!(refused((3, 2), (2, 4), 3, (3, 4)), "the length of the bias");
    assert_eq!(refused((3, 2), (2, 4), 4, (4, 4)), "rows of the residual");
    assert_eq!(refused((3, 2), (2, 4), 4, (3, 3)), "columns of the residual");
    assert_eq!(c, [5.0; 12]);
}
