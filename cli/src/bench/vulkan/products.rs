//! Products of matrices: square ones, and one row with a matrix of weights, as generation has it.

use upbeat_kernels::{twin, Gemm as TwinGemm, Mat, MatMut, Write};
use upbeat_vulkan::{f16, Buffer, Commands, Device, Float, Gemm, Matrix, VulkanError};

use super::case::{Beside, Case, Numbers, Sizes, Stored, Work};

/// Products in f32 are to reach at least this share of PyTorch's, which does not use TF32 either.
const F32_GOAL: f64 = 0.7;
/// Products of f16 are to reach at least this share of PyTorch's, on devices with cooperative matrices.
const F16_GOAL: f64 = 0.35;
/// Sides of square products.
const SIDES: [usize; 4] = [512, 1024, 2048, 4096];
/// `[rows of the weights, their width]` of one row's products: a model's inner ones, and its way back.
const WEIGHTS: [[usize; 2]; 3] = [[4096, 4096], [11008, 4096], [4096, 11008]];
/// A sum of thousands of products, each rounded to f32.
const TOLERANCE: f64 = 1e-5;

/// A product `[m, k]·[k, n]`.
#[derive(Clone, Copy)]
struct Shape {
    m: usize,
    n: usize,
    k: usize,
    /// Whether the right factor is stored as weights are, `[n, k]`.
    transpose_b: bool,
}

/// Where the call has its form: C = A·B.
fn multiply<A: Float, B: Float>(
    commands: &mut Commands,
    Shape { m, n, k, transpose_b }: Shape,
    a: &Buffer<A>,
    b: &Buffer<B>,
    c: &Buffer<f32>,
) -> Result<(), VulkanError> {
    let (b_rows, b_cols) = if transpose_b { (n, k) } else { (k, n) };
    let product = Gemm::new(Matrix::new(a, m, k)?, Matrix::new(b, b_rows, b_cols)?, Matrix::new(c, m, n)?);
    commands.gemm(&Gemm { transpose_b, ..product }).map(|_| ())
}

fn product<A: Stored, B: Stored>(device: &Device, shape: Shape) -> Result<Work, VulkanError> {
    let Shape { m, n, k, transpose_b } = shape;
    let (of_a, of_b) = (Numbers::around_zero(5), Numbers::around_zero(6));
    let (a, b, c) =
        (of_a.upload::<A>(device, m * k)?, of_b.upload::<B>(device, n * k)?, device.buffer(m * n)?);
    let expected = move |row| {
        let (a, b) = (of_a.wide::<A>(row * k..(row + 1) * k), of_b.wide::<B>(0..n * k));
        let mut c = vec![0.0; n];
        let (b_rows, b_cols) = if transpose_b { (n, k) } else { (k, n) };
        let fits = "the lengths follow from the shape";
        let gemm = TwinGemm {
            a: Mat::new(&a, 1, k).expect(fits),
            transpose_a: false,
            b: Mat::new(&b, b_rows, b_cols).expect(fits),
            transpose_b,
            c: MatMut::new(&mut c, 1, n).expect(fits),
            write: Write::Overwrite,
            epilogue: upbeat_kernels::Epilogue::default(),
        };
        twin::gemm::gemm(gemm).expect(fits);
        c
    };
    let record = move |commands: &mut Commands, c: &Buffer<f32>| multiply(commands, shape, &a, &b, c);
    Ok(Work::new(vec![c.clone()], m, TOLERANCE, expected, move |commands| record(commands, &c)))
}

fn square<A: Stored, B: Stored>(sizes: Sizes, goal: Option<f64>) -> impl Iterator<Item = Case> {
    let sides = if sizes.small { &[96][..] } else { &SIDES };
    sides.iter().map(move |&side| {
        let of = |side| Shape { m: side, n: side, k: side, transpose_b: false };
        let name = format!("GEMM {}: {side} x {side} x {side}", types::<A, B>());
        let operations = 2.0 * (side as f64).powi(3);
        Case::new(name, (operations, "GFLOP/s"), Beside::Peer(goal), [of(side), of(70)], product::<A, B>)
    })
}

/// One row with weights, which are read once: a rate of bytes.
fn row<B: Stored>(sizes: Sizes) -> impl Iterator<Item = Case> {
    let weights = if sizes.small { &[[100, 36]][..] } else { &WEIGHTS };
    weights.iter().map(move |&[n, k]| {
        let of = |n, k| Shape { m: 1, n, k, transpose_b: true };
        let name = format!("GEMV {}: 1 x {n} x {k}", types::<f32, B>());
        let moved = (size_of::<B>() * n * k) as f64;
        Case::new(name, (moved, "GB/s"), Beside::Copies(None), [of(n, k), of(33, 70)], product::<f32, B>)
    })
}

/// The types of the factors, as names of rows have them.
fn types<A: Stored, B: Stored>() -> String {
    if A::NAME == B::NAME {
        A::NAME.to_owned()
    } else {
        format!("{} by {}", A::NAME, B::NAME)
    }
}

/// The rows; with `half`, also those of factors in f16.
pub(super) fn cases(sizes: Sizes, half: bool) -> Vec<Case> {
    let mut cases: Vec<_> = square::<f32, f32>(sizes, Some(F32_GOAL)).collect();
    if half {
        cases.extend(square::<f32, f16>(sizes, None));
        cases.extend(square::<f16, f16>(sizes, Some(F16_GOAL)));
    }
    cases.extend(row::<f32>(sizes));
    if half {
        cases.extend(row::<f16>(sizes));
    }
    cases
}
