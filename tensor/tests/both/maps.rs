//! Arithmetic, activations, SwiGLU, reductions.

use upbeat_tensor::{Activation, Tensor, TensorError};

use crate::support::{check, devices, numbers, tensor, Bound};

const LENGTHS: [usize; 6] = [0, 1, 63, 64, 129, 20_001];

type Pair = (&'static str, fn(&Tensor, &Tensor) -> Result<Tensor, TensorError>, fn(f64, f64) -> f64);

const PAIRS: [Pair; 4] = [
    ("add", Tensor::add, |a, b| a + b),
    ("sub", Tensor::sub, |a, b| a - b),
    ("mul", Tensor::mul, |a, b| a * b),
    ("div", Tensor::div, |a, b| a / b),
];

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

#[test]
fn arithmetic_rounds_once() {
    for len in LENGTHS {
        let (a, b) = (numbers(len, 1), numbers(len, 2));
        for (name, operation, exact) in PAIRS {
            let exact: Vec<_> = a.iter().zip(&b).map(|(&a, &b)| exact(a.into(), b.into())).collect();
            check(name, &[len, 1], &exact, of(name), |device| {
                operation(&tensor(&a, &[len, 1], device), &tensor(&b, &[len, 1], device))
            });
        }
        let exact: Vec<_> = a.iter().map(|&a| f64::from(a) * 1.75).collect();
        check("scale", &[len], &exact, Bound::ROUNDING, |device| tensor(&a, &[len], device).scale(1.75));
    }
}

/// Quotients of a Vulkan device may be off by 2.5 ulp.
fn of(operation: &str) -> Bound {
    if operation == "div" {
        Bound { absolute: 2e-38, relative: 3e-7 }
    } else {
        Bound::ROUNDING
    }
}

#[test]
fn rows_take_a_row_a_column_or_a_number() {
    for (rows, cols) in
        [(1, 1), (5, 3), (4, 64), (130, 257), (1, 20_001), (20_001, 1), (3000, 70), (0, 4), (4, 0)]
    {
        let x = numbers(rows * cols, 3);
        // None is near 0.
        let by = |count: usize| numbers(count, 4).iter().map(|x| 1.5 + x).collect::<Vec<_>>();
        let (row, column, number) = (by(cols), by(rows), by(1));
        // Its numbers, its shape, and which of them meets which of the first's.
        type Second<'a> = (&'a [f32], &'a [usize], &'a dyn Fn(usize) -> f32);
        let seconds: [Second; 3] = [
            (&row, &[cols], &|i| row[i % cols]),
            (&column, &[1, rows, 1], &|i| column[i / cols]),
            (&number, &[], &|_| number[0]),
        ];
        for (second, shape, at) in seconds {
            for (name, operation, exact) in PAIRS {
                let exact: Vec<_> = (0..x.len()).map(|i| exact(x[i].into(), at(i).into())).collect();
                let what = format!("{name} of [1, {rows}, {cols}] and {shape:?}");
                check(&what, &[1, rows, cols], &exact, of(name), |device| {
                    operation(&tensor(&x, &[1, rows, cols], device), &tensor(second, shape, device))
                });
            }
        }
    }
}

/// Where shapes say both, a row and a column are the same numbers.
#[test]
fn what_is_a_row_and_a_column_is_either() {
    for device in devices() {
        let x = tensor(&[1.0, 2.0, 3.0], &[3, 1], &device);
        assert_eq!(x.sub(&tensor(&[5.0], &[1], &device)).unwrap().to_vec(), Ok(vec![-4.0, -3.0, -2.0]));
        let y = x.reshape(&[3]).unwrap();
        assert_eq!(y.mul(&tensor(&[5.0], &[1], &device)).unwrap().to_vec(), Ok(vec![5.0, 10.0, 15.0]));
        let each = x.sub(&tensor(&[1.0, 1.0, 5.0], &[3, 1], &device)).unwrap();
        assert_eq!(each.to_vec(), Ok(vec![0.0, 1.0, -2.0]));
        let one = tensor(&[2.0], &[], &device);
        let quotient = tensor(&[1.0], &[], &device).div(&one).unwrap();
        assert_eq!((quotient.shape(), quotient.item()), (&[][..], Ok(0.5)));
        // By 0.
        let by = tensor(&[0.0, 0.0, 0.0], &[3], &device);
        let found = tensor(&[1.0, -1.0, 0.0], &[3], &device).div(&by).unwrap().to_vec().unwrap();
        assert_eq!(found[..2], [f32::INFINITY, f32::NEG_INFINITY]);
        assert!(found[2].is_nan());
    }
}

/// `erfc`, by its continued fraction where that converges and by the series of erf elsewhere.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let root = std::f64::consts::PI.sqrt();
    if x < 2.0 {
        let mut term = x;
        let mut sum = x;
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - 2.0 / root * sum;
    }
    let fraction = (1..120).rev().fold(x, |below, n| x + f64::from(n) / 2.0 / below);
    (-x * x).exp() / root / fraction
}

#[test]
fn activations() {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gelu = |x: f64| x / 2.0 * erfc(-x / 2.0_f64.sqrt());
    let tanh =
        |x: f64| x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    let x: Vec<f32> = numbers(999, 5).iter().map(|x| 9.0 * x).chain([0.0, f32::INFINITY, f32::NAN]).collect();
    let functions: [(Activation, &dyn Fn(f64) -> f64); 5] = [
        (Activation::Identity, &|x| x),
        (Activation::Relu, &|x| if x.is_nan() { x } else { x.max(0.0) }),
        (Activation::Silu, &silu),
        (Activation::Gelu, &gelu),
        (Activation::GeluTanh, &tanh),
    ];
    for (activation, exact) in functions {
        let exact: Vec<_> =
            x.iter().map(|&x| if x == f32::INFINITY { x.into() } else { exact(x.into()) }).collect();
        // The tails of GELU by tanh cancel in any precision.
        let bound = Bound { absolute: 2.4e-7, relative: 1.5e-6 };
        check(&format!("{activation:?}"), &[x.len()], &exact, bound, |device| {
            tensor(&x, &[x.len()], device).activation(activation)
        });
    }
    for (rows, width) in [(3, 5), (1, 200), (0, 4), (7, 0)] {
        let x: Vec<f32> = numbers(rows * 2 * width, 6).iter().map(|x| 4.0 * x).collect();
        let pair =
            |i: usize| (x[i / width * 2 * width + i % width], x[i / width * 2 * width + width + i % width]);
        let exact: Vec<_> = (0..rows * width).map(pair).map(|(g, u)| silu(g.into()) * f64::from(u)).collect();
        let bound = Bound { absolute: 2e-38, relative: 2e-6 };
        check("swiglu", &[rows, width], &exact, bound, |device| {
            tensor(&x, &[rows, 2 * width], device).swiglu()
        });
    }
}

#[test]
fn reductions() {
    type Operation = fn(&Tensor) -> Result<Tensor, TensorError>;
    type Case = (&'static str, Operation, Operation, fn(&[f64]) -> f64);
    let sum = |x: &[f64]| x.iter().sum::<f64>();
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let max = |x: &[f64]| x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = |x: &[f64]| x.iter().copied().fold(f64::INFINITY, f64::min);
    let cases: [Case; 4] = [
        ("sum", Tensor::sum, Tensor::sum_rows, sum),
        ("mean", Tensor::mean, Tensor::mean_rows, mean),
        ("max", Tensor::max, Tensor::max_rows, max),
        ("min", Tensor::min, Tensor::min_rows, min),
    ];
    for (rows, cols) in [(1, 1), (3, 7), (2, 0), (0, 5), (5, 1000), (2, 9001)] {
        let x = numbers(rows * cols, 7);
        let exact = wide(&x);
        for (name, all, of_rows, reduce) in cases {
            // 25 roundings of a sum of magnitudes below the count, twice in long rows; extremes are exact.
            let weight = if matches!(name, "max" | "min") { 0.0 } else { 1.0 };
            let of = |count: usize| {
                let sum = if name == "mean" { 1.0 } else { count as f64 };
                Bound { absolute: weight * 50.0 * 6e-8 * sum, relative: weight * 2e-7 }
            };
            let what = format!("{name} of [{rows}, {cols}]");
            check(&what, &[], &[reduce(&exact)], of(x.len()), |device| {
                all(&tensor(&x, &[rows, cols], device))
            });
            let each: Vec<_> = (0..rows).map(|row| reduce(&exact[row * cols..][..cols])).collect();
            check(&what, &[1, rows], &each, of(cols), |device| {
                of_rows(&tensor(&x, &[1, rows, cols], device))
            });
        }
    }
    let odd = [1.0, f32::NAN, 2.0];
    for (name, all, of_rows, _) in cases {
        check(name, &[], &[f64::NAN], Bound::ROUNDING, |device| all(&tensor(&odd, &[3], device)));
        check(name, &[], &[f64::NAN], Bound::ROUNDING, |device| of_rows(&tensor(&odd, &[3], device)));
    }
    for device in devices() {
        assert_eq!(tensor(&[4.0, 6.0], &[2], &device).mean().unwrap().item(), Ok(5.0));
    }
}
