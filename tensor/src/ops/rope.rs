//! Rotary positions.

use std::fmt;
use std::sync::Arc;

use upbeat_kernels::{rope, RopeShape};

use super::{run, shapes, Operand};
use crate::numbers::Where;
use crate::stream::Stream;
use crate::{Device, Indices, Tensor, TensorError};

/// Rotary positions (Su et al., 2021) of one kind of heads, with their frequencies on a device; made once for a model.
#[derive(Clone)]
pub struct Rope {
    shape: RopeShape,
    on_device: Option<(upbeat_vulkan::Rope, Arc<Stream>)>,
}

impl Rope {
    /// Frequencies `base^(-2i/dim)` for the pairs `(i, i + dim/2)` of the first `rotate` of `heads` heads, each `dim` wide. The other heads
    /// are left as they are, as values beside queries and keys must be.
    ///
    /// # Errors
    /// A `dim` that is odd, more heads to turn than there are, a base that is not a positive number; a device that cannot be opened.
    pub fn new(
        heads: usize,
        rotate: usize,
        dim: usize,
        base: f64,
        device: &Device,
    ) -> Result<Self, TensorError> {
        if !(base.is_finite() && base > 0.0) {
            let must = "the base of the frequencies must be a positive number";
            return Err(TensorError::Value { operation: "rope", must, found: base });
        }
        if !dim.is_multiple_of(2) || rotate > heads {
            let takes = "heads of an even width, as [heads, turned heads, width], and no more turned ones than there are";
            return Err(shapes("rope", takes, &[&[heads, rotate, dim]], "numbers are turned in pairs"));
        }
        let shape = RopeShape { seq: 1, first: 0, heads, rotate, dim, base };
        let on_device = match Where::of(*device)? {
            Where::Cpu => None,
            Where::Vulkan(stream) => {
                let make = || upbeat_vulkan::Rope::new(stream.device(), shape);
                let rope = stream.make(make).map_err(|error| TensorError::of("rope", *device, error))?;
                Some((rope, stream))
            }
        };
        Ok(Self { shape, on_device })
    }

    /// Where the frequencies are.
    pub fn device(&self) -> Device {
        self.on_device.as_ref().map_or(Device::Cpu, |(_, stream)| stream.place())
    }

    fn operand(&self) -> Operand<'_> {
        self.on_device.as_ref().map_or(Operand::Cpu, |(_, stream)| Operand::Vulkan(stream, None))
    }

    fn turns(&self) -> &upbeat_vulkan::Rope {
        let (turns, _) =
            self.on_device.as_ref().expect("operands of an operation on a device are on that device");
        turns
    }
}

impl fmt::Debug for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rope").field("shape", &self.shape).field("device", &self.device()).finish()
    }
}

impl Tensor {
    /// Turns the heads of `[.., seq, heads, dim]`: row `r` of each sequence is at position `first + r`.
    ///
    /// # Errors
    /// Other heads than the ones that `rope` was made for; positions beyond what a device counts; operands on two devices.
    pub fn rope(&self, rope: &Rope, first: usize) -> Result<Self, TensorError> {
        let &[.., seq, heads, dim] = self.shape() else { return Err(self.not_heads("rope", rope, None)) };
        if [heads, dim] != [rope.shape.heads, rope.shape.dim] {
            return Err(self.not_heads("rope", rope, None));
        }
        let shape = RopeShape { seq, first, ..rope.shape };
        let cpu = |out: &mut [f32]| rope::rope_forward(self.host(), shape, out);
        let operands = [self.operand(), rope.operand()];
        run("rope", &operands[0].place(), operands, self.shape().to_vec(), cpu, |commands, out| {
            commands.rope(self.block(), &rope.turns().at(first, seq), out).map(drop)
        })
    }

    /// Turns the heads of `[rows, heads, dim]`, row `r` at `positions[r]`: rows of many sequences.
    ///
    /// # Errors
    /// As [`rope`](Self::rope), and another number of positions than rows.
    pub fn rope_at(&self, rope: &Rope, positions: &Indices) -> Result<Self, TensorError> {
        let &[rows, heads, dim] = self.shape() else {
            return Err(self.not_heads("rope_at", rope, Some(positions)));
        };
        if [rows, heads, dim] != [positions.len(), rope.shape.heads, rope.shape.dim] {
            return Err(self.not_heads("rope_at", rope, Some(positions)));
        }
        let cpu = |out: &mut [f32]| {
            let positions: Vec<_> = positions.host().iter().map(|&position| position as usize).collect();
            rope::rope_at(self.host(), &positions, rope.shape, out)
        };
        let operands = [self.operand(), rope.operand(), positions.operand()];
        run("rope_at", &operands[0].place(), operands, self.shape().to_vec(), cpu, |commands, out| {
            commands.rope_at(self.block(), positions.block(), rope.turns(), out).map(drop)
        })
    }

    fn not_heads(&self, operation: &'static str, rope: &Rope, positions: Option<&Indices>) -> TensorError {
        let (takes, advice) = match positions {
            None => (
                "[.., seq, heads, dim], as wide as its Rope's [heads, dim]",
                "reshape, or make a Rope of these heads",
            ),
            Some(_) => (
                "[rows, heads, dim], as wide as its Rope's [heads, dim], and [rows] positions",
                "reshape, make a Rope of these heads, or give a position a row",
            ),
        };
        let (heads, count) =
            ([rope.shape.heads, rope.shape.dim], positions.map(|positions| [positions.len()]));
        let mut given: Vec<&[usize]> = vec![self.shape(), &heads];
        given.extend(count.as_ref().map(<[usize; 1]>::as_slice));
        shapes(operation, takes, &given, advice)
    }
}
