//! Products of matrices beside their twin in f64.

mod support;

use support::{device, numbers};
use upbeat_kernels::{Activation, Element, Mat, MatMut, Write};
use upbeat_vulkan::{Buffer, Device, Epilogue, Gemm, Matrix};

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// What a product is made of, on the host.
struct Case {
    m: usize,
    n: usize,
    k: usize,
    transpose: (bool, bool),
    activation: Activation,
    extras: bool,
    write: Write,
}

impl Case {
    fn plain(m: usize, n: usize, k: usize) -> Self {
        let (activation, write) = (Activation::Identity, Write::Overwrite);
        Self { m, n, k, transpose: (false, false), activation, extras: false, write }
    }

    /// Runs both and compares. Errors of f32 sums grow with the sum of magnitudes, at most `k + 4` roundings of it.
    fn check(&self, device: &Device) {
        let &Self { m, n, k, transpose: (ta, tb), activation, extras, write } = self;
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (bias, residual, c) = (numbers(n, 3), numbers(m * n, 4), numbers(m * n, 5));
        let scale = if extras { 0.75 } else { 1.0 };
        let shape_a = if ta { (k, m) } else { (m, k) };
        let shape_b = if tb { (n, k) } else { (k, n) };

        let on = |x: &[f32]| device.upload(x).unwrap();
        let (da, db, dc, dbias, dresidual) = (on(&a), on(&b), on(&c), on(&bias), on(&residual));
        let mut commands = device.commands();
        commands
            .gemm(Gemm {
                a: Matrix::new(&da, shape_a.0, shape_a.1).unwrap(),
                transpose_a: ta,
                b: Matrix::new(&db, shape_b.0, shape_b.1).unwrap(),
                transpose_b: tb,
                c: Matrix::new(&dc, m, n).unwrap(),
                write,
                epilogue: Epilogue {
                    scale,
                    bias: extras.then_some(&dbias),
                    activation,
                    residual: extras.then(|| Matrix::new(&dresidual, m, n).unwrap()),
                },
            })
            .unwrap();
        commands.submit().unwrap().wait().unwrap();

        let (wa, wb, wbias, wresidual) = (wide(&a), wide(&b), wide(&bias), wide(&residual));
        let mut expected = wide(&c);
        <f64 as Element>::gemm(upbeat_kernels::Gemm {
            a: Mat::new(&wa, shape_a.0, shape_a.1).unwrap(),
            transpose_a: ta,
            b: Mat::new(&wb, shape_b.0, shape_b.1).unwrap(),
            transpose_b: tb,
            c: MatMut::new(&mut expected, m, n).unwrap(),
            write,
            epilogue: upbeat_kernels::Epilogue {
                scale: extras.then_some(f64::from(scale)),
                bias: extras.then_some(&wbias[..]),
                activation,
                residual: extras.then(|| Mat::new(&wresidual, m, n).unwrap()),
            },
        })
        .unwrap();
        // Numbers are below 1, so k products sum to k at most; activations bend by 1.13 at most and err by 1e-6 themselves.
        let bound = 2e-6 + 1.2 * (k as f64 + 8.0) * f64::from(f32::EPSILON) * (k as f64).sqrt().max(2.0);
        let what = format!("{m} x {n} x {k}, {ta} {tb}, {activation:?}, extras {extras}, {write:?}");
        support::assert_close(&what, &dc.to_vec().unwrap(), &expected, bound, 1e-6);
    }
}

/// Few rows and many, tiles of 64 x 128 x 16 just filled and just not, nothing at all.
const SHAPES: [(usize, usize, usize); 18] = [
    (0, 5, 5),
    (5, 0, 5),
    (5, 5, 0),
    (1, 1, 1),
    (1, 33, 129),
    (1, 257, 1000),
    (3, 31, 64),
    (4, 128, 127),
    (5, 1, 300),
    (5, 7, 9),
    (63, 127, 15),
    (64, 128, 16),
    (65, 129, 17),
    (100, 200, 50),
    (128, 64, 333),
    (200, 300, 70),
    (1, 100_000, 3),
    (70_000, 3, 2),
];

#[test]
fn products_of_all_shapes_and_transposes_agree_with_the_twin() {
    let Some(device) = device() else { return };
    for (m, n, k) in SHAPES {
        for transpose in [(false, false), (true, false), (false, true), (true, true)] {
            Case { transpose, ..Case::plain(m, n, k) }.check(&device);
        }
    }
}

#[test]
fn epilogues_agree_with_the_twin() {
    let Some(device) = device() else { return };
    use Activation::{Gelu, GeluTanh, Identity, Relu, Silu};
    for (m, n, k) in [(2, 50, 33), (70, 130, 40)] {
        for activation in [Identity, Gelu, GeluTanh, Silu, Relu] {
            for write in [Write::Overwrite, Write::Add] {
                for extras in [false, true] {
                    Case { activation, write, extras, ..Case::plain(m, n, k) }.check(&device);
                }
            }
        }
    }
}

#[test]
fn strides_leave_what_lies_between_rows_alone() {
    let Some(device) = device() else { return };
    for m in [3, 40] {
        let (n, k) = (20, 30);
        let (a, b) = (numbers(m * 50, 1), numbers(k * 25, 2));
        let (da, db) = (device.upload(&a).unwrap(), device.upload(&b).unwrap());
        let c = device.upload(&vec![7.0_f32; m * 22]).unwrap();
        let mut commands = device.commands();
        commands
            .gemm(Gemm {
                a: Matrix::strided(&da, m, k, 50).unwrap(),
                transpose_a: false,
                b: Matrix::strided(&db, k, n, 25).unwrap(),
                transpose_b: false,
                c: Matrix::strided(&c, m, n, 22).unwrap(),
                write: Write::Overwrite,
                epilogue: Epilogue {
                    residual: Some(Matrix::strided(&c, m, n, 22).unwrap()),
                    ..Epilogue::default()
                },
            })
            .unwrap();
        commands.submit().unwrap().wait().unwrap();
        for (i, found) in c.to_vec().unwrap().into_iter().enumerate() {
            let (r, col) = (i / 22, i % 22);
            let product: f64 =
                (0..k).map(|d| f64::from(a[r * 50 + d]) * f64::from(b[d * 25 + col.min(19)])).sum();
            let expected = if col < n { 7.0 + product } else { 7.0 };
            assert!((f64::from(found) - expected).abs() < 2e-5, "[{r}, {col}] is {found}, not {expected}");
        }
    }
}

#[test]
fn old_numbers_are_not_read_when_overwritten_and_nan_stays_in_its_row() {
    let Some(device) = device() else { return };
    for m in [2, 10] {
        let mut a = vec![1.0_f32; m * 40];
        a[45] = f32::NAN;
        let (da, db) = (device.upload(&a).unwrap(), device.upload(&vec![1.0_f32; 40 * 8]).unwrap());
        let c = device.upload(&vec![f32::NAN; m * 8]).unwrap();
        let mut commands = device.commands();
        commands.gemm(product(&da, &db, &c, (m, 8, 40))).unwrap();
        commands.submit().unwrap().wait().unwrap();
        for (i, found) in c.to_vec().unwrap().into_iter().enumerate() {
            assert!(if i / 8 == 1 { found.is_nan() } else { found == 40.0 }, "[{i}] is {found}");
        }
    }
}

fn product<'a>(
    a: &'a Buffer<f32>,
    b: &'a Buffer<f32>,
    c: &'a Buffer<f32>,
    (m, n, k): (usize, usize, usize),
) -> Gemm<'a> {
    Gemm {
        a: Matrix::new(a, m, k).unwrap(),
        transpose_a: false,
        b: Matrix::new(b, k, n).unwrap(),
        transpose_b: false,
        c: Matrix::new(c, m, n).unwrap(),
        write: Write::Overwrite,
        epilogue: Epilogue::default(),
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let Some(device) = device() else { return };
    let on = |len: usize| device.upload(&vec![1.0_f32; len]).unwrap();
    let (a, b, c) = (on(6), on(12), on(8));
    let told = |gemm: Gemm<'_>| device.commands().gemm(gemm).err().expect("it is refused").to_string();
    let right = product(&a, &b, &c, (2, 4, 3));
    assert_eq!(told(Gemm { transpose_a: true, ..right }), "rows of op(B) must be 2 but is 3");
    assert_eq!(told(Gemm { transpose_b: true, ..right }), "rows of op(B) must be 3 but is 4");
    assert_eq!(told(Gemm { c: Matrix::new(&c, 4, 2).unwrap(), ..right }), "rows of C must be 2 but is 4");
    assert_eq!(
        told(Gemm { epilogue: Epilogue { bias: Some(&a), ..right.epilogue }, ..right }),
        "the length of the bias must be 4 but is 6"
    );
    let square = on(9);
    assert!(told(product(&square, &square, &square, (3, 3, 3))).starts_with("gemv: what is written overlaps"));
    assert_eq!(Matrix::new(&a, 2, 4).unwrap_err().to_string(), "the length of a matrix must be 8 but is 6");
    assert!(Matrix::strided(&a, 2, 4, 3).is_err() && Matrix::strided(&a, 3, 2, 3).is_err());
    assert!(Matrix::strided(&a, 2, 2, 4).is_ok(), "the last row may end before its stride does");
}
