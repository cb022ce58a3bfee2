//! Products of factors in bf16 and f16 have the bits of products of the widened factors, or, two in bf16, those of the unit that
//! multiplies them, in every layout, at every level and for any number of workers. Memory ends at a guarded page.

mod common;

use common::{
    assert_same_bits, at_every_level, bits, is_child, passes_with, same_on_any_workers, Numbers, PageEnd,
};
use upbeat_kernels::gemm::{gemm, gemm_stored, GemmStored, Stored};
use upbeat_kernels::simd::pairs::Unit;
use upbeat_kernels::{
    bf16, f16, Activation, Buffer, Element, Epilogue, Gemm, Isa, Mat, MatMut, ShapeError, Write,
};

#[test]
fn every_level() {
    at_every_level();
}

#[test]
fn every_unit() {
    if is_child() {
        return;
    }
    let has = |unit: Unit| unit == Unit::Twin || (Isa::active() == Isa::Avx512 && unit.is_supported());
    let others = Unit::ALL.into_iter().filter(|&unit| has(unit) && Some(unit) != Unit::active());
    others.map(Unit::name).chain(["f32"]).for_each(|name| passes_with("UPBEAT_BF16", name));
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
                    match Unit::active().filter(|_| (of_a, of_b) == (Kind::Bf16, Kind::Bf16) && k >= 16) {
                        None => gemm(product).unwrap(),
                        Some(unit) => by_pairs(unit, product),
                    }
                    let c = MatMut::new(&mut got, m, n).unwrap();
                    let (a, b) = (a.stored(), b.stored());
                    gemm_stored(GemmStored { a, transpose_a, b, transpose_b, c, write, epilogue }).unwrap();
                    assert_same_bits(&got, &want, ((m, n, k), of_a, of_b, transpose_a, transpose_b, write));
                }
            }
        }
    }
}

/// What the unit makes of a product of numbers in bf16, here widened. The epilogue is a bias, ReLU where C is overwritten, and a residual.
fn by_pairs(unit: Unit, product: Gemm<'_, f32>) {
    let Gemm { a, transpose_a, b, transpose_b, mut c, write, epilogue } = product;
    let at =
        |x: &Mat<'_, f32>, i: usize, j: usize, turned: bool| if turned { x.row(j)[i] } else { x.row(i)[j] };
    let k = if transpose_a { a.rows() } else { a.cols() };
    for i in 0..c.rows() {
        for j in 0..c.cols() {
            let row: Vec<f32> = (0..k).map(|p| at(&a, i, p, transpose_a)).collect();
            let column: Vec<f32> = (0..k).map(|p| at(&b, p, j, transpose_b)).collect();
            let old = if write == Write::Add { c.row_mut(i)[j] } else { 0.0 };
            let sum = match unit {
                Unit::Amx | Unit::Twin => in_tiles(&row, &column, old),
                Unit::Dots => alone(&row, &column, old),
            };
            let mut x = epilogue.bias.map_or(sum, |bias| sum + bias[j]);
            if epilogue.activation == Activation::Relu {
                x = x.max(0.0);
            }
            c.row_mut(i)[j] = epilogue.residual.map_or(x, |residual| x + residual.row(i)[j]);
        }
    }
}

/// An element as Intel describes `TDPBF16PS`: even and odd numbers apart, 32 at a time, without subnormal numbers.
fn in_tiles(row: &[f32], column: &[f32], old: f32) -> f32 {
    let flushed = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    row.chunks(32).zip(column.chunks(32)).fold(flushed(old), |sum, (row, column)| {
        let mut parts = [0f32; 2];
        for (p, (x, y)) in row.iter().zip(column).enumerate() {
            parts[p % 2] = flushed(x.mul_add(*y, parts[p % 2]));
        }
        flushed(sum + flushed(parts[0] + parts[1]))
    })
}

/// An element as a product of a row and a column alone: manufacturers describe their dot products differently, so its bits are no
/// one's, but it must be near the exact sum.
fn alone(row: &[f32], column: &[f32], old: f32) -> f32 {
    let [a, b] = [row, column].map(|x| x.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>());
    let mut c = [old];
    gemm_stored(GemmStored {
        a: Mat::new(&a, 1, a.len()).unwrap().into(),
        transpose_a: false,
        b: Mat::new(&b, 1, b.len()).unwrap().into(),
        transpose_b: true,
        c: MatMut::new(&mut c, 1, 1).unwrap(),
        write: Write::Add,
        epilogue: Epilogue::default(),
    })
    .unwrap();
    let terms = row.iter().zip(column).map(|(&x, &y)| f64::from(x) * f64::from(y));
    let (exact, size) = terms.fold((f64::from(old), 0.0), |(sum, size), x| (sum + x, size + x.abs()));
    let bound = (row.len() as f64 + 2.0) * 2f64.powi(-24) * (size + f64::from(old).abs());
    assert!((f64::from(c[0]) - exact).abs() <= bound, "{} is not {exact}", c[0]);
    c[0]
}

/// Several tasks down and across, C so large that its tiles are computed beside, sums that begin with C, and all that follows them. What
/// is packed lies in memory that held NaN before.
#[test]
fn large_results_and_their_epilogues() {
    if is_child() && Unit::active() == Some(Unit::Dots) {
        return; // An element alone is all that these could be compared with.
    }
    for (m, n, k) in [(33, 1100, 40), (290, 1030, 33), (40, 27_000, 17), (1, 1100, 530)] {
        for (transpose_a, transpose_b) in [(false, true), (true, false)] {
            let turned = |rows, cols, turn| if turn { (cols, rows) } else { (rows, cols) };
            let a = Factor::new(Kind::Bf16, turned(m, k, transpose_a), 1, 21);
            let b = Factor::new(Kind::Bf16, turned(k, n, transpose_b), 2, 22);
            let (bias, rest) = (Numbers::new(23).vector(n), Numbers::new(24).vector(m * n));
            let residual = Some(Mat::new(&rest, m, n).unwrap());
            for (write, activation) in
                [(Write::Overwrite, Activation::Relu), (Write::Add, Activation::Identity)]
            {
                let epilogue = Epilogue { scale: None, bias: Some(&bias), activation, residual };
                let (mut want, mut got) = (rest.clone(), rest.clone());
                let c = MatMut::new(&mut want, m, n).unwrap();
                let product = Gemm { a: a.wide(), transpose_a, b: b.wide(), transpose_b, c, write, epilogue };
                match Unit::active() {
                    None => gemm(product).unwrap(),
                    Some(unit) => by_pairs(unit, product),
                }
                for bytes in [1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22] {
                    Buffer::<f32>::unspecified(bytes / 4).fill(f32::NAN);
                }
                let c = MatMut::new(&mut got, m, n).unwrap();
                let (a, b) = (a.stored(), b.stored());
                gemm_stored(GemmStored { a, transpose_a, b, transpose_b, c, write, epilogue }).unwrap();
                assert_same_bits(&got, &want, ((m, n, k), transpose_a, transpose_b, write));
            }
        }
    }
}

/// What is not finite stays in its row and its column.
#[test]
fn numbers_that_are_not_finite_spoil_their_elements_alone() {
    for m in [3, 40] {
        let (n, k) = (35, 50);
        let mut a = vec![bf16::ONE; m * k];
        let b = vec![bf16::ONE; n * k];
        (a[k + 7], a[2 * k + 49]) = (bf16::NAN, bf16::INFINITY);
        let mut c = vec![0.0; m * n];
        gemm_stored(GemmStored {
            a: Mat::new(&a, m, k).unwrap().into(),
            transpose_a: false,
            b: Mat::new(&b, n, k).unwrap().into(),
            transpose_b: true,
            c: MatMut::new(&mut c, m, n).unwrap(),
            write: Write::Overwrite,
            epilogue: Epilogue::default(),
        })
        .unwrap();
        for (i, row) in c.chunks(n).enumerate() {
            let right = |x: &f32| match i {
                1 => x.is_nan(),
                2 => *x == f32::INFINITY,
                _ => *x == k as f32,
            };
            assert!(row.iter().all(right), "row {i} of {m}: {row:?}");
        }
    }
}

/// C in bf16 is C in f32, rounded; what is added to it is widened before.
#[test]
fn a_result_in_bf16_is_rounded_once() {
    for (m, n, k) in [(1, 70, 40), (7, 33, 100), (40, 65, 513), (300, 40, 7), (3, 4, 0)] {
        for (transpose_a, transpose_b, gap) in
            [(false, true, 0), (false, false, 3), (true, false, 0), (true, true, 5)]
        {
            let turned = |rows, cols, turn| if turn { (cols, rows) } else { (rows, cols) };
            let a = Factor::new(Kind::Bf16, turned(m, k, transpose_a), gap, 11);
            let b = Factor::new(Kind::Bf16, turned(k, n, transpose_b), gap, 12);
            let (Stored::Bf16(of_a), Stored::Bf16(of_b)) = (a.stored(), b.stored()) else { unreachable!() };
            let bias: Vec<bf16> = Numbers::new(13).vector(n).into_iter().map(bf16::from_f32).collect();
            let wide_bias: Vec<f32> = bias.iter().map(|x| x.to_f32()).collect();
            let stride = n + gap;
            let old: Vec<bf16> =
                Numbers::new(14).vector(m * stride).into_iter().map(bf16::from_f32).collect();
            for (write, activation, scale) in [
                (Write::Overwrite, Activation::Silu, Some(0.5)),
                (Write::Add, Activation::Identity, None),
                (Write::Add, Activation::Relu, Some(2.0)),
            ] {
                let mut got = old.clone();
                let scale_stored = scale.map(bf16::from_f32);
                let c = MatMut::strided(&mut got, m, n, stride).unwrap();
                let epilogue =
                    Epilogue { bias: Some(&bias), scale: scale_stored, activation, residual: None };
                bf16::gemm(Gemm { a: of_a, transpose_a, b: of_b, transpose_b, c, write, epilogue }).unwrap();
                let mut want: Vec<f32> = old.iter().map(|x| x.to_f32()).collect();
                let c = MatMut::strided(&mut want, m, n, stride).unwrap();
                let epilogue = Epilogue { bias: Some(&wide_bias), scale, activation, residual: None };
                let (a, b) = (a.stored(), b.stored());
                gemm_stored(GemmStored { a, transpose_a, b, transpose_b, c, write, epilogue }).unwrap();
                for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                    let context = ((m, n, k), write, activation, i);
                    assert_eq!(got.to_bits(), bf16::from_f32(*want).to_bits(), "{context:?}");
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
