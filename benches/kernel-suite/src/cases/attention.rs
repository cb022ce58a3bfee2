//! Attention over packed projections: forward 4·batch·heads·seq²·dim operations, backward 2.5 times that, causal half of it.

use std::sync::Mutex;

use upbeat_kernels::{AttentionShape, Buffer, Element};

use super::{near, numbers, samples, With};
use crate::case::{Case, Goal, Sizes};
use crate::limits::Bound;

/// Operands and results.
struct Operands {
    shape: AttentionShape,
    qkv: Buffer<f32>,
    out: Buffer<f32>,
    lse: Buffer<f32>,
    d_out: Buffer<f32>,
    d_qkv: Buffer<f32>,
}

impl Operands {
    fn new(shape: AttentionShape) -> Self {
        let positions = shape.batch * shape.seq * shape.heads;
        let values = positions * shape.dim;
        Self {
            shape,
            qkv: numbers(3 * values, 1),
            out: Buffer::zeroed(values),
            lse: Buffer::zeroed(positions),
            d_out: numbers(values, 2),
            d_qkv: Buffer::zeroed(3 * values),
        }
    }

    fn forward(&mut self) {
        f32::attention_forward(self.shape, &self.qkv, &mut self.out, &mut self.lse).expect("the shapes fit");
    }

    fn backward(&mut self) {
        let Self { shape, qkv, out, lse, d_out, d_qkv } = self;
        f32::attention_backward(*shape, qkv, out, lse, d_out, d_qkv).expect("the shapes fit");
    }

    /// Number `d` of a part (0 query, 1 key, 2 value) of a head at a position.
    fn part(&self, part: usize, at: (usize, usize, usize), d: usize) -> f64 {
        let AttentionShape { seq, heads, dim, .. } = self.shape;
        let (sequence, head, position) = at;
        f64::from(self.qkv[(((sequence * seq + position) * 3 + part) * heads + head) * dim + d])
    }

    /// One sampled output element after the other against the formula in f64.
    fn check_forward(&self) {
        let AttentionShape { seq, heads, dim, causal, .. } = self.shape;
        for at in samples(self.out.len()).take(20) {
            let (row, d) = (at / dim, at % dim);
            let (head, position, sequence) = (row % heads, row / heads % seq, row / heads / seq);
            let visible = if causal { position + 1 } else { seq };
            let score = |key: usize| {
                let product =
                    |d| self.part(0, (sequence, head, position), d) * self.part(1, (sequence, head, key), d);
                (0..dim).map(product).sum::<f64>() / (dim as f64).sqrt()
            };
            let powers: Vec<f64> = (0..visible).map(|key| score(key).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let value = |key| powers[key] / sum * self.part(2, (sequence, head, key), d);
            near(self.out[at], (0..visible).map(value).sum(), 1e-5, "an output of attention");
        }
    }

    /// The gradient of all values of a head is the gradient of its outputs, summed: each query's probabilities sum to one.
    fn check_backward(&self) {
        let AttentionShape { seq, heads, dim, .. } = self.shape;
        for d in [0, dim - 1] {
            let sum = |of: &dyn Fn(usize) -> f32| (0..seq).map(|p| f64::from(of(p))).sum::<f64>();
            let values = sum(&|p| self.d_qkv[(p * 3 + 2) * heads * dim + d]);
            let outputs = sum(&|p| self.d_out[p * heads * dim + d]);
            near(values as f32, outputs, 1e-4 * seq as f64, "the gradient of attention's values");
        }
    }
}

/// The shapes of the design's table, and the training step's.
pub(super) fn cases(sizes: Sizes, with: With<'_>) {
    let table = vec![(8, 12, 2048, 64), (1, 8, 4096, 64), (1, 32, 1024, 128), (8, 6, 256, 64)];
    for (batch, heads, seq, dim) in sizes.pick(vec![(2, 2, 70, 16)], table) {
        for causal in [false, true] {
            let shape = AttentionShape { batch, seq, heads, dim, causal };
            let operations = 4.0 * (batch * heads * seq * seq * dim) as f64 * if causal { 0.5 } else { 1.0 };
            let kind = if causal { "causal" } else { "full" };
            let operands = Mutex::new(Operands::new(shape));
            let lock = || operands.lock().expect("no kernel panics");
            let case = |work, amount, goal, run, check| Case {
                group: "attention",
                work: format!("{work} ({batch}, {heads}, {seq}, {dim}) {kind}"),
                bound: Bound::Arithmetic,
                amount,
                goal,
                run,
                check,
                peer: None,
            };
            with(case(
                "forward",
                operations,
                Goal::limit(0.8, 0.8).and_peer(if causal { 2.6 } else { 2.2 }),
                Box::new(|| lock().forward()),
                Box::new(|| lock().check_forward()),
            ));
            with(case(
                "backward",
                2.5 * operations,
                Goal::NONE,
                Box::new(|| lock().backward()),
                Box::new(|| lock().check_backward()),
            ));
        }
    }
}
