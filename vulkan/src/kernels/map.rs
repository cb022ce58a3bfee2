//! Element-wise arithmetic: of buffers of one length, and of the rows of a matrix with one row or with a number each.

use bytemuck::{Pod, Zeroable};
use upbeat_kernels::ShapeError;

use super::{called, count};
use crate::commands::{Access, Commands, Operand};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// Operations, numbered as in `shaders/map.comp` and `shaders/steps.comp`.
#[derive(Clone, Copy)]
enum Map {
    Scale = 0,
    Add = 1,
    Sub = 2,
    Mul = 3,
    AddScaled = 4,
    Div = 5,
}

/// An operation on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a · b`
    Mul,
    /// `a / b`, off by 2.5 ulp at most where `b` and the quotient are neither subnormal nor above 2¹²⁶.
    Div,
}

impl From<Arithmetic> for Map {
    fn from(op: Arithmetic) -> Self {
        match op {
            Arithmetic::Add => Self::Add,
            Arithmetic::Sub => Self::Sub,
            Arithmetic::Mul => Self::Mul,
            Arithmetic::Div => Self::Div,
        }
    }
}

/// What `b` is beside `a: [rows, cols]`, numbered as in `shaders/map.comp`.
#[derive(Clone, Copy)]
enum Spread {
    /// `[rows, cols]`
    Each = 0,
    /// `[cols]`
    Row = 1,
    /// `[rows]`
    Column = 2,
}

impl Map {
    /// The method.
    fn name(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::AddScaled => "add_scaled",
            Self::Div => "div",
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    count: u32,
    s: f32,
    cols: u32,
    multiplier: u32,
    shift: u32,
}

/// Division of numbers below 2³¹ by a product and a shift (Granlund and Montgomery, 1994): with `2^(l-1) < d ≤ 2^l` and
/// `m = ⌊2^(31+l)/d⌋ + 1` it is `i/d = ⌊i·m/2^(31+l)⌋`, as `m·d` is above `2^(31+l)` by at most `d ≤ 2^l`, and `i < 2³¹`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Divisor {
    multiplier: u32,
    /// Behind the 32 bits of the product's upper half.
    shift: u32,
}

impl Divisor {
    /// Of at least 2 and below 2³¹.
    fn new(d: u32) -> Self {
        let l = d.next_power_of_two().trailing_zeros();
        let multiplier = (1_u64 << (31 + l)) / u64::from(d) + 1;
        Self { multiplier: u32::try_from(multiplier).expect("2^(31+l)/d is below 2³²"), shift: l - 1 }
    }
}

impl Commands {
    /// `out[i] = s · x[i]`. In place where `out` is `x`.
    ///
    /// # Errors
    /// Lengths that differ; buffers of another device, or that overlap otherwise.
    pub fn scale(&mut self, x: &Buffer<f32>, s: f32, out: &Buffer<f32>) -> Result<&mut Self, VulkanError> {
        self.map(Map::Scale, x, x, s, out)
    }

    /// `out[i] = a[i] + b[i]`. In place where `out` is one of them.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn add(
        &mut self,
        a: &Buffer<f32>,
        b: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.map(Map::Add, a, b, 0.0, out)
    }

    /// `out[i] = a[i] - b[i]`. In place where `out` is one of them.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn sub(
        &mut self,
        a: &Buffer<f32>,
        b: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.map(Map::Sub, a, b, 0.0, out)
    }

    /// `out[i] = a[i] · b[i]`. In place where `out` is one of them.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn mul(
        &mut self,
        a: &Buffer<f32>,
        b: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.map(Map::Mul, a, b, 0.0, out)
    }

    /// `out[i] = a[i] / b[i]`, as [`Arithmetic::Div`] says. In place where `out` is one of them.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn div(
        &mut self,
        a: &Buffer<f32>,
        b: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.map(Map::Div, a, b, 0.0, out)
    }

    /// `out[r, c] = op(x[r, c], row[c])`: each row of `x` with one row. In place where `out` is `x`.
    ///
    /// `x` and `out`: `[rows, cols]`; `row`: `[cols]`.
    ///
    /// # Errors
    /// A length of `x` that is no multiple of the row's, or another one of `out`; buffers of another device, or that overlap otherwise.
    pub fn with_row(
        &mut self,
        op: Arithmetic,
        x: &Buffer<f32>,
        row: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let cols = row.len();
        if !x.is_empty() && (cols == 0 || !x.len().is_multiple_of(cols)) {
            let (what, found) = ("the length of x", x.len());
            return Err(ShapeError::Multiple { what, unit: cols, found }.into());
        }
        self.spread(op, x, row, Spread::Row, cols, out).map_err(called("with_row"))
    }

    /// `out[r, c] = op(x[r, c], column[r])`: each row of `x` with a number of its own. In place where `out` is `x`.
    ///
    /// `x` and `out`: `[rows, cols]`; `column`: `[rows]`.
    ///
    /// # Errors
    /// A length of `x` that is no multiple of the column's, or another one of `out`; buffers of another device, or that overlap otherwise.
    pub fn with_column(
        &mut self,
        op: Arithmetic,
        x: &Buffer<f32>,
        column: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let rows = column.len();
        if !x.is_empty() && (rows == 0 || !x.len().is_multiple_of(rows)) {
            let (what, found) = ("the length of x", x.len());
            return Err(ShapeError::Multiple { what, unit: rows, found }.into());
        }
        let cols = x.len().checked_div(rows).unwrap_or(0);
        self.spread(op, x, column, Spread::Column, cols, out).map_err(called("with_column"))
    }

    /// `out[i] = a[i] + s · b[i]`. In place where `out` is one of them.
    ///
    /// # Errors
    /// As [`scale`](Self::scale).
    pub fn add_scaled(
        &mut self,
        a: &Buffer<f32>,
        s: f32,
        b: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        self.map(Map::AddScaled, a, b, s, out)
    }

    fn map(
        &mut self,
        op: Map,
        a: &Buffer<f32>,
        b: &Buffer<f32>,
        s: f32,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        Self::check("the length of b", a.len(), b.len())?;
        let operands =
            [a.operand(Access::ReadInPlace), b.operand(Access::ReadInPlace), out.operand(Access::Write)];
        self.dispatch_map(op, Spread::Each, &operands, a.len(), s, 0, out).map_err(called(op.name()))
    }

    /// Of what is spread no number may be written before its last use.
    fn spread(
        &mut self,
        op: Arithmetic,
        x: &Buffer<f32>,
        by: &Buffer<f32>,
        spread: Spread,
        cols: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        let operands = [x.operand(Access::ReadInPlace), by.operand(Access::Read), out.operand(Access::Write)];
        self.dispatch_map(op.into(), spread, &operands, x.len(), 0.0, cols, out)
    }

    #[allow(clippy::too_many_arguments)]
    fn dispatch_map(
        &mut self,
        op: Map,
        spread: Spread,
        operands: &[Operand],
        len: usize,
        s: f32,
        cols: usize,
        out: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        Self::check("the length of out", len, out.len())?;
        let cols = count("columns", cols)?;
        // A single column is divided by nothing: its row has one number, its column is as long as it.
        let (spread, cols) = match spread {
            Spread::Row if cols == 1 => (Spread::Column, i32::MAX.cast_unsigned()),
            Spread::Column if cols == 1 => (Spread::Each, 0),
            spread => (spread, cols),
        };
        // Without columns there is nothing to compute.
        let Divisor { multiplier, shift } = Divisor::new(cols.max(2));
        let parameters = Parameters { count: count("the length of a", len)?, s, cols, multiplier, shift };
        let constants = [self.elements(), op as u32, spread as u32];
        let groups = self.groups_for(len);
        self.dispatch(Kernel::Map, &constants, groups, operands, bytemuck::bytes_of(&parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_and_a_shift_divide() {
        const MOST: u32 = i32::MAX.cast_unsigned();
        let near = |x: u32| (x.saturating_sub(2)..=x.saturating_add(2)).filter(|x| *x <= MOST);
        let powers = (1..31).flat_map(|bits| near(1 << bits));
        let divisors = powers.chain([3, 5, 7, 11, 1000, 12_288, 65_521, 1_000_003]).chain(near(MOST));
        for d in divisors.filter(|d| *d >= 2) {
            let Divisor { multiplier, shift } = Divisor::new(d);
            let multiples = [1, 2, 3, MOST / d / 2, MOST / d].map(|times| times.saturating_mul(d).min(MOST));
            for i in multiples.into_iter().flat_map(near).chain((0..=64).map(|i| MOST / 64 * i)) {
                let high = (u64::from(i) * u64::from(multiplier)) >> 32;
                assert_eq!(high >> shift, u64::from(i / d), "{i} / {d}");
            }
        }
    }
}
