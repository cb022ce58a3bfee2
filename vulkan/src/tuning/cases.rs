//! What a search measures: a few pieces of work for each tunable, as large as the device is, and how far answers may be from each other.

use half::f16;

use super::Tunable;
use crate::choice::Kind;
use crate::commands::Commands;
use crate::device::Device;
use crate::error::VulkanError;
use crate::kernels::cooperative::size_of;
use crate::kernels::tiles::{enough, Size};
use crate::kernels::{AttentionLayout, Gemm};
use crate::matrix::Matrix;
use crate::memory::{Buffer, Float};
use upbeat_kernels::Activation;

type Record = dyn Fn(&mut Commands) -> Result<(), VulkanError>;

/// A piece of work that writes all of `out`.
pub(super) struct Case {
    pub(super) record: Box<Record>,
    pub(super) out: Buffer<f32>,
    /// How far two right answers may be from each other: `absolute + relative · |answer|`.
    absolute: f32,
    relative: f32,
}

impl Case {
    fn new(
        out: Buffer<f32>,
        [absolute, relative]: [f32; 2],
        record: impl Fn(&mut Commands, &Buffer<f32>) -> Result<(), VulkanError> + 'static,
    ) -> Self {
        let to = out.clone();
        Self { record: Box::new(move |commands| record(commands, &to)), out, absolute, relative }
    }

    /// Whether `found` is as right as `expected`.
    pub(super) fn agrees(&self, found: &[f32], expected: &[f32]) -> bool {
        agree([self.absolute, self.relative], found, expected)
    }
}

/// A NaN, which is what was never written, agrees with nothing.
fn agree([absolute, relative]: [f32; 2], found: &[f32], expected: &[f32]) -> bool {
    let close = |found: f32, expected: f32| {
        found == expected || (found - expected).abs() <= absolute + relative * expected.abs()
    };
    found.len() == expected.len() && found.iter().zip(expected).all(|(&f, &e)| close(f, e))
}

/// The same bits: sums of whole numbers are exact in any order.
const EXACT: [f32; 2] = [0.0; 2];
/// Twice what attention is off at most, of vectors of numbers below 1.
const ATTENTION: [f32; 2] = [4e-6, 4e-5];
/// Twice what softmax is off at most: 2⁻¹⁸ for the rounding of what is taken off, and some ulp.
const SOFTMAX: [f32; 2] = [4e-38, 1.2e-5];
/// Twice what norms are off at most.
const NORM: [f32; 2] = [4e-6; 2];
/// Twice what GELU is off at most.
const GELU: [f32; 2] = [4e-38, 3e-6];

/// Numbers between -1 and 1 that depend on `seed` alone (SplitMix64).
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Whole ones, from -3 to 3: sums of a million products are exact.
fn whole(count: usize, seed: u64) -> Vec<f32> {
    numbers(count, seed).into_iter().map(|x| (3.0 * x).round()).collect()
}

/// How large cases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// So that everything runs and is checked: times mean nothing.
    Small,
    /// For a CPU that stands in for a GPU.
    Cpu,
    Gpu,
}

impl Scale {
    fn pick<T>(self, small: T, cpu: T, gpu: T) -> T {
        match self {
            Self::Small => small,
            Self::Cpu => cpu,
            Self::Gpu => gpu,
        }
    }
}

/// `[m, k, n]` of products that take tiles of that size: by the rows alone where a single tile is enough.
fn products(size: Size, scale: Scale, single: bool) -> Vec<[usize; 3]> {
    match (size, scale, single) {
        (Size::Wide, Scale::Small, true) => vec![[80, 16, 64]],
        (Size::Wide, Scale::Small, false) => vec![[1536, 16, 1536]],
        (Size::Wide, _, true) => vec![[256, 256, 256]],
        (Size::Wide, _, false) => vec![[2048, 1024, 2048]],
        (Size::Middle, Scale::Small, true) => vec![[48, 16, 64]],
        (Size::Middle, Scale::Small, false) => vec![[512, 16, 1024]],
        (Size::Middle, _, true) => vec![[64, 512, 512]],
        (Size::Middle, _, false) => vec![[512, 1024, 1024]],
        (Size::Low, Scale::Small, _) => vec![[16, 16, 64]],
        (Size::Low, _, true) => vec![[32, 512, 512]],
        (Size::Low, _, false) => vec![[32, 1024, 4096], [256, 1024, 256]],
    }
}

/// A product of whole numbers.
fn product<A: Float, B: Float>(
    device: &Device,
    [m, k, n]: [usize; 3],
    transpose_b: bool,
    of_a: fn(f32) -> A,
    of_b: fn(f32) -> B,
) -> Result<Case, VulkanError> {
    let a = device.upload(&whole(m * k, 1).into_iter().map(of_a).collect::<Vec<_>>())?;
    let b = device.upload(&whole(k * n, 2).into_iter().map(of_b).collect::<Vec<_>>())?;
    Ok(Case::new(device.unspecified(m * n)?, EXACT, move |commands, out| {
        let b = if transpose_b { Matrix::new(&b, n, k)? } else { Matrix::new(&b, k, n)? };
        let product = Gemm { transpose_b, ..Gemm::new(Matrix::new(&a, m, k)?, b, Matrix::new(out, m, n)?) };
        commands.gemm(&product).map(drop)
    }))
}

fn f32s(x: f32) -> f32 {
    x
}

/// Causal attention of `queries` to as many keys, or of one query to `keys`.
fn attention(
    device: &Device,
    [queries, keys, heads, kv_heads, dim]: [usize; 5],
) -> Result<Case, VulkanError> {
    let layout =
        AttentionLayout { causal: true, ..AttentionLayout::dense(1, queries, keys, heads, kv_heads, dim) };
    let q = device.upload(&numbers(queries * heads * dim, 1))?;
    let k = device.upload(&numbers(keys * kv_heads * dim, 2))?;
    let v = device.upload(&numbers(keys * kv_heads * dim, 3))?;
    Ok(Case::new(device.unspecified(q.len())?, ATTENTION, move |commands, out| {
        commands.attention_strided(&layout, &q, &k, &v, out).map(drop)
    }))
}

fn rows(device: &Device, [rows, cols]: [usize; 2]) -> Result<Vec<Case>, VulkanError> {
    let x = device.upload(&numbers(rows * cols, 1))?;
    let weight = device.upload(&numbers(cols, 2))?;
    let integers = device.upload(&whole(rows * cols, 3))?;
    let (of_softmax, of_norm) = (x.clone(), x.clone());
    Ok(vec![
        Case::new(device.unspecified(x.len())?, SOFTMAX, move |commands, out| {
            commands.softmax(&of_softmax, cols, out).map(drop)
        }),
        Case::new(device.unspecified(x.len())?, NORM, move |commands, out| {
            commands.rms_norm(&of_norm, &weight, 1e-5, out).map(drop)
        }),
        Case::new(device.unspecified(rows)?, EXACT, move |commands, out| {
            commands.sum_rows(&integers, cols, out).map(drop)
        }),
    ])
}

fn elements(device: &Device, len: usize) -> Result<Vec<Case>, VulkanError> {
    let a = device.upload(&numbers(len, 1))?;
    let (x, b) = (a.clone(), device.upload(&numbers(len, 2))?);
    Ok(vec![
        Case::new(device.unspecified(len)?, EXACT, move |commands, out| commands.add(&a, &b, out).map(drop)),
        Case::new(device.unspecified(len)?, GELU, move |commands, out| {
            commands.activation(&x, Activation::Gelu, out).map(drop)
        }),
    ])
}

/// The cases of a tunable; none where the device never takes its shapes.
pub(super) fn of(device: &Device, tunable: Tunable, small: bool) -> Result<Vec<Case>, VulkanError> {
    let is_cpu = device.info().kind == Kind::Cpu;
    let scale = match (small, is_cpu) {
        (true, _) => Scale::Small,
        (false, true) => Scale::Cpu,
        (false, false) => Scale::Gpu,
    };
    let half = device.limits().f16_storage;
    let tiled = |size: Size| {
        let shapes = products(size, scale, is_cpu).into_iter();
        shapes.filter(move |&[m, _, n]| Size::of(m, n, device) == size)
    };
    let cooperative = |size: Size| {
        let takes =
            move |&[m, _, n]: &[usize; 3]| size_of(m, n, enough(device), device.limits()) == Some(size);
        products(size, scale, is_cpu).into_iter().filter(takes)
    };
    // As weights are stored most often, and as they are written.
    let both = |shape| [(shape, true), (shape, false)];
    let (of_f32, of_f16) = ((f32s as fn(f32) -> f32), f16::from_f32 as fn(f32) -> f16);
    let plain = |(shape, transpose_b)| product(device, shape, transpose_b, of_f32, of_f32);
    let weights = |(shape, transpose_b)| product(device, shape, transpose_b, of_f32, of_f16);
    let halves = |(shape, transpose_b)| product(device, shape, transpose_b, of_f16, of_f16);
    let side = scale.pick(256, 1024, 4096);
    let few = |rows: [usize; 2], transpose_b| rows.map(|m| ([m, side, side], transpose_b)).into_iter();
    match tunable {
        Tunable::GemmWide => tiled(Size::Wide).flat_map(both).map(plain).collect(),
        Tunable::GemmMiddle => tiled(Size::Middle).flat_map(both).map(plain).collect(),
        Tunable::GemmLow => tiled(Size::Low).flat_map(both).map(plain).collect(),
        Tunable::GemmF16Wide if half => tiled(Size::Wide).flat_map(both).map(weights).collect(),
        Tunable::GemmF16Middle if half => tiled(Size::Middle).flat_map(both).map(weights).collect(),
        Tunable::GemmF16Low if half => tiled(Size::Low).flat_map(both).map(weights).collect(),
        Tunable::CooperativeWide => cooperative(Size::Wide).flat_map(both).map(halves).collect(),
        Tunable::CooperativeMiddle => cooperative(Size::Middle).flat_map(both).map(halves).collect(),
        Tunable::CooperativeLow => cooperative(Size::Low).flat_map(both).map(halves).collect(),
        Tunable::Gemv => few([1, 4], false).map(plain).collect(),
        Tunable::GemvTransposed => few([1, 4], true).map(plain).collect(),
        Tunable::GemvF16 if half => few([1, 4], false).map(weights).collect(),
        Tunable::GemvF16Transposed if half => few([1, 4], true).map(weights).collect(),
        Tunable::FewRows => few([4, 8], true).map(plain).collect(),
        Tunable::AttentionTile => [64, 128]
            .map(|dim| scale.pick([40, 40, 2, 1, dim], [128, 128, 4, 2, dim], [2048, 2048, 16, 4, dim]))
            .map(|shape| attention(device, shape))
            .into_iter()
            .collect(),
        Tunable::AttentionRow => [64, 128]
            .map(|dim| scale.pick([1, 100, 2, 1, dim], [1, 512, 8, 2, dim], [1, 4096, 32, 8, dim]))
            .map(|shape| attention(device, shape))
            .into_iter()
            .collect(),
        Tunable::Rows => {
            let mut cases = rows(device, scale.pick([4, 300], [256, 1024], [4096, 1024]))?;
            cases.extend(rows(device, scale.pick([2, 5000], [32, 8192], [1024, 8192]))?);
            Ok(cases)
        }
        Tunable::Elements => elements(device, scale.pick(5000, 1 << 20, 1 << 24)),
        Tunable::GemmF16Wide
        | Tunable::GemmF16Middle
        | Tunable::GemmF16Low
        | Tunable::GemvF16
        | Tunable::GemvF16Transposed => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_is_not_taken_for_a_right_one() {
        assert!(agree(EXACT, &[1.0, -3.0], &[1.0, -3.0]));
        assert!(!agree(EXACT, &[1.0_f32.next_up()], &[1.0]));
        assert!(!agree(SOFTMAX, &[f32::NAN], &[0.5]), "what was never written is NaN");
        assert!(!agree(SOFTMAX, &[0.5], &[0.5, 0.5]));
        assert!(agree(NORM, &[1.0 + 5e-6], &[1.0]) && !agree(NORM, &[1.0 + 2e-5], &[1.0]));
    }

    #[test]
    fn sums_of_whole_numbers_are_exact() {
        for scale in [Scale::Small, Scale::Cpu, Scale::Gpu] {
            for size in [Size::Wide, Size::Middle, Size::Low] {
                let of_both = [true, false].map(|single| products(size, scale, single)).concat();
                assert!(of_both.iter().all(|[_, k, _]| 9 * k <= 1 << 24));
            }
        }
        assert!(whole(10_000, 1).iter().all(|x| x.abs() <= 3.0 && x.fract() == 0.0));
    }
}
