//! Element-wise arithmetic: of buffers of one length, and of the rows of a matrix with one row or with a number each.

use bytemuck::{Pod, Zeroable};
use upbeat_kernels::ShapeError;

use super::{called, count, WORKGROUP};
use crate::commands::{Access, Commands, Operand};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// Operations, numbered as in `shaders/map.comp`.
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
        let parameters =
            Parameters { count: count("the length of a", len)?, s, cols: count("columns", cols)? };
        let constants = [WORKGROUP, op as u32, spread as u32];
        let groups = self.groups_for(len);
        self.dispatch(Kernel::Map, &constants, groups, operands, bytemuck::bytes_of(&parameters))
    }
}
