//! Products of numbers of few bits, f32 out: bf16 and 8-bit integers with scales.

use std::sync::Mutex;

use upbeat_kernels::gemm::quantized::{dequantize, quantize_rows, Quantized};
use upbeat_kernels::gemm::{gemm_int8, gemm_stored, GemmInt8, GemmStored};
use upbeat_kernels::{bf16, Buffer, Epilogue, Mat, MatMut, Write};

use super::{near, numbers, samples, With};
use crate::case::{Case, Goal, Sizes};
use crate::limits::Bound;

/// A factor `[rows, k]` in bf16 and in 8 bits with a scale a row, and what these are in f32.
struct Factor {
    shape: (usize, usize),
    rounded: Vec<bf16>,
    integers: (Vec<i8>, Vec<f32>),
    widened: [Vec<f32>; 2],
}

impl Factor {
    fn new(rows: usize, k: usize, seed: u32) -> Self {
        let exact = numbers(rows * k, seed);
        let rounded: Vec<bf16> = exact.iter().map(|&x| bf16::from_f32(x)).collect();
        let (mut values, mut scales) = (vec![0; rows * k], vec![0.0; rows]);
        let exact = Mat::new(&exact, rows, k).expect("the factor fits");
        quantize_rows(exact, None, &mut values, &mut scales).expect("the numbers are finite");
        let mut factor =
            Self { shape: (rows, k), rounded, integers: (values, scales), widened: Default::default() };
        let mut dequantized = vec![0.0; rows * k];
        let out = MatMut::new(&mut dequantized, rows, k).expect("the factor fits");
        dequantize(factor.int8(), out).expect("the shapes are one");
        factor.widened = [factor.rounded.iter().map(|x| x.to_f32()).collect(), dequantized];
        factor
    }

    fn bf16(&self) -> Mat<'_, bf16> {
        Mat::new(&self.rounded, self.shape.0, self.shape.1).expect("the factor fits")
    }

    fn int8(&self) -> Quantized<'_> {
        let (values, scales) = &self.integers;
        let values = Mat::new(values, self.shape.0, self.shape.1).expect("the factor fits");
        Quantized::new(values, scales, None).expect("a scale a row")
    }
}

/// Both factors `[size, size]`, B stored transposed.
struct Square {
    size: usize,
    a: Factor,
    b: Factor,
}

impl Square {
    fn bf16(&self, c: &mut [f32]) {
        gemm_stored(GemmStored {
            a: self.a.bf16().into(),
            transpose_a: false,
            b: self.b.bf16().into(),
            transpose_b: true,
            c: MatMut::new(c, self.size, self.size).expect("C fits"),
            write: Write::Overwrite,
            epilogue: Epilogue::default(),
        })
        .expect("the shapes fit");
    }

    fn int8(&self, c: &mut [f32]) {
        gemm_int8(GemmInt8 {
            a: self.a.int8(),
            b: self.b.int8(),
            c: MatMut::new(c, self.size, self.size).expect("C fits"),
            epilogue: Epilogue::default(),
        })
        .expect("the shapes fit");
    }

    /// `which` of the widened factors was multiplied.
    fn check(&self, which: usize, c: &[f32]) {
        let k = self.size;
        for at in samples(k * k) {
            let rows = (&self.a.widened[which][at / k * k..][..k], &self.b.widened[which][at % k * k..][..k]);
            let terms = rows.0.iter().zip(rows.1).map(|(&a, &b)| f64::from(a) * f64::from(b));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
            let bound = 2.0 * (k + 2) as f64 * 2f64.powi(-24) * (size + 1.0);
            near(c[at], sum, bound, "an element of a product of low precision");
        }
    }
}

/// The rows of the design's table.
pub(super) fn cases(sizes: Sizes, with: With<'_>) {
    for size in sizes.pick(vec![40], vec![512, 1024, 2048]) {
        let square = Square { size, a: Factor::new(size, size, 1), b: Factor::new(size, size, 2) };
        let c = Mutex::new(Buffer::zeroed(size * size));
        let lock = || c.lock().expect("no product panics");
        let mut row = |name: &str, bound, goal, run: fn(&Square, &mut [f32]), which| {
            with(Case {
                group: "low-precision",
                work: format!("{name} {size} x {size} x {size}"),
                bound,
                amount: 2.0 * (size * size * size) as f64,
                goal,
                run: Box::new(|| run(&square, &mut lock())),
                check: Box::new(|| square.check(which, &lock())),
                peer: None,
            });
        };
        row("bf16", Bound::Bf16, Goal::limit(0.92, 0.92).and_peer(1.05), Square::bf16, 0);
        row("int8", Bound::Integers, Goal::limit(0.8, 0.8), Square::int8, 1);
    }
}
