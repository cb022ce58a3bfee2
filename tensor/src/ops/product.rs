//! Products of matrices, one or a batch, and linear layers.

use upbeat_kernels::gemm::{gemm_stored, GemmStored};
use upbeat_kernels::{Activation, Mat, MatMut, ShapeError, Write};
use upbeat_vulkan::{Buffer as Block, Commands, Epilogue, Float, Gemm, Matrix, VulkanError};

use super::{run, shapes};
use crate::{Number, Tensor, TensorError};

/// What is multiplied on a device: `op(A)·op(B)` is `[m, k]·[k, n]`.
struct Factors<'a, B> {
    a: &'a Block<f32>,
    b: &'a Block<B>,
    m: usize,
    k: usize,
    n: usize,
    turn_a: bool,
    turn_b: bool,
}

/// A matrix `[rows, cols]` as it is stored.
fn stored(rows: usize, cols: usize, turn: bool) -> (usize, usize) {
    if turn {
        (cols, rows)
    } else {
        (rows, cols)
    }
}

/// Records a product. The one place that knows Vulkan's.
fn gemm<B: Float>(
    commands: &mut Commands,
    factors: Factors<'_, B>,
    out: &Block<f32>,
    epilogue: Epilogue<'_>,
) -> Result<(), VulkanError> {
    let Factors { a, b, m, k, n, turn_a, turn_b } = factors;
    let ((a_rows, a_cols), (b_rows, b_cols)) = (stored(m, k, turn_a), stored(k, n, turn_b));
    let (a, b) = (Matrix::new(a, a_rows, a_cols)?, Matrix::new(b, b_rows, b_cols)?);
    let product = Gemm::new(a, b, Matrix::new(out, m, n)?);
    commands.gemm(&Gemm { transpose_a: turn_a, transpose_b: turn_b, epilogue, ..product }).map(drop)
}

/// A batch of products: `[m, k]·[k, n]` each.
struct Products {
    count: usize,
    m: usize,
    k: usize,
    n: usize,
    turn_a: bool,
    turn_b: bool,
    /// Whether all have the same right factor.
    shared: bool,
}

impl Products {
    /// Which numbers of B the `i`-th one has.
    fn of_b(&self, i: usize) -> std::ops::Range<usize> {
        let i = if self.shared { 0 } else { i };
        i * self.k * self.n..(i + 1) * self.k * self.n
    }

    /// The `i`-th product on the CPU.
    fn on_host<B: Number>(&self, i: usize, a: &[f32], b: &[B], out: &mut [f32]) -> Result<(), ShapeError> {
        let &Self { m, k, n, turn_a, turn_b, .. } = self;
        let ((a_rows, a_cols), (b_rows, b_cols)) = (stored(m, k, turn_a), stored(k, n, turn_b));
        gemm_stored(GemmStored {
            a: Mat::new(&a[i * m * k..(i + 1) * m * k], a_rows, a_cols)?.into(),
            transpose_a: turn_a,
            b: B::factor(Mat::new(&b[self.of_b(i)], b_rows, b_cols)?),
            transpose_b: turn_b,
            c: MatMut::new(out, m, n)?,
            write: Write::Overwrite,
            epilogue: upbeat_kernels::Epilogue::default(),
        })
    }
}

impl Tensor {
    /// The product of matrices `[.., m, k]·[.., k, n] = [.., m, n]`: a batch of them where both have the same dimensions before the last two,
    /// or all with one right factor `[k, n]`. That may be stored in f16. Sums are f32; `k = 0` gives zeros.
    ///
    /// A batch on a Vulkan device is a dispatch for each product.
    ///
    /// # Errors
    /// Shapes that do not fit; operands on two devices.
    pub fn matmul<B: Number>(&self, other: &Tensor<B>) -> Result<Self, TensorError> {
        self.matmul_transposed(false, other, false)
    }

    /// [`matmul`](Self::matmul) of transposed matrices: `self` is stored as `[.., k, m]` where `transpose_self`, `other` as `[.., n, k]` where
    /// `transpose_other`. Nothing is copied.
    ///
    /// # Errors
    /// As [`matmul`](Self::matmul).
    pub fn matmul_transposed<B: Number>(
        &self,
        transpose_self: bool,
        other: &Tensor<B>,
        transpose_other: bool,
    ) -> Result<Self, TensorError> {
        let wrong = || {
            let takes = match (transpose_self, transpose_other) {
                (false, false) => "[.., m, k] and [.., k, n]",
                (true, false) => "[.., k, m] and [.., k, n]",
                (false, true) => "[.., m, k] and [.., n, k]",
                (true, true) => "[.., k, m] and [.., n, k]",
            };
            let advice = "k and what stands for .. must be the same in both (a single [k, n] serves all); matmul_transposed \
                          takes a factor that is stored the other way round";
            shapes("matmul", takes, &[self.shape(), other.shape()], advice)
        };
        let ([lead @ .., a_rows, a_cols], [lead_b @ .., b_rows, b_cols]) = (self.shape(), other.shape())
        else {
            return Err(wrong());
        };
        let (mut m, k) = stored(*a_rows, *a_cols, transpose_self);
        let (k_b, n) = stored(*b_rows, *b_cols, transpose_other);
        let shared = lead_b.is_empty();
        if k != k_b || (!shared && lead != lead_b) {
            return Err(wrong());
        }
        let shape = lead.iter().copied().chain([m, n]).collect();
        let mut count = lead.iter().product();
        if shared && !transpose_self {
            // The rows of all are those of one.
            (m, count) = (m * count, 1);
        }
        let products = Products { count, m, k, n, turn_a: transpose_self, turn_b: transpose_other, shared };
        self.products(&products, other, shape)
    }

    fn products<B: Number>(
        &self,
        products: &Products,
        other: &Tensor<B>,
        shape: Vec<usize>,
    ) -> Result<Self, TensorError> {
        let &Products { count, m, k, n, turn_a, turn_b, .. } = products;
        let cpu = |out: &mut [f32]| {
            let (a, b) = (self.host(), other.host());
            if count == 1 {
                return products.on_host(0, a, b, out);
            }
            // Small ones side by side; each has tasks of its own besides.
            upbeat::par::chunks_mut(out, m * n, |i, out| {
                products.on_host(i, a, b, out).expect("the whole batch was checked");
            });
            Ok(())
        };
        let operands = [self.operand(), other.operand()];
        run("matmul", &operands[0].place(), operands, shape, cpu, |commands, out| {
            for i in 0..count {
                let a = &self.block().slice(i * m * k..(i + 1) * m * k);
                let b = &other.block().slice(products.of_b(i));
                let factors = Factors { a, b, m, k, n, turn_a, turn_b };
                gemm(commands, factors, &out.slice(i * m * n..(i + 1) * m * n), Epilogue::default())?;
            }
            Ok(())
        })
    }

    /// A linear layer in one pass: `activation(self·weightᵀ + bias) + residual`, `[.., inputs]` to `[.., outputs]`.
    ///
    /// `weight` is `[outputs, inputs]`, in f32 or f16; `bias` is `[outputs]`; `residual` has the shape of the result.
    ///
    /// # Errors
    /// Shapes that do not fit; operands on two devices.
    pub fn linear<W: Number>(
        &self,
        weight: &Tensor<W>,
        bias: Option<&Self>,
        activation: Activation,
        residual: Option<&Self>,
    ) -> Result<Self, TensorError> {
        let mut given = vec![self.shape(), weight.shape()];
        given.extend(bias.into_iter().chain(residual).map(Self::shape));
        let takes = "[.., inputs], a weight [outputs, inputs], a bias [outputs] and a residual [.., outputs]";
        let wrong = || {
            let advice = "a weight has a row for each output; matmul_transposed takes one that is stored the other way round";
            shapes("linear", takes, &given, advice)
        };
        let ([lead @ .., inputs], &[n, k]) = (self.shape(), weight.shape()) else { return Err(wrong()) };
        let shape: Vec<_> = lead.iter().copied().chain([n]).collect();
        let fits = bias.is_none_or(|bias| bias.shape() == [n])
            && residual.is_none_or(|residual| residual.shape() == shape);
        if *inputs != k || !fits {
            return Err(wrong());
        }
        let m = lead.iter().product();
        let cpu = |out: &mut [f32]| {
            gemm_stored(GemmStored {
                a: Mat::new(self.host(), m, k)?.into(),
                transpose_a: false,
                b: W::factor(Mat::new(weight.host(), n, k)?),
                transpose_b: true,
                c: MatMut::new(out, m, n)?,
                write: Write::Overwrite,
                epilogue: upbeat_kernels::Epilogue {
                    scale: None,
                    bias: bias.map(Self::host),
                    activation,
                    residual: residual.map(|residual| Mat::new(residual.host(), m, n)).transpose()?,
                },
            })
        };
        let mut operands = vec![self.operand(), weight.operand()];
        operands.extend(bias.into_iter().chain(residual).map(Self::operand));
        run("linear", &operands[0].place(), operands, shape, cpu, |commands, out| {
            let residual = residual.map(|residual| Matrix::new(residual.block(), m, n)).transpose()?;
            let epilogue =
                Epilogue { bias: bias.map(Self::block), activation, residual, ..Epilogue::default() };
            let (a, b) = (self.block(), weight.block());
            gemm(commands, Factors { a, b, m, k, n, turn_a: false, turn_b: true }, out, epilogue)
        })
    }
}
