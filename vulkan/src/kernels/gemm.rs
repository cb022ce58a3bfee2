//! The matrix product with an epilogue.

use bytemuck::{Pod, Zeroable};
use upbeat_kernels::{Activation, Write};

use super::activation::number;
use super::tiles::{enough, Size};
use super::{called, cooperative};
use crate::commands::{Access, Commands, Operand};
use crate::cooperative::CooperativeMatrices;
use crate::device::Device;
use crate::error::VulkanError;
use crate::matrix::Matrix;
use crate::memory::{Buffer, Float};
use crate::pipeline::Kernel;

/// What happens to `A·B` before it is stored: `activation(scale·A·B + bias) + residual`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Factor on the product.
    pub scale: f32,
    /// One number a column of C, `[n]`.
    pub bias: Option<&'a Buffer<f32>>,
    /// Applied after the bias.
    pub activation: Activation,
    /// Added last, `[m, n]`. It may be C itself, which then is read before it is overwritten.
    pub residual: Option<Matrix<'a, f32>>,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self { scale: 1.0, bias: None, activation: Activation::Identity, residual: None }
    }
}

/// `C ← activation(scale·op(A)·op(B) + bias) + residual`, or that added to C.
///
/// `op(A)` is `[m, k]`, `op(B)` is `[k, n]`, C is `[m, n]`; `op` transposes where the flag is set. `k = 0` gives a product of zeros.
/// With [`Write::Overwrite`] the old C is never read, unless it is the residual.
///
/// ```no_run
/// # fn layer(device: &upbeat_vulkan::Device) -> Result<(), upbeat_vulkan::VulkanError> {
/// use upbeat_vulkan::{Epilogue, Gemm, Matrix};
///
/// // y = x·Wᵀ + bias, of 2 rows
/// let (x, weight) = (device.buffer::<f32>(2 * 64)?, device.buffer::<f32>(256 * 64)?);
/// let (bias, y) = (device.buffer::<f32>(256)?, device.buffer::<f32>(2 * 256)?);
/// let product = Gemm {
///     transpose_b: true,
///     epilogue: Epilogue { bias: Some(&bias), ..Epilogue::default() },
///     ..Gemm::new(Matrix::new(&x, 2, 64)?, Matrix::new(&weight, 256, 64)?, Matrix::new(&y, 2, 256)?)
/// };
/// let mut commands = device.commands();
/// commands.gemm(&product)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Gemm<'a, A = f32, B = f32> {
    /// Left factor as stored: `[m, k]`, or `[k, m]` when `transpose_a`.
    pub a: Matrix<'a, A>,
    /// Whether A is stored transposed.
    pub transpose_a: bool,
    /// Right factor as stored: `[k, n]`, or `[n, k]` when `transpose_b`.
    pub b: Matrix<'a, B>,
    /// Whether B is stored transposed.
    pub transpose_b: bool,
    /// Output `[m, n]`.
    pub c: Matrix<'a, f32>,
    /// Overwrite C or add to it.
    pub write: Write,
    /// Applied to the finished product.
    pub epilogue: Epilogue<'a>,
}

impl<'a, A: Float, B: Float> Gemm<'a, A, B> {
    /// `C ← A·B`.
    pub fn new(a: Matrix<'a, A>, b: Matrix<'a, B>, c: Matrix<'a, f32>) -> Self {
        let (write, epilogue) = (Write::Overwrite, Epilogue::default());
        Self { a, transpose_a: false, b, transpose_b: false, c, write, epilogue }
    }

    /// `(m, k, n)`.
    fn shape(&self) -> Result<[usize; 3], VulkanError> {
        let turned = |rows, cols, turn| if turn { (cols, rows) } else { (rows, cols) };
        let (m, k) = turned(self.a.rows(), self.a.cols(), self.transpose_a);
        let (k_b, n) = turned(self.b.rows(), self.b.cols(), self.transpose_b);
        Commands::check("a product's rows of op(b), which are op(a)'s columns,", k, k_b)?;
        Commands::check("a product's rows of c", m, self.c.rows())?;
        Commands::check("a product's columns of c", n, self.c.cols())?;
        if let Some(bias) = self.epilogue.bias {
            Commands::check("the length of the bias", n, bias.len())?;
        }
        if let Some(residual) = &self.epilogue.residual {
            Commands::check("rows of the residual", m, residual.rows())?;
            Commands::check("columns of the residual", n, residual.cols())?;
        }
        Ok([m, k, n])
    }
}

/// As in `shaders/gemm_operands.glsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Parameters {
    m: u32,
    k: u32,
    n: u32,
    stride_a: u32,
    stride_b: u32,
    stride_c: u32,
    stride_residual: u32,
    scale: f32,
    finish: u32,
}

fn same(a: &Operand, b: &Operand) -> bool {
    a.block().id == b.block().id && a.range == b.range
}

impl Commands {
    /// A matrix product with an epilogue, see [`Gemm`]. A and B are each stored as `f32` or as `f16`, C as `f32`; an element's products
    /// are summed in f32, in an order that depends on the shape, the device and its [tuning](crate::tuning) alone: the same bits from run to
    /// run.
    ///
    /// More than a few rows of `f16` by `f16` go through cooperative matrices where the device has them
    /// ([`Limits::cooperative`](crate::Limits::cooperative)), which sum in an order of their own;
    /// [`Options::cooperative_matrices`](crate::Options::cooperative_matrices) turns that off. A product of two `f16` is exact in f32. An element is off by at most `(k + 24)·2⁻²⁴·Σ|a||b|` for its sum, twice that through
    /// cooperative matrices, in which devices may cut sums off instead of rounding them.
    ///
    /// # Errors
    /// Dimensions that do not fit; buffers of another device; C that overlaps another operand. It may be the very residual when it is
    /// overwritten.
    pub fn gemm<A: Float, B: Float>(&mut self, gemm: &Gemm<'_, A, B>) -> Result<&mut Self, VulkanError> {
        let [m, k, n] = gemm.shape()?;
        let Epilogue { scale, bias, activation, mut residual } = gemm.epilogue;
        let (a, c) = (gemm.a.operand(Access::Read), gemm.c.operand(Access::Write));
        let mut add = gemm.write == Write::Add;
        // What is added last may as well be C as it was.
        let is_c = |r: &Matrix<'_, f32>| r.stride() == gemm.c.stride() && same(&r.operand(Access::Read), &c);
        if !add && residual.as_ref().is_some_and(is_c) {
            (add, residual) = (true, None);
        }
        let bits =
            |bits: &[bool]| bits.iter().enumerate().map(|(at, &bit)| u32::from(bit) << at).sum::<u32>();
        // With how many numbers to one load.
        let flags = |run| {
            let stored = [gemm.transpose_a, gemm.transpose_b, gemm.a.has_whole(run), gemm.b.has_whole(run)];
            bits(&stored) | number(activation) << 4
        };

        let most = self.device().limits().groups[0] as usize;
        let groups = |count: usize| [count.min(most) as u32, 1, 1];
        let tuning = self.device().tuning();
        let [rows_of, tiles_of] = kernels::<A, B>();
        let (kernel, constants, groups) = if m <= tuning.few_rows() {
            let lanes = tuning.lanes(gemm.transpose_b, A::HALF || B::HALF);
            let groups = if m == 0 { [0; 3] } else { groups(n.div_ceil(lanes.columns(gemm.transpose_b))) };
            (rows_of, lanes.constants(flags(4), m), groups)
        } else if let Some((matrices, tile)) = cooperative_tile::<A, B>(m, n, self.device()) {
            let constants = tile.constants(flags(8), matrices, self.device().limits());
            (Kernel::GemmCooperative, constants, groups(tile.count(m, n)))
        } else {
            let tile = tuning.tile(Size::of(m, n, self.device()), A::HALF || B::HALF);
            (tiles_of, tile.constants(flags(4)), groups(tile.count(m, n)))
        };
        let finish = bits(&[bias.is_some(), residual.is_some(), add]);
        // An operand that there is not has the place of A, and is not read.
        let bias = bias.map_or_else(|| a.clone(), |bias| bias.operand(Access::Read));
        let stride_residual = residual.map_or(0, |residual| residual.stride() as u32);
        let residual = residual.map_or_else(|| a.clone(), |residual| residual.operand(Access::Read));
        // Matrices have checked that their dimensions fit.
        let parameters = Parameters {
            m: m as u32,
            k: k as u32,
            n: n as u32,
            stride_a: gemm.a.stride() as u32,
            stride_b: gemm.b.stride() as u32,
            stride_c: gemm.c.stride() as u32,
            stride_residual,
            scale,
            finish,
        };
        let operands = [a, gemm.b.operand(Access::Read), c, bias, residual];
        self.dispatch(kernel, &constants, groups, &operands, bytemuck::bytes_of(&parameters))
            .map_err(called("gemm"))
    }
}

/// The tile for `[m, n]` where both factors are of `f16` and the device has cooperative matrices.
fn cooperative_tile<A: Float, B: Float>(
    m: usize,
    n: usize,
    device: &Device,
) -> Option<(CooperativeMatrices, cooperative::Tile)> {
    let matrices = device.limits().cooperative.filter(|_| A::HALF && B::HALF)?;
    let size = cooperative::size_of(m, n, enough(device), device.limits())?;
    Some((matrices, device.tuning().cooperative_tile(size)))
}

/// The kernels for few rows and for many, by what A and B are stored in.
fn kernels<A: Float, B: Float>() -> [Kernel; 2] {
    match (A::HALF, B::HALF) {
        (false, false) => [Kernel::Gemv, Kernel::Gemm],
        (true, false) => [Kernel::GemvA16, Kernel::GemmA16],
        (false, true) => [Kernel::GemvB16, Kernel::GemmB16],
        (true, true) => [Kernel::GemvAb16, Kernel::GemmAb16],
    }
}
