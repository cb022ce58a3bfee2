//! Loops over slices a vector at a time, with tails of fewer lanes: one output from several inputs ([`lanewise`]), one
//! number from several inputs ([`fold`]).
//!
//! The operations are types, not closures: a method can be `#[inline(always)]`, and only then is it compiled with the
//! instructions of the level that the caller was dispatched to.

use crate::element::Write;
use crate::simd::{Simd, MOST_LANES};

/// One vector from `N` vectors, lane by lane.
pub(crate) trait Lanewise<const N: usize>: Copy + Send + Sync {
    /// Vectors that a turn of the loop takes.
    const UNROLL: usize = 4;
    /// The operation; mark the implementation `#[inline(always)]`.
    fn apply<S: Simd>(self, simd: S, x: [S::F; N]) -> S::F;
}

/// The value itself.
#[derive(Clone, Copy)]
pub(crate) struct Identity;

impl Lanewise<1> for Identity {
    #[inline(always)]
    fn apply<S: Simd>(self, _simd: S, [x]: [S::F; 1]) -> S::F {
        x
    }
}

/// `out[i] = op(x[0][i], …)`, or that added to `out[i]`. All slices have one length.
#[inline(always)]
pub(crate) fn lanewise<S: Simd, const N: usize, O: Lanewise<N>>(
    simd: S,
    x: [&[f32]; N],
    out: &mut [f32],
    write: Write,
    op: O,
) {
    match write {
        Write::Overwrite => sweep::<S, N, O, false>(simd, x, out, op),
        Write::Add => sweep::<S, N, O, true>(simd, x, out, op),
    }
}

#[inline(always)]
fn sweep<S: Simd, const N: usize, O: Lanewise<N>, const ADD: bool>(
    simd: S,
    x: [&[f32]; N],
    out: &mut [f32],
    op: O,
) {
    let n = out.len();
    let x = cut(x, n);
    let mut i = 0;
    while i + O::UNROLL * S::LANES <= n {
        for _ in 0..O::UNROLL {
            let mut value = op.apply(simd, load_each(simd, &x, i));
            let out = &mut out[i..i + S::LANES];
            if ADD {
                value = simd.add(simd.load(out), value);
            }
            simd.store(value, out);
            i += S::LANES;
        }
    }
    while i < n {
        let end = n.min(i + S::LANES);
        let mut rest = [simd.splat(0.0); N];
        for k in 0..N {
            rest[k] = simd.load_partial(&x[k][i..end]);
        }
        let mut value = op.apply(simd, rest);
        let out = &mut out[i..end];
        if ADD {
            value = simd.add(simd.load_partial(out), value);
        }
        simd.store_partial(value, out);
        i = end;
    }
}

/// The first `n` of each slice; they keep the others.
#[inline(always)]
fn take<'a, const N: usize>(x: &mut [&'a [f32]; N], n: usize) -> [&'a [f32]; N] {
    let mut first = [&[][..]; N];
    for k in 0..N {
        (first[k], x[k]) = x[k].split_at(n);
    }
    first
}

/// The first `n` of each slice.
#[inline(always)]
fn cut<const N: usize>(mut x: [&[f32]; N], n: usize) -> [&[f32]; N] {
    for x in &mut x {
        *x = &x[..n];
    }
    x
}

/// The vectors at element `i`. A plain loop: what `array::map` calls is not always inlined, and then not compiled
/// with the level's instructions.
#[inline(always)]
fn load_each<S: Simd, const N: usize>(simd: S, x: &[&[f32]; N], i: usize) -> [S::F; N] {
    let mut loaded = [simd.splat(0.0); N];
    for k in 0..N {
        loaded[k] = simd.load(&x[k][i..i + S::LANES]);
    }
    loaded
}

/// Takes `N` vectors into a running value, lane by lane.
pub(crate) trait Fold<const N: usize>: Copy {
    /// What the lanes beyond a slice's end hold, chosen so that they change nothing.
    fn padding(self) -> [f32; N] {
        [0.0; N]
    }
    /// The running value before anything is taken.
    fn start(self) -> f32 {
        0.0
    }
    /// Takes a vector; mark the implementation `#[inline(always)]`.
    fn take<S: Simd>(self, simd: S, sum: S::F, x: [S::F; N]) -> S::F;
    /// Joins two running values; mark the implementation `#[inline(always)]`.
    fn join<S: Simd>(self, simd: S, a: S::F, b: S::F) -> S::F {
        simd.add(a, b)
    }
}

/// All lanes of all vectors folded into one vector, by four running values joined in a fixed tree.
#[inline(always)]
pub(crate) fn fold<S: Simd, const N: usize, O: Fold<N>>(simd: S, x: [&[f32]; N], op: O) -> S::F {
    let n = x[0].len();
    let x = cut(x, n);
    let mut sums = [simd.splat(op.start()); 4];
    let mut i = 0;
    while i + 4 * S::LANES <= n {
        for sum in &mut sums {
            *sum = op.take(simd, *sum, load_each(simd, &x, i));
            i += S::LANES;
        }
    }
    finish(simd, x, i, op, sums)
}

/// The end of [`fold`]: takes fewer than four vectors, from element `i` on, and joins the running values.
#[inline(always)]
fn finish<S: Simd, const N: usize, O: Fold<N>>(
    simd: S,
    x: [&[f32]; N],
    mut i: usize,
    op: O,
    mut sums: [S::F; 4],
) -> S::F {
    let n = x[0].len();
    let mut turn = 0;
    while i + S::LANES <= n {
        sums[turn] = op.take(simd, sums[turn], load_each(simd, &x, i));
        i += S::LANES;
        turn += 1;
    }
    if i < n {
        let padding = op.padding();
        let mut tail = [simd.splat(0.0); N];
        for k in 0..N {
            tail[k] = load_padded(simd, &x[k][i..], padding[k]);
        }
        sums[3] = op.take(simd, sums[3], tail);
    }
    let [a, b, c, d] = sums;
    op.join(simd, op.join(simd, a, b), op.join(simd, c, d))
}

/// `out = op(x[0], …)` as [`lanewise`] computes it, and in the same loop two [`fold`]s of slices that are as long: those of rows
/// behind it, so that nothing waits for what is left of a fold after its last vector.
#[inline(always)]
pub(crate) fn lanewise_beside<S: Simd, const N: usize, const A: usize, const B: usize>(
    simd: S,
    x: [&[f32]; N],
    out: &mut [f32],
    op: impl Lanewise<N>,
    (a, of_a): ([&[f32]; A], impl Fold<A>),
    (b, of_b): ([&[f32]; B], impl Fold<B>),
) -> (S::F, S::F) {
    let n = out.len();
    let (x, a, b) = (cut(x, n), cut(a, n), cut(b, n));
    let (mut sums_a, mut sums_b) = ([simd.splat(of_a.start()); 4], [simd.splat(of_b.start()); 4]);
    let group = 4 * S::LANES;
    let whole = n / group * group;
    let (mut next, mut next_a, mut next_b) = (x, a, b);
    for out in out.chunks_exact_mut(group) {
        let (x, a, b) = (take(&mut next, group), take(&mut next_a, group), take(&mut next_b, group));
        for (v, out) in out.chunks_exact_mut(S::LANES).enumerate() {
            let at = v * S::LANES;
            simd.store(op.apply(simd, load_each(simd, &x, at)), out);
            sums_a[v] = of_a.take(simd, sums_a[v], load_each(simd, &a, at));
            sums_b[v] = of_b.take(simd, sums_b[v], load_each(simd, &b, at));
        }
    }
    let mut rest = [&[][..]; N];
    for k in 0..N {
        rest[k] = &x[k][whole..];
    }
    lanewise(simd, rest, &mut out[whole..], Write::Overwrite, op);
    (finish(simd, a, whole, of_a, sums_a), finish(simd, b, whole, of_b, sums_b))
}

/// Takes nothing.
#[derive(Clone, Copy)]
pub(crate) struct Nothing;

impl Fold<1> for Nothing {
    #[inline(always)]
    fn take<S: Simd>(self, _simd: S, sum: S::F, _x: [S::F; 1]) -> S::F {
        sum
    }
}

/// The first lanes from a slice shorter than a vector, the others `padding`.
#[inline(always)]
pub(crate) fn load_padded<S: Simd>(simd: S, from: &[f32], padding: f32) -> S::F {
    let mut lanes = [padding; MOST_LANES];
    lanes[..from.len()].copy_from_slice(from);
    simd.load(&lanes[..S::LANES])
}

/// `Σ x`.
#[derive(Clone, Copy)]
pub(crate) struct Sum;

impl Fold<1> for Sum {
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, sum: S::F, [x]: [S::F; 1]) -> S::F {
        simd.add(sum, x)
    }
}

/// `Σ x·y`.
#[derive(Clone, Copy)]
pub(crate) struct Dot;

impl Fold<2> for Dot {
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, sum: S::F, [x, y]: [S::F; 2]) -> S::F {
        simd.fma(x, y, sum)
    }
}

/// The largest; NaN is skipped or kept, as it comes.
#[derive(Clone, Copy)]
pub(crate) struct Largest;

impl Fold<1> for Largest {
    fn padding(self) -> [f32; 1] {
        [f32::NEG_INFINITY]
    }
    fn start(self) -> f32 {
        f32::NEG_INFINITY
    }
    #[inline(always)]
    fn take<S: Simd>(self, simd: S, sum: S::F, [x]: [S::F; 1]) -> S::F {
        simd.max(sum, x)
    }
    #[inline(always)]
    fn join<S: Simd>(self, simd: S, a: S::F, b: S::F) -> S::F {
        simd.max(a, b)
    }
}
