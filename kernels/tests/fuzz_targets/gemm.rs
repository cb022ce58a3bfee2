//! Products of any small shape, strides, transposition and epilogue beside the f64 twin, within the bound of rounding; slices that are too short
//! and shapes that do not fit are refused and write nothing, and what lies between the rows of C is not touched.

use upbeat_kernels::gemm::gemm;
use upbeat_kernels::{Activation, Element, Epilogue, Gemm, Mat, MatMut, Write};

use super::{wide, Bytes};

/// A matrix as it is stored: its data, rows, columns and stride.
struct Stored {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl Stored {
    /// As needed, or, once in a while, off by one somewhere.
    fn new(bytes: &mut Bytes<'_>, rows: usize, cols: usize, transposed: bool, scale: f32) -> Self {
        let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
        let stride = cols + bytes.of(&[0, 0, 0, 1, 3, 17]);
        let needed = if rows == 0 { 0 } else { (rows - 1) * stride + cols };
        let spare = bytes.of(&[0, 0, 1, 7]);
        let mut data = bytes.numbers(needed + spare);
        data.iter_mut().for_each(|x| *x *= scale);
        match bytes.byte() {
            1 => data.truncate(needed.saturating_sub(1)),
            2 => return Self { data, rows: rows + 1, cols, stride },
            3 => return Self { data, rows, cols: cols + 1, stride },
            4 => return Self { data, rows, cols, stride: stride.saturating_sub(1) },
            5 => return Self { data, rows, cols, stride: usize::MAX / 2 },
            _ => {}
        }
        Self { data, rows, cols, stride }
    }
}

fn absolute(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x.abs())).collect()
}

/// The target.
pub(crate) fn run(data: &[u8]) {
    let bytes = &mut Bytes::new(data);
    let lengths = [0, 1, 2, 3, 5, 6, 7, 8, 9, 15, 16, 17, 24, 31, 33, 48, 65, 100];
    let (m, n, k) = (bytes.of(&lengths), bytes.of(&lengths), bytes.of(&[0, 1, 2, 4, 5, 13, 64, 130, 400]));
    let (transpose_a, transpose_b) = (bytes.below(2) == 1, bytes.below(2) == 1);
    let write = bytes.of(&[Write::Overwrite, Write::Add]);
    let activation = bytes.of(&[Activation::Identity, Activation::Relu, Activation::Gelu, Activation::Silu]);
    let factor = bytes.of(&[1.0f32, 1.0, 1e-3, 30.0]);
    let a = Stored::new(bytes, m, k, transpose_a, factor);
    let b = Stored::new(bytes, k, n, transpose_b, 1.0);
    let c = Stored::new(bytes, m, n, false, 1.0);
    let residual = (bytes.below(3) == 0).then(|| Stored::new(bytes, m, n, false, 1.0));
    let bias = match bytes.below(4) {
        0 => Some(bytes.numbers(n)),
        1 if bytes.below(8) == 0 => Some(bytes.numbers(n + 1)),
        _ => None,
    };
    let scale = bytes.of(&[None, None, Some(0.5f32), Some(-3.0)]);

    let mut found = c.data.clone();
    let result = (|| {
        gemm(Gemm {
            a: Mat::strided(&a.data, a.rows, a.cols, a.stride)?,
            transpose_a,
            b: Mat::strided(&b.data, b.rows, b.cols, b.stride)?,
            transpose_b,
            c: MatMut::strided(&mut found, c.rows, c.cols, c.stride)?,
            write,
            epilogue: Epilogue {
                scale,
                bias: bias.as_deref(),
                activation,
                residual: match &residual {
                    Some(x) => Some(Mat::strided(&x.data, x.rows, x.cols, x.stride)?),
                    None => None,
                },
            },
        })
    })();
    if result.is_err() {
        assert!(found.iter().zip(&c.data).all(|(x, y)| x.to_bits() == y.to_bits()), "an error that wrote");
        return;
    }

    // The twin, and the same with absolute values and no activation, which is what roundings are relative to.
    let product = |a_data: &[f64], b_data: &[f64], c_data: &mut Vec<f64>, sizes: bool| {
        let bias = bias.as_deref().map(|x| if sizes { absolute(x) } else { wide(x) });
        let residual_data = residual.as_ref().map(|x| if sizes { absolute(&x.data) } else { wide(&x.data) });
        f64::gemm(Gemm {
            a: Mat::strided(a_data, a.rows, a.cols, a.stride)?,
            transpose_a,
            b: Mat::strided(b_data, b.rows, b.cols, b.stride)?,
            transpose_b,
            c: MatMut::strided(c_data, c.rows, c.cols, c.stride)?,
            write,
            epilogue: Epilogue {
                scale: scale.map(|x| if sizes { f64::from(x.abs()) } else { f64::from(x) }),
                bias: bias.as_deref(),
                activation: if sizes { Activation::Identity } else { activation },
                residual: match (&residual, &residual_data) {
                    (Some(x), Some(data)) => Some(Mat::strided(data, x.rows, x.cols, x.stride)?),
                    _ => None,
                },
            },
        })
    };
    let (mut expected, mut sizes) = (wide(&c.data), absolute(&c.data));
    product(&wide(&a.data), &wide(&b.data), &mut expected, false)
        .expect("the twin takes what the kernel takes");
    product(&absolute(&a.data), &absolute(&b.data), &mut sizes, true).expect("the twin takes it");
    let bound = f64::from(f32::EPSILON) * (k as f64 + 16.0);
    for (i, (&found, &before)) in found.iter().zip(&c.data).enumerate() {
        let (row, col) = (i / c.stride.max(1), i % c.stride.max(1));
        if row >= c.rows || col >= c.cols {
            assert_eq!(found.to_bits(), before.to_bits(), "{m}x{n}x{k}: element {i} is not C's");
            continue;
        }
        let error = (f64::from(found) - expected[i]).abs();
        assert!(
            error <= bound * (sizes[i] + f64::from(f32::MIN_POSITIVE)),
            "{m}x{n}x{k}, element ({row}, {col}): {found} where the twin has {}",
            expected[i]
        );
    }
}
