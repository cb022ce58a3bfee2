//! Matrix products beside their f64 twin.

#[path = "support/product.rs"]
mod product;
mod support;

use product::{check, epilogues, exact, exact_in_all_ways, Case, TRANSPOSES};
use support::{device, shapes, Gpu};
use upbeat_kernels::{Activation, ShapeError, Write};
use upbeat_vulkan::tuning::Tunable;
use upbeat_vulkan::{f16, Epilogue, Gemm, Matrix, VulkanError};

/// `[m, k, n]`: none, one, and what does not fill a tile, a row of lanes or a four; for few rows and for many.
const SHAPES: [[usize; 3]; 22] = [
    [0, 3, 4],
    [3, 4, 0],
    [3, 0, 5],
    [20, 0, 40],
    [1, 1, 1],
    [1, 5, 3],
    [1, 128, 4],
    [1, 1000, 37],
    [2, 7, 33],
    [3, 129, 64],
    [5, 516, 31],
    [8, 64, 32],
    [8, 257, 5],
    [9, 1, 1],
    [9, 32, 64],
    [31, 33, 65],
    [33, 31, 17],
    [64, 16, 64],
    [65, 100, 129],
    [130, 40, 36],
    [257, 19, 1],
    [515, 17, 516],
];

#[test]
fn whole_numbers_give_the_twins_bits() {
    let Some(device) = device() else { return };
    exact_in_all_ways::<f32, f32>(&device, &SHAPES, &[0, 1, 4]);
}

#[test]
fn large_products_go_through_wide_tiles() {
    let Some(device) = device() else { return };
    for (transpose, n) in TRANSPOSES.into_iter().zip([1500, 1404, 1412, 1499]) {
        let shape = [1501, 9, n];
        exact::<f32, f32>(&device, &Case { shape, transpose, ..Case::plain(0, 0, 0) });
    }
    // And long sums.
    check::<f32, f32>(&device, &Case::plain(40, 5000, 70));
    check::<f32, f32>(&device, &Case { transpose: [false, true], ..Case::plain(1, 20_000, 70) });
    check::<f32, f32>(&device, &Case::plain(4, 20_000, 70));
}

#[test]
fn epilogues_are_the_twins() {
    let Some(device) = device() else { return };
    for shape in [[1, 30, 50], [6, 300, 20], [40, 65, 70], [3, 0, 9], [12, 0, 9]] {
        for case in epilogues(shape, |_| 1) {
            check::<f32, f32>(&device, &case);
        }
    }
}

#[test]
fn factors_of_16_bits_are_summed_in_32() {
    let Some(device) = device() else { return };
    if !device.limits().f16_storage {
        eprintln!("SKIPPED: the device does not store 16-bit floats");
        return;
    }
    for (at, shape) in SHAPES.into_iter().enumerate() {
        for (transpose, gap) in TRANSPOSES.into_iter().zip([0, 1, 4, 2]).skip(at % 2).step_by(2) {
            let case = Case { shape, transpose, gap, ..Case::plain(0, 0, 0) };
            exact::<f32, f16>(&device, &case);
            exact::<f16, f16>(&device, &case);
            let activation = Activation::Silu;
            let case = Case { bias: true, residual: true, activation, scale: 3.0, ..case };
            check::<f32, f16>(&device, &case);
        }
    }
    for shape in [[3, 33, 12], [12, 33, 12]] {
        check::<f16, f16>(&device, &Case { shape, ..Case::plain(0, 0, 0) });
        check::<f16, f32>(&device, &Case { shape, ..Case::plain(0, 0, 0) });
    }
}

/// What a table may choose is as right as what kernels take by themselves. A CPU that stands in for a GPU takes tiles by the rows alone; a
/// GPU takes the lowest for all but the last two shapes.
#[test]
fn every_tile_gives_the_twins_bits() {
    let Some(device) = device() else { return };
    use Tunable::{GemmF16Low, GemmF16Middle, GemmF16Wide, GemmLow, GemmMiddle, GemmWide};
    let shapes_of =
        |rows: std::ops::RangeInclusive<usize>| SHAPES.into_iter().filter(move |[m, ..]| rows.contains(m));
    let wide: Vec<_> = shapes_of(65..=600).chain([[70, 37, 90], [1501, 5, 1404]]).collect();
    let middle: Vec<_> = shapes_of(33..=64).chain([[40, 37, 90], [601, 9, 603]]).collect();
    let low: Vec<_> = shapes_of(9..=32).chain([[20, 37, 90], [30, 64, 129]]).collect();
    for (tunable, of_f16, of_size) in
        [(GemmWide, GemmF16Wide, wide), (GemmMiddle, GemmF16Middle, middle), (GemmLow, GemmF16Low, low)]
    {
        for (what, device) in shapes(&device, tunable) {
            eprintln!("{what}");
            for (at, &shape) in of_size.iter().enumerate() {
                for (turn, transpose) in TRANSPOSES.into_iter().enumerate() {
                    let write = if turn % 2 == 0 { Write::Add } else { Write::Overwrite };
                    let case = Case { shape, transpose, gap: at % 2, write, ..Case::plain(0, 0, 0) };
                    exact::<f32, f32>(&device, &case);
                }
                let case = Case { shape, transpose: TRANSPOSES[at % 4], ..Case::plain(0, 0, 0) };
                check::<f32, f32>(&device, &Case { bias: true, residual: true, ..case });
            }
        }
        if device.limits().f16_storage {
            for (what, device) in shapes(&device, of_f16) {
                eprintln!("{what}");
                for (at, &shape) in of_size.iter().enumerate() {
                    let case =
                        Case { shape, transpose: TRANSPOSES[at % 4], gap: at % 2, ..Case::plain(0, 0, 0) };
                    exact::<f32, f16>(&device, &case);
                }
            }
        }
    }
}

#[test]
fn every_way_of_sharing_few_rows_gives_the_twins_bits() {
    let Some(device) = device() else { return };
    use Tunable::{FewRows, Gemv, GemvF16, GemvF16Transposed, GemvTransposed};
    for (tunable, of_f16, transpose_b) in
        [(Gemv, GemvF16, false), (GemvTransposed, GemvF16Transposed, true), (FewRows, FewRows, true)]
    {
        for (what, device) in shapes(&device, tunable) {
            eprintln!("{what}");
            for (at, shape) in SHAPES.into_iter().filter(|[m, ..]| *m <= 9).enumerate() {
                let transpose = [at % 3 == 0, transpose_b];
                let case = Case { shape, transpose, gap: at % 2, ..Case::plain(0, 0, 0) };
                exact::<f32, f32>(&device, &case);
                check::<f32, f32>(&device, &Case { bias: true, residual: true, ..case });
            }
            let transpose = [false, transpose_b];
            check::<f32, f32>(&device, &Case { transpose, ..Case::plain(1, 20_000, 70) });
            check::<f32, f32>(&device, &Case { transpose, ..Case::plain(4, 20_000, 70) });
        }
        if device.limits().f16_storage {
            for (what, device) in shapes(&device, of_f16) {
                eprintln!("{what}");
                for shape in [[1, 128, 4], [3, 129, 64], [5, 516, 31], [8, 257, 5]] {
                    exact::<f32, f16>(
                        &device,
                        &Case { shape, transpose: [false, transpose_b], ..Case::plain(0, 0, 0) },
                    );
                }
            }
        }
    }
}

/// `1·x` through the epilogue: the activation of each number.
fn activated(device: &Gpu, activation: Activation, x: &[f32]) -> Vec<f32> {
    let (one, given) = (device.upload(&[1.0_f32]).unwrap(), device.upload(x).unwrap());
    let out = device.buffer::<f32>(x.len()).unwrap();
    let mut commands = device.commands();
    let product = Gemm {
        epilogue: Epilogue { activation, ..Epilogue::default() },
        ..Gemm::new(
            Matrix::new(&given, x.len(), 1).unwrap(),
            Matrix::new(&one, 1, 1).unwrap(),
            Matrix::new(&out, x.len(), 1).unwrap(),
        )
    };
    commands.gemm(&product).unwrap();
    commands.submit().unwrap().wait().unwrap();
    out.to_vec().unwrap()
}

#[test]
fn activations_are_close_over_all_numbers() {
    let Some(device) = device() else { return };
    let mut x: Vec<f32> = (-30_000..=30_000).map(|i| i as f32 / 1500.0).collect();
    x.extend((0..250).flat_map(|e| [1.3_f32, -1.7].map(|x| x * 2.0_f32.powi(e - 125))));
    type Of = fn(f64) -> f64;
    let of: [(Activation, Of, f64); 3] = [
        (Activation::Gelu, upbeat_kernels::twin::activation::gelu, 0.0),
        // Its argument's rounding counts in the tail, where the result is below 2⁻²³ of what is added there.
        (Activation::GeluTanh, upbeat_kernels::twin::functions::gelu_tanh, 1.0 / (1 << 23) as f64),
        (Activation::Silu, upbeat_kernels::twin::activation::silu, 0.0),
    ];
    for (activation, twin, floor) in of {
        let expected: Vec<f64> = x.iter().map(|&x| twin(x.into())).collect();
        // 8 ulp; devices may take what is not normal for 0, and so what becomes twice as large on the way.
        let (absolute, relative) = (floor.max(2.0 * f64::from(f32::MIN_POSITIVE)), 8.0 / (1 << 23) as f64);
        let what = format!("{activation:?}");
        support::assert_close(&what, &activated(&device, activation, &x), &expected, absolute, relative);
        let [low, high, none] = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        let found = activated(&device, activation, &[low, high, none]);
        assert_eq!(found[..2], [0.0, high], "{activation:?}");
        assert!(found[2].is_nan(), "{activation:?}");
    }
}

#[test]
fn infinity_and_nan_stay_in_their_rows_and_columns() {
    let Some(device) = device() else { return };
    for [m, k, n] in [[3, 9, 10], [13, 9, 10]] {
        for transpose_b in [false, true] {
            let mut a = vec![1.0_f32; m * k];
            (a[k], a[2 * k + 3]) = (f32::INFINITY, f32::NAN);
            let (da, db) = (device.upload(&a).unwrap(), device.upload(&vec![1.0_f32; k * n]).unwrap());
            // What is overwritten is not read.
            let dc = device.upload(&vec![f32::NAN; m * n]).unwrap();
            let b = if transpose_b { Matrix::new(&db, n, k) } else { Matrix::new(&db, k, n) };
            let (a, c) = (Matrix::new(&da, m, k).unwrap(), Matrix::new(&dc, m, n).unwrap());
            let mut commands = device.commands();
            commands.gemm(&Gemm { transpose_b, ..Gemm::new(a, b.unwrap(), c) }).unwrap();
            commands.submit().unwrap().wait().unwrap();
            for (i, row) in dc.to_vec().unwrap().chunks(n).enumerate() {
                let fits = |&x: &f32| match i {
                    1 => x == f32::INFINITY,
                    2 => x.is_nan(),
                    _ => x == k as f32,
                };
                assert!(row.iter().all(fits), "row {i} of {m}: {row:?}");
            }
        }
    }
}

#[test]
fn the_residual_may_be_what_is_overwritten() {
    let Some(device) = device() else { return };
    for m in [2, 20] {
        let x = device.upload(&vec![2.0_f32; m]).unwrap();
        let y = device.upload(&[3.0_f32; 5]).unwrap();
        let c = device.upload(&(0..m * 5).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
        let (a, b) = (Matrix::new(&x, m, 1).unwrap(), Matrix::new(&y, 1, 5).unwrap());
        let view = Matrix::new(&c, m, 5).unwrap();
        let epilogue = Epilogue { residual: Some(view), ..Epilogue::default() };
        let mut commands = device.commands();
        commands.gemm(&Gemm { epilogue, ..Gemm::new(a, b, view) }).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let expected: Vec<f32> = (0..m * 5).map(|i| i as f32 + 6.0).collect();
        assert_eq!(c.to_vec().unwrap(), expected);
    }
}

fn told<T>(outcome: Result<T, VulkanError>) -> String {
    outcome.err().expect("it is refused").to_string()
}

#[test]
fn wrong_operands_are_refused_before_anything_is_added() {
    let (Some(device), Some(other)) = (device(), device()) else { return };
    let x = device.upload(&[1.0_f32; 100]).unwrap();
    let y = device.upload(&[1.0_f32; 100]).unwrap();
    let of = |buffer, rows, cols| Matrix::strided(buffer, rows, cols, cols).unwrap();
    let mut commands = device.commands();
    let good = Gemm::new(of(&x, 2, 3), of(&x, 3, 4), of(&y, 2, 4));
    let with = |epilogue| Gemm { epilogue, ..good };
    let none = Epilogue::default();
    assert_eq!(
        told(commands.gemm(&Gemm { b: of(&x, 4, 4), ..good })),
        "a product's rows of op(b), which are op(a)'s columns, must be 3 but is 4"
    );
    assert_eq!(
        told(commands.gemm(&Gemm { transpose_a: true, ..good })),
        "a product's rows of op(b), which are op(a)'s columns, must be 2 but is 3"
    );
    assert_eq!(
        told(commands.gemm(&Gemm { c: of(&y, 3, 4), ..good })),
        "a product's rows of c must be 2 but is 3"
    );
    assert_eq!(
        told(commands.gemm(&Gemm { c: of(&y, 2, 5), ..good })),
        "a product's columns of c must be 4 but is 5"
    );
    assert_eq!(
        told(commands.gemm(&with(Epilogue { bias: Some(&x), ..none }))),
        "the length of the bias must be 4 but is 100"
    );
    assert_eq!(
        told(commands.gemm(&with(Epilogue { residual: Some(of(&x, 3, 4)), ..none }))),
        "rows of the residual must be 2 but is 3"
    );
    assert_eq!(
        told(commands.gemm(&with(Epilogue { residual: Some(of(&x, 2, 3)), ..none }))),
        "columns of the residual must be 4 but is 3"
    );
    let overlaps = "what is written overlaps what else is read or written; give it a buffer of its own";
    let own = Gemm { c: of(&x, 2, 4), ..good };
    assert_eq!(told(commands.gemm(&own)), format!("gemm: {overlaps}"));
    // C as its own residual and added to as well is not one operation.
    let twice = Epilogue { residual: Some(good.c), ..none };
    assert_eq!(told(commands.gemm(&Gemm { write: Write::Add, ..with(twice) })), format!("gemm: {overlaps}"));
    let foreign = other.upload(&[1.0_f32; 6]).unwrap();
    assert_eq!(
        told(commands.gemm(&Gemm { a: of(&foreign, 2, 3), ..good })),
        "a buffer belongs to another device; copy it through the host"
    );
    assert!(commands.is_empty());
    commands.gemm(&good).unwrap();
    assert_eq!(commands.len(), 1);
}

#[test]
fn matrices_must_fit_their_numbers() {
    let Some(device) = device() else { return };
    let x = device.upload(&[1.0_f32; 10]).unwrap();
    let told = |made: Result<Matrix<'_, f32>, ShapeError>| made.err().map(|error| error.to_string());
    assert_eq!(told(Matrix::new(&x, 2, 5)), None);
    assert_eq!(told(Matrix::new(&x, 3, 3)).unwrap(), "the length of a matrix must be 9 but is 10");
    assert_eq!(told(Matrix::strided(&x, 3, 2, 4)), None);
    assert_eq!(
        told(Matrix::strided(&x, 3, 3, 4)).unwrap(),
        "the length of a strided matrix must be 11 but is 10"
    );
    assert_eq!(told(Matrix::strided(&x, 3, 3, 2)).unwrap(), "a row stride of 2 is shorter than a row of 3");
    assert_eq!(told(Matrix::strided(&x, 1, 3, usize::MAX)), None);
    assert_eq!(
        told(Matrix::new(&x, 1 << 20, 1 << 20)).unwrap(),
        "a matrix's numbers may be 2147483647 at most but are 1099511627776"
    );
    assert_eq!(
        told(Matrix::new(&x, usize::MAX, 2)).unwrap(),
        "a matrix is too large: its size in bytes overflows"
    );
}
