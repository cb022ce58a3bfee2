//! Products of factors in bf16 and f16 have the bits of products of the widened factors, in every layout, at every level and
//! for any number of workers. Memory ends at a guarded page.

mod common;

use common::{assert_same_bits, at_every_level, bits, same_on_any_workers, Numbers, PageEnd};
use upbeat_kernels::gemm::{gemm, gemm_stored, GemmStored, Stored};
use upbeat_kernels::{bf16, f16, Activation, Epilogue, Gemm, Mat, MatMut, ShapeError, Write};

#[test]
fn every_level() {
    at_every_level();
}

/// What a factor is stored in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    F32,
    Bf16,
    F16,
}

/// A factor as stored, and widened, `[rows, cols]` at a stride; both end at a page.
struct Factor {
    kind: Kind,
    wide: PageEnd<f32>,
    bf16: PageEnd<bf16>,
    f16: PageEnd<f16>,
    shape: (usize, usize, usize),
}

impl Factor {
    fn new(kind: Kind, (rows, cols): (usize, usize), gap: usize, seed: u64) -> Self {
        let stride = cols + gap;
        let len = if rows * cols == 0 { 0 } else { (rows - 1) * stride + cols };
        let numbers = Numbers::new(seed).vector(len);
        let bf16: Vec<bf16> = numbers.iter().map(|&x| bf16::from_f32(x)).collect();
        let f16: Vec<f16> = numbers.iter().map(|&x| f16::from_f32(x)).collect();
        let wide = match kind {
            Kind::F32 => numbers,
            Kind::Bf16 => bf16.iter().map(|x| x.to_f32()).collect(),
            Kind::F16 => f16.iter().map(|x| x.to_f32()).collect(),
        };
        let (wide, bf16, f16) = (PageEnd::copied(&wide), PageEnd::copied(&bf16), PageEnd::copied(&f16));
        Self { kind, wide, bf16, f16, shape: (rows, cols, stride) }
    }

    fn wide(&self) -> Mat<'_, f32> {
        let (rows, cols, stride) = self.shape;
        Mat::strided(&self.wide, rows, cols, stride).unwrap()
    }

    fn stored(&self) -> Stored<'_> {
        let (rows, cols, stride) = self.shape;
        match self.kind {
            Kind::F32 => self.wide().into(),
            Kind::Bf16 => Mat::strided(&self.bf16, rows, cols, stride).unwrap().into(),
            Kind::F16 => Mat::strided(&self.f16, rows, cols, stride).unwrap().into(),
        }
    }
}

#[test]
fn products_have_the_bits_of_widened_factors() {
    for (m, n, k) in [
        (0, 3, 4),
        (3, 0, 4),
        (2, 5, 0),
        (1, 1, 1),
        (1, 33, 400),
        (2, 16, 7),
        (3, 20, 65),
        (1, 48, 1000),
        (2, 300, 1000), // two tasks
        (2, 39, 390),
        (3, 50, 66),
        (8, 31, 385),
        (13, 65, 770),
        (33, 40, 9),
        (40, 17, 801),
        (70, 300, 65),
    ] {
        for (of_a, of_b) in [
            (Kind::F32, Kind::Bf16),
            (Kind::Bf16, Kind::Bf16),
            (Kind::F16, Kind::F16),
            (Kind::Bf16, Kind::F32),
            (Kind::F16, Kind::Bf16),
            (Kind::F32, Kind::F32),
        ] {
            for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
                let turned = |rows, cols, turn| if turn { (cols, rows) } else { (rows, cols) };
                let a = Factor::new(of_a, turned(m, k, transpose_a), m % 2, 1);
                let b = Factor::new(of_b, turned(k, n, transpose_b), n % 3, 2);
                let (bias, old) = (Numbers::new(3).vector(n), Numbers::new(4).vector(m * n));
                let activation = Activation::Relu;
                let epilogue = Epilogue { bias: Some(&bias), activation, ..Epilogue::default() };
                for (write, epilogue) in [(Write::Overwrite, epilogue), (Write::Add, Epilogue::default())] {
                    let (mut want, mut got) = (old.clone(), PageEnd::copied(&old));
                    let c = MatMut::new(&mut want, m, n).unwrap();
                    let (wide_a, wide_b) = (a.wide(), b.wide());
                    let product = Gemm { a: wide_a, transpose_a, b: wide_b, transpose_b, c, write, epilogue };
                    gemm(product).unwrap();
                    let c = MatMut::new(&mut got, m, n).unwrap();
                    let (a, b) = (a.stored(), b.stored());
                    gemm_stored(GemmStored { a, transpose_a, b, transpose_b, c, write, epilogue }).unwrap();
                    assert_same_bits(&got, &want, ((m, n, k), of_a, of_b, transpose_a, transpose_b, write));
                }
            }
        }
    }
}

/// NaN, infinities, the smallest and the largest numbers of each type are widened as they are.
#[test]
fn special_numbers_are_kept() {
    let one = [1.0f32];
    let product = |a: Stored<'_>, m| {
        let mut c = vec![9.0; m];
        gemm_stored(GemmStored {
            a,
            transpose_a: false,
            b: Mat::new(&one, 1, 1).unwrap().into(),
            transpose_b: true,
            c: MatMut::new(&mut c, m, 1).unwrap(),
            write: Write::Overwrite,
            epilogue: Epilogue::default(),
        })
        .unwrap();
        c
    };
    for m in [6, 40] {
        let bits: Vec<u16> = [0x0001, 0x8001, 0x7f80, 0xff80, 0x7f7f, 0x7fc1, 0x3f80, 0x0080].repeat(5);
        let x: Vec<bf16> = bits[..m].iter().map(|&x| bf16::from_bits(x)).collect();
        for (got, x) in product(Mat::new(&x, m, 1).unwrap().into(), m).iter().zip(&x) {
            assert!(*got == x.to_f32() || (got.is_nan() && x.is_nan()), "{got} is not {x}");
        }
        let bits: Vec<u16> = [0x0001, 0x8001, 0x7c00, 0xfc00, 0x7bff, 0x7e01, 0x3c00, 0x0400].repeat(5);
        let x: Vec<f16> = bits[..m].iter().map(|&x| f16::from_bits(x)).collect();
        for (got, x) in product(Mat::new(&x, m, 1).unwrap().into(), m).iter().zip(&x) {
            assert!(*got == x.to_f32() || (got.is_nan() && x.is_nan()), "{got} is not {x}");
        }
    }
}

#[test]
fn results_have_the_same_bits_for_any_number_of_workers() {
    same_on_any_workers("products", || {
        let mut results = Vec::new();
        for (m, n, k) in [(1, 900, 700), (8, 301, 900), (150, 200, 900), (40, 700, 100)] {
            for transpose_b in [false, true] {
                let shape = if transpose_b { (n, k) } else { (k, n) };
                let (a, b) = (Factor::new(Kind::Bf16, (m, k), 0, 8), Factor::new(Kind::Bf16, shape, 0, 9));
                let mut c = vec![f32::NAN; m * n];
                gemm_stored(GemmStored {
                    a: a.stored(),
                    transpose_a: false,
                    b: b.stored(),
                    transpose_b,
                    c: MatMut::new(&mut c, m, n).unwrap(),
                    write: Write::Overwrite,
                    epilogue: Epilogue::default(),
                })
                .unwrap();
                results.extend(c);
            }
        }
        bits(&results)
    });
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let (x, mut c) = ([bf16::ONE; 12], [5.0f32; 6]);
    for (of_b, of_c) in [((4, 3), (2, 3)), ((3, 3), (2, 2)), ((3, 2), (3, 2))] {
        let refused = gemm_stored(GemmStored {
            a: Mat::new(&x[..6], 2, 3).unwrap().into(),
            transpose_a: false,
            b: Mat::new(&x[..of_b.0 * of_b.1], of_b.0, of_b.1).unwrap().into(),
            transpose_b: false,
            c: MatMut::new(&mut c[..of_c.0 * of_c.1], of_c.0, of_c.1).unwrap(),
            write: Write::Overwrite,
            epilogue: Epilogue::default(),
        });
        assert!(matches!(refused, Err(ShapeError::Mismatch { .. })), "{refused:?}");
    }
    assert_eq!(c, [5.0; 6]);
}
