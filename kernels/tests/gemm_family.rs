//! Pre-packed, batched and grouped products have the bits of single ones, for any number of workers, and single ones agree
//! with their twin (`tests/gemm.rs`).

mod common;

use common::{assert_same_bits, at_every_level, bits, same_on_any_workers, Numbers, PageEnd};
use upbeat_kernels::gemm::{
    gemm, gemm_batched, gemm_grouped, gemm_packed, GemmBatch, GemmPacked, MatBatch, MatBatchMut, PackedB,
};
use upbeat_kernels::{Activation, Epilogue, Gemm, Mat, MatMut, ShapeError, Write};

#[test]
fn every_level() {
    at_every_level();
}

/// `[rows, cols]`, or the other way round when transposed.
fn stored(data: &[f32], rows: usize, cols: usize, transposed: bool) -> Mat<'_, f32> {
    let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
    Mat::new(data, rows, cols).unwrap()
}

#[test]
fn packed_products_have_the_bits_of_unpacked_ones() {
    for (m, n, k) in [
        (0, 3, 4),
        (3, 0, 4),
        (2, 5, 0),
        (1, 1, 1),
        (1, 33, 400),
        (2, 16, 7),
        (5, 31, 385),
        (13, 65, 770),
        (32, 40, 9),
        (33, 40, 9),
        (100, 17, 401),
        (70, 600, 65),
    ] {
        let mut numbers = Numbers::new((m * 100 + n * 10 + k) as u64);
        let (a, b) = (PageEnd::copied(&numbers.vector(m * k)), PageEnd::copied(&numbers.vector(k * n)));
        let (bias, old) = (numbers.vector(n), numbers.vector(m * n));
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let packed = PackedB::new(stored(&b, k, n, transpose_b), transpose_b).unwrap();
            for (write, activation, scale) in [
                (Write::Overwrite, Activation::Identity, None),
                (Write::Add, Activation::Identity, None),
                (Write::Add, Activation::Relu, Some(0.5)),
            ] {
                let epilogue = Epilogue { bias: Some(&bias), activation, scale, residual: None };
                let a = stored(&a, m, k, transpose_a);
                let (mut want, mut got) = (old.clone(), PageEnd::copied(&old));
                let b = stored(&b, k, n, transpose_b);
                let c = MatMut::new(&mut want, m, n).unwrap();
                gemm(Gemm { a, transpose_a, b, transpose_b, c, write, epilogue }).unwrap();
                let c = MatMut::new(&mut got, m, n).unwrap();
                gemm_packed(GemmPacked { a, transpose_a, b: &packed, c, write, epilogue }).unwrap();
                assert_same_bits(&got, &want, ((m, n, k), transpose_a, transpose_b, write));
            }
        }
    }
}

#[test]
fn a_batch_has_the_bits_of_its_products() {
    for (batch, (m, n, k), gap) in
        [(0, (2, 3, 4), 0), (1, (3, 5, 7), 2), (5, (7, 9, 400), 0), (4, (33, 40, 20), 3)]
    {
        for (transpose_a, transpose_b, repeat_b) in
            [(false, false, false), (true, true, false), (false, true, true), (true, false, true)]
        {
            let mut numbers = Numbers::new((batch * m + n) as u64);
            let extents = |rows: usize, cols: usize, turn: bool| {
                let (rows, cols) = if turn { (cols, rows) } else { (rows, cols) };
                let stride = cols + gap;
                (rows, cols, stride, rows * stride + gap)
            };
            let len = |(rows, cols, stride, step): (usize, usize, usize, usize)| match batch {
                0 => 0,
                _ => (batch - 1) * step + (rows - 1) * stride + cols,
            };
            let (of_a, of_b, of_c) =
                (extents(m, k, transpose_a), extents(k, n, transpose_b), extents(m, n, false));
            let a = PageEnd::copied(&numbers.vector(len(of_a)));
            let b = PageEnd::copied(&numbers.vector(len(of_b)));
            let old = numbers.vector(len(of_c));
            let (mut want, mut got) = (old.clone(), PageEnd::copied(&old));
            let step_b = if repeat_b { 0 } else { of_b.3 };
            let (write, epilogue) = (Write::Add, Epilogue { scale: Some(0.5), ..Epilogue::default() });
            gemm_batched(GemmBatch {
                a: MatBatch::strided(&a, (batch, of_a.0, of_a.1), of_a.2, of_a.3).unwrap(),
                transpose_a,
                b: MatBatch::strided(&b, (batch, of_b.0, of_b.1), of_b.2, step_b).unwrap(),
                transpose_b,
                c: MatBatchMut::strided(&mut got, (batch, m, n), of_c.2, of_c.3).unwrap(),
                write,
                epilogue,
            })
            .unwrap();
            for i in 0..batch {
                let a = Mat::strided(&a[i * of_a.3..], of_a.0, of_a.1, of_a.2).unwrap();
                let b = Mat::strided(&b[i * step_b..], of_b.0, of_b.1, of_b.2).unwrap();
                let c = MatMut::strided(&mut want[i * of_c.3..], m, n, of_c.2).unwrap();
                gemm(Gemm { a, transpose_a, b, transpose_b, c, write, epilogue }).unwrap();
            }
            assert_same_bits(&got, &want, (batch, m, n, k, transpose_a, transpose_b, repeat_b));
        }
    }
}

/// Shapes of a group, small and large, empty ones among them.
const GROUP: [(usize, usize, usize); 7] =
    [(1, 40, 300), (0, 3, 3), (65, 33, 17), (4, 4, 4), (200, 100, 50), (2, 2, 0), (20, 300, 390)];

/// All results of a group, one behind the other.
fn grouped(transpose_b: bool) -> Vec<f32> {
    let mut numbers = Numbers::new(11);
    let factors: Vec<_> = GROUP.map(|(m, n, k)| (numbers.vector(m * k), numbers.vector(k * n))).into();
    let mut results = vec![0.0; GROUP.iter().map(|(m, n, _)| m * n).sum()];
    let mut rest = &mut results[..];
    let mut products: Vec<_> = GROUP
        .iter()
        .zip(&factors)
        .map(|(&(m, n, k), (a, b))| {
            let (c, behind) = std::mem::take(&mut rest).split_at_mut(m * n);
            rest = behind;
            Gemm {
                a: Mat::new(a, m, k).unwrap(),
                transpose_a: false,
                b: stored(b, k, n, transpose_b),
                transpose_b,
                c: MatMut::new(c, m, n).unwrap(),
                write: Write::Overwrite,
                epilogue: Epilogue::default(),
            }
        })
        .collect();
    gemm_grouped(&mut products).unwrap();
    results
}

#[test]
fn a_group_has_the_bits_of_its_products() {
    for transpose_b in [false, true] {
        let all = grouped(transpose_b);
        let (mut numbers, mut at) = (Numbers::new(11), 0);
        for (m, n, k) in GROUP {
            let (a, b) = (numbers.vector(m * k), numbers.vector(k * n));
            let mut c = vec![f32::NAN; m * n];
            gemm(Gemm {
                a: Mat::new(&a, m, k).unwrap(),
                transpose_a: false,
                b: stored(&b, k, n, transpose_b),
                transpose_b,
                c: MatMut::new(&mut c, m, n).unwrap(),
                write: Write::Overwrite,
                epilogue: Epilogue::default(),
            })
            .unwrap();
            assert_same_bits(&all[at..at + m * n], &c, (m, n, k, transpose_b));
            at += m * n;
        }
    }
}

#[test]
fn results_have_the_same_bits_for_any_number_of_workers() {
    same_on_any_workers("products", || {
        let mut results = [grouped(false), grouped(true)].concat();
        for (m, n, k) in [(1, 3000, 500), (3, 700, 800), (12, 2000, 100), (300, 400, 385), (400, 60, 1000)] {
            let (a, b) = (Numbers::new(1).vector(m * k), Numbers::new(2).vector(k * n));
            for transpose_b in [false, true] {
                let packed = PackedB::new(stored(&b, k, n, transpose_b), transpose_b).unwrap();
                let mut c = vec![0.0; m * n];
                let (write, epilogue) = (Write::Overwrite, Epilogue::default());
                let (a, transpose_a) = (Mat::new(&a, m, k).unwrap(), false);
                let b = stored(&b, k, n, transpose_b);
                let view = MatMut::new(&mut c, m, n).unwrap();
                gemm(Gemm { a, transpose_a, b, transpose_b, c: view, write, epilogue }).unwrap();
                results.extend_from_slice(&c);
                let view = MatMut::new(&mut c, m, n).unwrap();
                gemm_packed(GemmPacked { a, transpose_a, b: &packed, c: view, write, epilogue }).unwrap();
                results.extend_from_slice(&c);
            }
        }
        bits(&results)
    });
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let data = [1.0f32; 64];
    let mut c = [5.0f32; 12];
    let (write, epilogue) = (Write::Overwrite, Epilogue::default());
    let packed = PackedB::new(Mat::new(&data[..8], 2, 4).unwrap(), false).unwrap();
    let a = Mat::new(&data[..9], 3, 3).unwrap();
    let view = MatMut::new(&mut c, 3, 4).unwrap();
    let refused = gemm_packed(GemmPacked { a, transpose_a: false, b: &packed, c: view, write, epilogue });
    assert!(
        matches!(
            refused,
            Err(ShapeError::Mismatch { what: "a product's rows of op(b), which are op(a)'s columns,", .. })
        ),
        "{refused:?}"
    );

    let batch = |c: &mut [f32], of_b: usize| {
        gemm_batched(GemmBatch {
            a: MatBatch::new(&data, 3, 2, 2).unwrap(),
            transpose_a: false,
            b: MatBatch::new(&data, of_b, 2, 2).unwrap(),
            transpose_b: false,
            c: MatBatchMut::new(c, 3, 2, 2).unwrap(),
            write,
            epilogue,
        })
    };
    let refused = batch(&mut c, 2);
    assert!(matches!(refused, Err(ShapeError::Mismatch { what: "matrices of b", .. })), "{refused:?}");
    // Outputs that overlap, or do not fit.
    assert!(MatBatchMut::strided(&mut c, (2, 2, 3), 3, 5).is_err());
    assert!(MatBatchMut::strided(&mut c, (3, 2, 3), 3, 6).is_err());
    assert!(MatBatch::strided(&data, (usize::MAX, 2, 2), 2, usize::MAX).is_err());

    let (first, second) = c.split_at_mut(6);
    let square = Mat::new(&data[..9], 3, 3).unwrap();
    let product = |c, cols| Gemm {
        a: square,
        transpose_a: false,
        b: Mat::new(&data[..3 * cols], 3, cols).unwrap(),
        transpose_b: false,
        c,
        write,
        epilogue,
    };
    let refused = gemm_grouped(&mut [
        product(MatMut::new(first, 3, 2).unwrap(), 2),
        product(MatMut::new(second, 2, 3).unwrap(), 3),
    ]);
    assert!(
        matches!(refused, Err(ShapeError::Mismatch { what: "a product's rows of c", .. })),
        "{refused:?}"
    );
    assert_eq!(c, [5.0; 12]);
}
