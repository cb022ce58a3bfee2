//! A linear layer for rows that many tasks submit: the executor of a [`Batcher`](upbeat::batch::Batcher).
//!
//! One task's few rows read all weights from memory for a few multiplications each. Rows of many tasks together read them once.

use super::packed::{gemm_packed, GemmPacked, PackedB};
use crate::contract;
use crate::element::{Activation, Epilogue, Write};
use crate::error::{check, ShapeError};
use crate::matrix::{Mat, MatMut};
use crate::pool::Buffer;

/// `act(x·W + bias)`, with weights packed once.
///
/// ```
/// use upbeat::batch::{BatchOptions, Batcher};
/// use upbeat_kernels::gemm::{Linear, PackedB};
/// use upbeat_kernels::Mat;
///
/// // Two numbers in, three out.
/// let weights = PackedB::new(Mat::new(&[1.0f32, 2.0, 3.0, 10.0, 20.0, 30.0], 2, 3)?, false)?;
/// let layer = Linear::new(weights).with_bias(vec![0.5; 3])?;
/// // 32 submissions at most in a product, and one product at a time: what comes meanwhile gathers in the next one.
/// let batcher = Batcher::with(&BatchOptions::new(32).running(1), move |rows, results| layer.run(rows, results))?;
///
/// let (one, two) = (batcher.submit(vec![1.0, 0.0])?, batcher.submit(vec![0.0, 1.0, 1.0, 1.0])?);
/// assert_eq!(one.wait()??, [1.5, 2.5, 3.5]);
/// assert_eq!(two.wait()??, [10.5, 20.5, 30.5, 11.5, 22.5, 33.5]);
/// // A length that holds no whole rows is that submission's error and nobody else's.
/// assert!(batcher.submit(vec![1.0; 3])?.wait()?.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    weights: PackedB,
    bias: Option<Vec<f32>>,
    activation: Activation,
}

impl Linear {
    /// The layer `x·W`: rows of `k` numbers become rows of `n`.
    pub fn new(weights: PackedB) -> Self {
        Self { weights, bias: None, activation: Activation::Identity }
    }

    /// Adds `bias`, `[n]`, to each row.
    ///
    /// # Errors
    /// When `bias` does not have a number for each column of the weights.
    pub fn with_bias(self, bias: Vec<f32>) -> Result<Self, ShapeError> {
        check("the length of the bias", self.weights.n(), bias.len())?;
        Ok(Self { bias: Some(bias), ..self })
    }

    /// Applies `activation` to each number of the result.
    #[must_use]
    pub fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Numbers of a row that goes in.
    pub fn k(&self) -> usize {
        self.weights.k()
    }

    /// Numbers of a row that comes out.
    pub fn n(&self) -> usize {
        self.weights.n()
    }

    /// Takes all submissions, `[m, k]` each with an `m` of its own, and pushes a result `[m, n]` for each, in their order. All rows are
    /// multiplied as one product, on all workers that are idle. A row's bits do not depend on what else is in the batch: they are those of
    /// [`gemm_packed`] on it alone.
    ///
    /// A submission whose length is not a multiple of `k` gets an error as its result; the others are not touched by it.
    ///
    /// # Panics
    /// When there is no memory for all rows and their results together; every submission of the batch then gets
    /// [`BatchError::Panicked`](upbeat::batch::BatchError::Panicked). Where clients choose how many rows they send, bound them before they submit.
    pub fn run(&self, submissions: &mut Vec<Vec<f32>>, results: &mut Vec<Result<Vec<f32>, ShapeError>>) {
        let (k, n) = (self.k(), self.n());
        let rows = |x: &Vec<f32>| contract::units("the length of a submission", x.len(), k);
        let total = submissions.iter().filter_map(|x| rows(x).ok()).sum::<usize>();
        let (mut a, mut c) = (Buffer::<f32>::unspecified(total * k), Buffer::<f32>::unspecified(total * n));
        let mut from = 0;
        for x in submissions.iter().filter(|x| rows(x).is_ok()) {
            a[from..from + x.len()].copy_from_slice(x);
            from += x.len();
        }
        self.product(&a, total, &mut c).expect("shapes were counted");
        let mut from = 0;
        results.extend(submissions.drain(..).map(|mut x| {
            let len = rows(&x)? * n;
            // In the submission's own memory, where that is large enough.
            x.clear();
            x.extend_from_slice(&c[from..from + len]);
            from += len;
            Ok(x)
        }));
    }

    fn product(&self, a: &[f32], m: usize, c: &mut [f32]) -> Result<(), ShapeError> {
        let (a, c) = (Mat::new(a, m, self.k())?, MatMut::new(c, m, self.n())?);
        let epilogue =
            Epilogue { bias: self.bias.as_deref(), activation: self.activation, ..Epilogue::default() };
        let (b, write) = (&self.weights, Write::Overwrite);
        gemm_packed(GemmPacked { a, transpose_a: false, b, c, write, epilogue })
    }
}
