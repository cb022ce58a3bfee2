//! Promises of the vectorised functions: their largest error in units in the last place, over a sweep of all `f32`
//! bit patterns, at every level; and their limits.
//!
//! `cargo test` sweeps every 257th pattern at the active level and fewer at the others; with `UPBEAT_EXHAUSTIVE=1` all of them (use `--release`).

mod common;

use upbeat_kernels::isa::dispatch;
use upbeat_kernels::math;
use upbeat_kernels::simd::{Kernel, Simd};
use upbeat_kernels::twin::activation;

/// `$name(x, out)` applies a function of `math` to each element.
macro_rules! over_slices {
    ($($name:ident),*) => { $(
        fn $name(x: &[f32], out: &mut [f32]) {
            struct Each<'a>(&'a [f32], &'a mut [f32]);
            impl Kernel for Each<'_> {
                type Output = ();
                #[inline(always)]
                fn run<S: Simd>(self, simd: S) {
                    for (x, out) in self.0.chunks(S::LANES).zip(self.1.chunks_mut(S::LANES)) {
                        simd.store_partial(math::$name(simd, simd.load_partial(x)), out);
                    }
                }
            }
            dispatch(Each(x, out));
        }
    )* };
}
over_slices!(exp, log, sigmoid, gelu, gelu_derivative, silu, silu_derivative);

type Function = (&'static str, fn(&[f32], &mut [f32]), fn(f64) -> f64);

/// Largest error found, in ulp of the true result but at least `floor`, and where.
fn worst(f: fn(&[f32], &mut [f32]), reference: fn(f64) -> f64, floor: f64) -> (f64, f32) {
    let stride = match std::env::var_os("UPBEAT_EXHAUSTIVE") {
        Some(_) => 1,
        None if common::is_child() => 4099,
        None => 257,
    };
    let mut worst = (0.0, 0.0);
    let (mut x, mut y) = (Vec::new(), vec![0.0; 4096]);
    let mut bits = (0..=u32::MAX).step_by(stride);
    loop {
        x.clear();
        x.extend(bits.by_ref().take(4096).map(f32::from_bits));
        if x.is_empty() {
            return worst;
        }
        let y = &mut y[..x.len()];
        f(&x, y);
        for (&x, &y) in x.iter().zip(y.iter()) {
            let truth = reference(f64::from(x));
            let error = error_in_ulp(y, truth, floor);
            if error > worst.0 {
                worst = (error, x);
            }
        }
    }
}

/// `|y - truth|` in units of the spacing of `f32` around `truth`, at least `floor`. A result that is infinite, or not
/// a number, must be so exactly when the truth rounded to `f32` is.
fn error_in_ulp(y: f32, truth: f64, floor: f64) -> f64 {
    let rounded = truth as f32;
    if rounded.is_nan() || y.is_nan() {
        return if rounded.is_nan() && y.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if rounded.is_infinite() || y.is_infinite() {
        return if rounded == y { 0.0 } else { f64::INFINITY };
    }
    let exponent = (truth.abs().max(f64::from(f32::MIN_POSITIVE))).log2().floor();
    (f64::from(y) - truth).abs() / (exponent - 23.0).exp2().max(floor)
}

#[test]
fn errors_are_within_the_stated_units_in_the_last_place() {
    let relative: [(Function, f64); 5] = [
        (("exp", exp, f64::exp), 1.1),
        (("log", log, f64::ln), 2.0),
        (("sigmoid", sigmoid, activation::sigmoid), 3.0),
        (("gelu", gelu, activation::gelu), 4.0),
        (("silu", silu, activation::silu), 4.0),
    ];
    for ((name, f, reference), limit) in relative {
        let (error, at) = worst(f, reference, 0.0);
        println!("{name}: at most {error:.3} ulp, at {at:e}");
        assert!(error <= limit, "{name} is {error} ulp off at {at:e}");
    }
    let around_a_root: [Function; 2] = [
        ("gelu'", gelu_derivative, activation::gelu_derivative),
        ("silu'", silu_derivative, activation::silu_derivative),
    ];
    for (name, f, reference) in around_a_root {
        let (error, at) = worst(f, reference, (-25f64).exp2());
        println!("{name}: at most {error:.3} of an ulp or of 2^-25, at {at:e}");
        assert!(error <= 4.0, "{name} is {error} off at {at:e}");
    }
}

#[test]
fn limits_are_kept() {
    let x = [f32::NEG_INFINITY, -0.0, 0.0, f32::INFINITY, f32::NAN];
    let apply = |f: fn(&[f32], &mut [f32])| {
        let mut y = [0.0; 5];
        f(&x, &mut y);
        assert!(y[4].is_nan());
        [y[0], y[1], y[2], y[3]]
    };
    let inf = f32::INFINITY;
    assert_eq!(apply(exp), [0.0, 1.0, 1.0, inf]);
    assert_eq!(apply(sigmoid), [0.0, 0.5, 0.5, 1.0]);
    assert_eq!(apply(gelu), [0.0, 0.0, 0.0, inf]);
    assert_eq!(apply(silu), [0.0, 0.0, 0.0, inf]);
    assert_eq!(apply(gelu_derivative), [0.0, 0.5, 0.5, 1.0]);
    assert_eq!(apply(silu_derivative), [0.0, 0.5, 0.5, 1.0]);
    let y = apply(log);
    assert!(y[0].is_nan() && y[1..3] == [-inf, -inf] && y[3] == inf);
}

#[test]
fn every_level() {
    common::at_every_level();
}
