//! The kernels by name, for each precision: `f32` runs the fast ones, `f64` the twins, `bf16` stores in 16 bits and
//! computes in f32.
//!
//! Shapes are written `[rows, cols]`, row-major and dense unless a view says otherwise. Every function checks the
//! shapes it is given and returns [`ShapeError`] before it writes anything.

use std::fmt::Debug;

use crate::element_decode::DecodeElement;
use crate::error::ShapeError;
use crate::matrix::{Mat, MatMut};
use crate::pool::{Buffer, Plain};

/// How a kernel treats what its output already holds. Gradients of values used twice are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The old content is ignored, NaN included.
    Overwrite,
    /// The result is added to the old content.
    Add,
}

/// What a GEMM epilogue applies to each element after the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// Exact GELU, `x/2 · erfc(-x/√2)`.
    Gelu,
    /// GELU by tanh, `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`.
    GeluTanh,
    /// SiLU, `x / (1 + exp(-x))`.
    Silu,
    /// ReLU, `max(x, 0)`; NaN stays NaN.
    Relu,
}

/// What happens to `A·B` on the register tile before it is stored: `act(scale·A·B + bias) + residual`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a, T> {
    /// Factor on the product, 1 where there is none.
    pub scale: Option<T>,
    /// One value a column of C, `[n]`.
    pub bias: Option<&'a [T]>,
    /// Applied after the bias.
    pub activation: Activation,
    /// Added last, `[m, n]`.
    pub residual: Option<Mat<'a, T>>,
}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Self { scale: None, bias: None, activation: Activation::Identity, residual: None }
    }
}

/// `C ← act(scale·op(A)·op(B) + bias) + residual`, or that added to C.
///
/// `op(A)` is `[m, k]`, `op(B)` is `[k, n]`, C is `[m, n]`; `op` transposes where the flag is set. `k = 0` gives a
/// product of zeros. With [`Write::Overwrite`] the old C is never read.
#[derive(Debug)]
pub struct Gemm<'a, T> {
    /// Left factor as stored: `[m, k]`, or `[k, m]` when `transpose_a`.
    pub a: Mat<'a, T>,
    /// Whether A is stored transposed.
    pub transpose_a: bool,
    /// Right factor as stored: `[k, n]`, or `[n, k]` when `transpose_b`.
    pub b: Mat<'a, T>,
    /// Whether B is stored transposed.
    pub transpose_b: bool,
    /// Output `[m, n]`.
    pub c: MatMut<'a, T>,
    /// Overwrite C or add to it.
    pub write: Write,
    /// Applied to the finished product.
    pub epilogue: Epilogue<'a, T>,
}

/// Shape of multi-head attention over projections packed as `[batch, seq, 3, heads, dim]` (query, key, value).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Independent sequences.
    pub batch: usize,
    /// Positions in a sequence.
    pub seq: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub dim: usize,
    /// Whether position `i` sees only positions `0..=i`.
    pub causal: bool,
}

impl AttentionShape {
    /// The factor on the logits, `1/√dim`.
    pub fn scale(&self) -> f64 {
        1.0 / (self.dim.max(1) as f64).sqrt()
    }
}

/// Hyper-parameters of one AdamW step (Loshchilov and Hutter, 2019; decay is decoupled).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay; the parameter is first scaled by `1 - learning_rate * weight_decay`.
    pub weight_decay: f64,
    /// 1 for the first step; corrects the moments' bias.
    pub step: u64,
    /// Every gradient is multiplied by this first (clipping by global norm); 1 leaves it.
    pub gradient_scale: f64,
}

impl AdamW {
    /// `[1 - β₁ᵗ, 1 - β₂ᵗ]`, what the moments are divided by at step `t`. Step 0 counts as 1.
    pub fn bias_corrections(&self) -> [f64; 2] {
        let t = self.step.max(1) as f64;
        [self.beta1, self.beta2].map(|beta| 1.0 - beta.powf(t))
    }
}

/// Numbers in the type that a kernel wants: lent as they are, or a rounded copy.
#[derive(Debug)]
pub enum Stored<'a, T: Plain> {
    /// They were of that type.
    Same(&'a [T]),
    /// They were of a wider one.
    Rounded(Buffer<T>),
}

/// A number that the kernels compute with. `f32` is fast, `f64` is the reference twin. `bf16` halves the memory that values
/// take: its kernels compute and sum in f32 and round each result once, to nearest even.
///
/// # Errors
/// Every kernel returns [`ShapeError`] when a length, dimension or index does not fit what its documentation says. It
/// checks before it writes, so the outputs are then unchanged.
pub trait Element: Plain + Default + PartialOrd + Debug + std::iter::Sum {
    /// What is not rounded to this type: statistics of rows, and parameters with their gradients and moments. f32 for
    /// bf16, otherwise the type itself.
    type Wide: Element<Wide = Self::Wide> + DecodeElement;

    /// The type's name, as in `"f32"`.
    const NAME: &'static str;

    /// Nearest value of this type.
    fn from_f64(x: f64) -> Self;
    /// The value, exactly.
    fn to_f64(self) -> f64;

    /// Wide numbers as values of this type: lent where the types are one, otherwise rounded into a buffer of the pool.
    fn stored(values: &[Self::Wide]) -> Stored<'_, Self>;
    /// As [`stored`](Self::stored) for a whole buffer, which is passed on where the types are one.
    fn narrowed(values: Buffer<Self::Wide>) -> Buffer<Self>;
    /// `out += a`, in the wide type.
    fn add_to_wide(a: &[Self], out: &mut [Self::Wide]) -> Result<(), ShapeError>;

    /// Matrix product with an epilogue, see [`Gemm`].
    fn gemm(gemm: Gemm<'_, Self>) -> Result<(), ShapeError>;

    /// `C ← op(A)·op(B)`, or that added to C, where C is of the wide type and keeps what was summed unrounded; `op` as in
    /// [`Gemm`].
    fn gemm_wide(
        a: Mat<'_, Self>,
        transpose_a: bool,
        b: Mat<'_, Self>,
        transpose_b: bool,
        c: MatMut<'_, Self::Wide>,
        write: Write,
    ) -> Result<(), ShapeError>;

    /// Attention, `softmax(Q·Kᵀ/√dim)·V` per head.
    ///
    /// `qkv: [batch, seq, 3, heads, dim]`, `out: [batch, seq, heads, dim]`,
    /// `lse: [batch, heads, seq]` receives the log of each row's sum of exponentials (the backward pass needs it).
    fn attention_forward(
        shape: AttentionShape,
        qkv: &[Self],
        out: &mut [Self],
        lse: &mut [Self::Wide],
    ) -> Result<(), ShapeError>;

    /// Gradient of [`attention_forward`](Self::attention_forward): overwrites `d_qkv`, shaped as `qkv`.
    fn attention_backward(
        shape: AttentionShape,
        qkv: &[Self],
        out: &[Self],
        lse: &[Self::Wide],
        d_out: &[Self],
        d_qkv: &mut [Self],
    ) -> Result<(), ShapeError>;

    /// One query position against a key/value cache: `q: [heads, dim]`, `keys` and `values: [len, heads, dim]`,
    /// `out: [heads, dim]`.
    fn attention_decode(
        heads: usize,
        dim: usize,
        q: &[Self],
        keys: &[Self],
        values: &[Self],
        out: &mut [Self],
    ) -> Result<(), ShapeError>;

    /// LayerNorm over rows of width `weight.len()`: `out = (x - mean)·rstd·weight + bias`, biased variance.
    /// `mean` and `rstd`: `[rows]`, kept for the backward pass.
    ///
    /// # Panics
    /// When `epsilon` is NaN, infinite or below 0.
    fn layer_norm_forward(
        x: &[Self],
        weight: &[Self],
        bias: Option<&[Self]>,
        epsilon: f64,
        out: &mut [Self],
        mean: &mut [Self::Wide],
        rstd: &mut [Self::Wide],
    ) -> Result<(), ShapeError>;

    /// Gradient of LayerNorm. `dx` as `write` says; `d_weight` and `d_bias` (`[cols]`) are added to.
    #[allow(clippy::too_many_arguments)]
    fn layer_norm_backward(
        dy: &[Self],
        x: &[Self],
        weight: &[Self],
        mean: &[Self::Wide],
        rstd: &[Self::Wide],
        dx: &mut [Self],
        write: Write,
        d_weight: &mut [Self::Wide],
        d_bias: Option<&mut [Self::Wide]>,
    ) -> Result<(), ShapeError>;

    /// RMSNorm over rows of width `weight.len()`: `out = x·rstd·weight`, `rstd = 1/√(mean(x²) + epsilon)`, `[rows]`.
    ///
    /// # Panics
    /// When `epsilon` is NaN, infinite or below 0.
    fn rms_norm_forward(
        x: &[Self],
        weight: &[Self],
        epsilon: f64,
        out: &mut [Self],
        rstd: &mut [Self::Wide],
    ) -> Result<(), ShapeError>;

    /// Gradient of RMSNorm. `dx` as `write` says; `d_weight` (`[cols]`) is added to.
    fn rms_norm_backward(
        dy: &[Self],
        x: &[Self],
        weight: &[Self],
        rstd: &[Self::Wide],
        dx: &mut [Self],
        write: Write,
        d_weight: &mut [Self::Wide],
    ) -> Result<(), ShapeError>;

    /// Softmax of each row of width `cols`. A row whose every logit is `-∞` gives zeros.
    fn softmax_forward(x: &[Self], cols: usize, out: &mut [Self]) -> Result<(), ShapeError>;

    /// Gradient of softmax from its result `y`: `dx = y·(dy - Σ dy·y)`.
    fn softmax_backward(
        dy: &[Self],
        y: &[Self],
        cols: usize,
        dx: &mut [Self],
        write: Write,
    ) -> Result<(), ShapeError>;

    /// Exact GELU of each element.
    fn gelu_forward(x: &[Self], out: &mut [Self]) -> Result<(), ShapeError>;
    /// `dx = dy · GELU'(x)`.
    fn gelu_backward(dy: &[Self], x: &[Self], dx: &mut [Self], write: Write) -> Result<(), ShapeError>;

    /// SiLU of each element.
    fn silu_forward(x: &[Self], out: &mut [Self]) -> Result<(), ShapeError>;
    /// `dx = dy · SiLU'(x)`.
    fn silu_backward(dy: &[Self], x: &[Self], dx: &mut [Self], write: Write) -> Result<(), ShapeError>;

    /// SwiGLU over rows `[gate | up]` of `2·width`: `out = SiLU(gate)·up`, rows of `width`.
    fn swiglu_forward(gate_up: &[Self], width: usize, out: &mut [Self]) -> Result<(), ShapeError>;
    /// Gradient of SwiGLU, shaped as `gate_up`.
    fn swiglu_backward(
        dy: &[Self],
        gate_up: &[Self],
        width: usize,
        dx: &mut [Self],
        write: Write,
    ) -> Result<(), ShapeError>;

    /// Rotary positions (Su et al., 2021), pairs `(i, i + dim/2)`, on the first `rotate` heads of each row of `heads`
    /// heads: row `r` is at position `first + r % seq`, pair `i` turns by `position · base^(-2i/dim)`.
    /// With packed projections `heads` counts query, key and value heads, and `rotate` leaves the values out.
    fn rope_forward(x: &[Self], shape: RopeShape, out: &mut [Self]) -> Result<(), ShapeError>;
    /// Gradient of [`rope_forward`](Self::rope_forward): the inverse turn.
    fn rope_backward(dy: &[Self], shape: RopeShape, dx: &mut [Self], write: Write) -> Result<(), ShapeError>;

    /// Rows of `table: [vocabulary, width]` picked by `ids`: `out: [ids.len(), width]`.
    fn embedding_forward(
        table: &[Self],
        width: usize,
        ids: &[u32],
        out: &mut [Self],
    ) -> Result<(), ShapeError>;
    /// Adds each row of `dy` to the row of `d_table` that it came from, in the order of `ids`.
    fn embedding_backward(
        dy: &[Self],
        width: usize,
        ids: &[u32],
        d_table: &mut [Self::Wide],
    ) -> Result<(), ShapeError>;

    /// Mean cross-entropy (nats) of `logits: [targets.len(), classes]`; `lse: [rows]` is kept for the backward pass.
    fn cross_entropy_forward(
        logits: &[Self],
        classes: usize,
        targets: &[u32],
        lse: &mut [Self::Wide],
    ) -> Result<f64, ShapeError>;
    /// `dx = scale · (softmax(logits) - one_hot(target))`; the caller folds `1/rows` and the loss' gradient into `scale`.
    fn cross_entropy_backward(
        logits: &[Self],
        classes: usize,
        targets: &[u32],
        lse: &[Self::Wide],
        scale: f64,
        dx: &mut [Self],
        write: Write,
    ) -> Result<(), ShapeError>;

    /// `out = a + b`, element by element.
    fn add(a: &[Self], b: &[Self], out: &mut [Self]) -> Result<(), ShapeError>;
    /// `out = a · b`, element by element.
    fn mul(a: &[Self], b: &[Self], out: &mut [Self]) -> Result<(), ShapeError>;
    /// `out += factor · a`.
    fn add_scaled(a: &[Self], factor: f64, out: &mut [Self]) -> Result<(), ShapeError>;
    /// `out[r, c] = x[r, c] + bias[c]`, rows of `bias.len()`.
    fn add_bias(x: &[Self], bias: &[Self], out: &mut [Self]) -> Result<(), ShapeError>;
    /// `out[c] += Σ_r x[r, c]`, rows of `out.len()`, in a fixed tree.
    fn sum_rows(x: &[Self], out: &mut [Self::Wide]) -> Result<(), ShapeError>;
    /// Sum of squares, accumulated in f64 over a fixed tree.
    fn sum_of_squares(x: &[Self]) -> f64;

    /// One AdamW step: updates `parameter`, `first` and `second` moments (all of one length) from `gradient`.
    fn adamw_step(
        step: &AdamW,
        parameter: &mut [Self::Wide],
        gradient: &[Self::Wide],
        first: &mut [Self::Wide],
        second: &mut [Self::Wide],
    ) -> Result<(), ShapeError>;
}

/// Where [`Element::rope_forward`] finds its heads and positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeShape {
    /// Rows of one sequence; row `r` is at position `first + r % seq`.
    pub seq: usize,
    /// Position of the first row.
    pub first: usize,
    /// Heads in a row, turned or not.
    pub heads: usize,
    /// How many of them, from the first, are turned.
    pub rotate: usize,
    /// Width of a head; even.
    pub dim: usize,
    /// Base of the frequencies, 10000 by custom.
    pub base: f64,
}
