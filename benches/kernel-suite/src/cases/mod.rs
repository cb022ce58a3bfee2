//! The cases, a group a file. A group makes its cases one by one and hands each on, so that the operands of one are gone before the
//! next is measured.

mod attention;
mod elementwise;
mod flows;
mod images;
mod low_precision;
mod matrix;
mod rows;
mod views;

use upbeat_kernels::Buffer;

use crate::case::{Case, Sizes};

/// Takes the cases of a group.
pub type With<'w> = &'w mut dyn FnMut(Case<'_>);

/// Makes the cases of a group.
pub type Make = fn(Sizes, With<'_>);

/// Every group, with what it measures.
pub const GROUPS: [(&str, &str, Make); 8] = [
    ("gemm", "products of matrices: square, skinny, with one row, with an epilogue", matrix::cases),
    ("low-precision", "products of numbers stored in 16 and in 8 bits", low_precision::cases),
    ("attention", "attention, forward and backward, full and causal", attention::cases),
    (
        "elementwise",
        "sums, products and activations over slices in and beyond the caches",
        elementwise::cases,
    ),
    ("rows", "softmax, LayerNorm and RMSNorm", rows::cases),
    ("images", "convolutions, pooling, BatchNorm and dropout", images::cases),
    ("flows", "the Gray-Scott reaction, one step a pass and many", flows::cases),
    ("views", "views that are not dense: transposed matrices", views::cases),
];

/// Reproducible numbers in `[-1, 1)` (a linear congruential generator; Numerical Recipes' constants). They begin at a cache line, as
/// peers' do.
fn numbers(len: usize, seed: u32) -> Buffer<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 9) as f32 / (1 << 22) as f32 - 1.0
    };
    let mut numbers = Buffer::unspecified(len);
    numbers.fill_with(&mut next);
    numbers
}

/// Panics unless `found` is within `bound` of `expected`.
fn near(found: f32, expected: f64, bound: f64, what: &str) {
    let error = (f64::from(found) - expected).abs();
    assert!(error <= bound, "{what}: {found} where {expected} was expected, off by {error:e}");
}

/// Some indices below `len`, spread over it.
fn samples(len: usize) -> impl Iterator<Item = usize> {
    (0..100.min(len)).map(move |sample| sample * 104_729 % len)
}
