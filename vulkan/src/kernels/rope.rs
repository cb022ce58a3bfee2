//! Rotary positions. Frequencies are computed once, on the host in f64; how the device turns by them is told in `shaders/rope.comp`.

use std::f64::consts::TAU;

use bytemuck::{Pod, Zeroable};
use upbeat_kernels::{RopeShape, ShapeError};

use super::{count, product};
use crate::commands::{Access, Commands};
use crate::device::Device;
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// Heads that share an angle, as in `shaders/rope.comp`.
const TOGETHER: usize = 4;

/// Rotary positions of one shape, with its frequencies on a device. Made once for a model; [`at`](Self::at) gives it other positions.
#[derive(Clone, Debug)]
pub struct Rope {
    shape: RopeShape,
    /// `[dim / 2, 2]`: turns of one position in 2⁻⁶⁴, the high and the low word.
    turns: Buffer<u32>,
}

/// The part of a turn that one position is, in 2⁻⁶⁴.
fn turns(shape: &RopeShape, pair: usize) -> u64 {
    let frequency = shape.base.powf(-2.0 * pair as f64 / shape.dim as f64);
    // Whole turns make no difference at whole positions.
    ((frequency / TAU).fract() * 2.0_f64.powi(64)) as u64
}

impl Rope {
    /// Frequencies `base^(-2i/dim)` for the pairs `(i, i + dim/2)` of each head.
    ///
    /// # Errors
    /// A `dim` that is odd, more heads to turn than there are; what making a buffer can fail with.
    ///
    /// # Panics
    /// When the base is not a positive number.
    pub fn new(device: &Device, shape: RopeShape) -> Result<Self, VulkanError> {
        assert!(shape.base.is_finite() && shape.base > 0.0, "a base of rotary frequencies of {}", shape.base);
        if !shape.dim.is_multiple_of(2) {
            let what = "the width of a rotary head";
            return Err(ShapeError::Multiple { what, unit: 2, found: shape.dim }.into());
        }
        if shape.rotate > shape.heads {
            let (index, len) = (shape.rotate, shape.heads);
            return Err(ShapeError::Index { what: "rotated head", index, len }.into());
        }
        count("the width of a rotary head", shape.dim)?;
        let words = |pair| {
            let turns = turns(&shape, pair);
            [(turns >> 32) as u32, turns as u32]
        };
        let words: Vec<_> = (0..shape.dim / 2).flat_map(words).collect();
        Ok(Self { shape, turns: device.upload(&words)? })
    }

    /// Its shape.
    pub fn shape(&self) -> RopeShape {
        self.shape
    }

    /// The same frequencies for sequences of `seq` rows whose first is at position `first`.
    pub fn at(&self, first: usize, seq: usize) -> Self {
        Self { shape: RopeShape { first, seq, ..self.shape }, turns: self.turns.clone() }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    rows: u32,
    seq: u32,
    first: u32,
    heads: u32,
    rotate: u32,
    pairs: u32,
}

impl Commands {
    /// Rotary positions (Su et al., 2021), pairs `(i, i + dim/2)`, on the first `rotate` heads of each row of `heads` heads; the other
    /// heads are copied. Row `r` is at position `first + r % seq`, pair `i` turns by `position · base^(-2i/dim)`. Angles are exact to
    /// 2⁻³² of a turn whatever the position. In place where `out` is `x`.
    ///
    /// `x` and `out`: `[rows, heads, dim]`.
    ///
    /// # Errors
    /// A length of `x` that is no multiple of a row's, or another one of `out`; positions beyond `u32::MAX`; buffers of another device, or
    /// that overlap otherwise.
    pub fn rope(
        &mut self,
        x: &Buffer<f32>,
        rope: &Rope,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.turn(x, rope, None, false, out)
    }

    /// The gradient of [`rope`](Self::rope): the inverse turn, `dx` from `dy`.
    ///
    /// # Errors
    /// As [`rope`](Self::rope).
    pub fn rope_backward(
        &mut self,
        dy: &Buffer<f32>,
        rope: &Rope,
        dx: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.turn(dy, rope, None, true, dx)
    }

    /// [`rope`](Self::rope) with row `r` at `positions[r]`: rows of many sequences. `first` and `seq` are not looked at.
    ///
    /// # Errors
    /// As [`rope`](Self::rope), and another number of positions than rows.
    pub fn rope_at(
        &mut self,
        x: &Buffer<f32>,
        positions: &Buffer<u32>,
        rope: &Rope,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.turn(x, rope, Some(positions), false, out)
    }

    fn turn(
        &mut self,
        x: &Buffer<f32>,
        rope: &Rope,
        positions: Option<&Buffer<u32>>,
        back: bool,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let RopeShape { seq, first, heads, rotate, dim, .. } = rope.shape;
        let row = product("a row of heads", &[heads, dim])?;
        let found = x.len();
        if found != 0 && (row == 0 || !found.is_multiple_of(row)) {
            return Err(ShapeError::Multiple { what: "the length of x", unit: row, found }.into());
        }
        let rows = found / row.max(1);
        Self::check("the length of out", found, out.len())?;
        let (seq, first) = match positions {
            Some(positions) => {
                Self::check("the number of positions", rows, positions.len())?;
                (1, 0)
            }
            None if rows > 0 && seq == 0 => {
                return Err(ShapeError::Multiple { what: "the number of rows", unit: 0, found: rows }.into());
            }
            None => (seq.min(rows).max(1), first),
        };
        let last = first.checked_add(seq - 1).and_then(|last| u32::try_from(last).ok());
        if rows > 0 && last.is_none() {
            let (what, most) =
                ("positions from the first one on", (u32::MAX as usize + 1).saturating_sub(first));
            return Err(ShapeError::Limit { what, most, found: seq }.into());
        }
        count("the length of x", found)?;
        let parameters = Parameters {
            rows: count("rows", rows)?,
            seq: count("rows", seq)?,
            first: first as u32,
            heads: count("heads", heads)?,
            rotate: count("heads", rotate)?,
            pairs: count("the width of a rotary head", dim)? / 2,
        };
        let groups = self.groups_for(rows * heads.div_ceil(TOGETHER) * (dim / 2));
        let turns = rope.turns.operand(Access::Read);
        let at = positions.map_or(turns.clone(), |positions| positions.operand(Access::Read));
        self.dispatch(
            Kernel::Rope,
            &[self.elements(), back.into(), positions.is_some().into()],
            groups,
            &[x.operand(Access::ReadInPlace), turns, at, out.operand(Access::Write)],
            bytemuck::bytes_of(&parameters),
        )
    }
}
