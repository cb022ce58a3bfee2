//! Products of matrices: 2·m·n·k operations; with one row of A the bytes of B count.

use std::sync::Mutex;

use upbeat_kernels::gemm::{gemm, gemm_packed, GemmPacked, PackedB};
use upbeat_kernels::{Activation, Buffer, Epilogue, Gemm, Mat, MatMut, Write};

use super::{near, numbers, samples, With};
use crate::case::{Case, Goal, Peer, Sizes};
use crate::limits::Bound;

/// A product `[m, k]·[k, n]`; weights are stored `[n, k]` when `transposed`, and packed before the first call when `packed` is there.
struct Product {
    size: (usize, usize, usize),
    transposed: bool,
    packed: Option<PackedB>,
    activation: Activation,
    a: Buffer<f32>,
    b: Buffer<f32>,
    bias: Buffer<f32>,
}

impl Product {
    fn new((m, n, k): (usize, usize, usize), transposed: bool, activation: Activation) -> Self {
        let (a, b, bias) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
        Self { size: (m, n, k), transposed, packed: None, activation, a, b, bias }
    }

    /// The same with weights that are packed once.
    fn packed(self) -> Self {
        let packed = PackedB::new(self.weights(), self.transposed).expect("the sizes are small");
        Self { packed: Some(packed), ..self }
    }

    /// The right factor as stored.
    fn weights(&self) -> Mat<'_, f32> {
        let (_, n, k) = self.size;
        let (rows, cols) = if self.transposed { (n, k) } else { (k, n) };
        Mat::new(&self.b, rows, cols).expect("B fits")
    }

    fn is_plain(&self) -> bool {
        self.activation == Activation::Identity
    }

    fn run(&self, c: &mut [f32]) {
        let (m, n, k) = self.size;
        let bias = (!self.is_plain()).then_some(&self.bias[..]);
        let epilogue = Epilogue { bias, activation: self.activation, ..Epilogue::default() };
        let a = Mat::new(&self.a, m, k).expect("A fits");
        let (c, write) = (MatMut::new(c, m, n).expect("C fits"), Write::Overwrite);
        let done = match &self.packed {
            Some(b) => gemm_packed(GemmPacked { a, transpose_a: false, b, c, write, epilogue }),
            None => {
                let (b, transpose_b) = (self.weights(), self.transposed);
                gemm(Gemm { a, transpose_a: false, b, transpose_b, c, write, epilogue })
            }
        };
        done.expect("the shapes fit");
    }

    fn check(&self, c: &[f32]) {
        let (m, n, k) = self.size;
        for at in samples(m * n) {
            let (i, j) = (at / n, at % n);
            let term = |p: usize| {
                let b = self.b[if self.transposed { j * k + p } else { p * n + j }];
                f64::from(self.a[i * k + p]) * f64::from(b)
            };
            let sum: f64 = (0..k).map(term).sum();
            let size: f64 = (0..k).map(|p| term(p).abs()).sum();
            // Twice, for the epilogue adds a bias, and GELU's slope is at most 1.13.
            let bound = 4.0 * (k + 2) as f64 * 2f64.powi(-24) * (size + 1.0);
            let expected = match self.activation {
                Activation::Identity => sum,
                _ => upbeat_kernels::twin::activation::gelu(sum + f64::from(self.bias[j])),
            };
            near(c[at], expected, bound, "a product's element");
        }
    }
}

fn case(with: With<'_>, work: String, product: Product, bound: Bound, goal: Goal) {
    let (m, n, k) = product.size;
    let amount = match bound {
        Bound::Arithmetic => 2.0 * (m * n * k) as f64,
        _ => 4.0 * (n * k) as f64,
    };
    let c = Mutex::new(Buffer::zeroed(m * n));
    let lock = || c.lock().expect("no product panics");
    with(Case {
        group: "gemm",
        work,
        bound,
        amount,
        goal,
        run: Box::new(|| product.run(&mut lock())),
        check: Box::new(|| product.check(&lock())),
        peer: peer(&product),
    });
}

/// The crate `gemm`, for products without an epilogue.
#[cfg(feature = "peers")]
#[allow(unsafe_code)]
fn peer(product: &Product) -> Option<Peer<'_>> {
    let (m, n, k) = product.size;
    let mut c = Buffer::zeroed(m * n);
    let run = move |workers: usize| {
        let (b_col, b_row) = if product.transposed { (k as isize, 1) } else { (1, n as isize) };
        let threads = match workers {
            1 => gemm::Parallelism::None,
            workers => gemm::Parallelism::Rayon(workers),
        };
        let (a, b, c) = (product.a.as_ptr(), product.b.as_ptr(), c.as_mut_ptr());
        // SAFETY: the vectors hold the matrices that the dimensions and strides describe.
        unsafe {
            gemm::gemm(
                m, n, k, c, 1, n as isize, false, a, 1, k as isize, b, b_col, b_row, 0.0f32, 1.0f32, false,
                false, false, threads,
            );
        }
    };
    (product.is_plain() && product.packed.is_none())
        .then(|| ("gemm", Box::new(run) as Box<dyn FnMut(usize) + Send>))
}

#[cfg(not(feature = "peers"))]
fn peer(_product: &Product) -> Option<Peer<'_>> {
    None
}

/// The rows of the design's table for f32.
pub(super) fn cases(sizes: Sizes, with: With<'_>) {
    let plain = |size, transposed| Product::new(size, transposed, Activation::Identity);
    for size in sizes.pick(vec![40], vec![512, 1024, 2048]) {
        let goal = if size >= 1024 { Goal::limit(0.95, 0.92) } else { Goal::NONE }.and_peer(1.0);
        let (work, shape) = (format!("{size} x {size} x {size}"), (size, size, size));
        let packed = format!("{work}, weights packed");
        case(with, work, plain(shape, false), Bound::Arithmetic, goal);
        case(with, packed, plain(shape, true).packed(), Bound::Arithmetic, goal);
    }
    let wide = sizes.pick(70, 4096);
    for rows in [8, 32] {
        let work = format!("{rows} x {wide} x {wide}, weights transposed");
        case(with, work, plain((rows, wide, wide), true), Bound::Arithmetic, Goal::peer(1.0));
        let work = format!("{rows} x {wide} x {wide}, weights packed");
        case(with, work, plain((rows, wide, wide), true).packed(), Bound::Arithmetic, Goal::peer(1.0));
    }
    for transposed in [true, false] {
        let order = if transposed { "transposed" } else { "plain" };
        let work = format!("1 x {wide} x {wide}, weights {order}");
        let goal = Goal::limit(0.95, 0.95).and_peer(1.0);
        case(with, work, plain((1, wide, wide), transposed), Bound::Read, goal);
    }
    let linear = [(128, 768, 512), (256, 1024, 768), (512, 2048, 1024)];
    for (m, n, k) in sizes.pick(vec![(20, 33, 50)], linear.to_vec()) {
        let work = format!("Linear + GELU {m} x {n} x {k}, weights packed");
        let product = Product::new((m, n, k), true, Activation::Gelu).packed();
        case(with, work, product, Bound::Arithmetic, Goal::peer(1.0));
    }
}
