//! The transformer against one written in plain loops from its definition, in f64, for every option.

use std::collections::HashMap;

use upbeat_nn::{Config, FeedForward, Norm, Positions, Transformer};

type Rows = Vec<Vec<f64>>;

struct Reference<'m> {
    config: &'m Config,
    parameters: HashMap<&'m str, &'m [f64]>,
}

impl Reference<'_> {
    /// `y[o] = Σ_i w[o, i]·x[i]` of each row.
    fn linear(&self, name: &str, x: &Rows) -> Rows {
        let weight = self.parameters[name];
        x.iter()
            .map(|row| {
                weight.chunks(row.len()).map(|w| w.iter().zip(row).map(|(w, x)| w * x).sum()).collect()
            })
            .collect()
    }

    fn norm(&self, name: &str, x: &Rows) -> Rows {
        let gain = self.parameters[name];
        let one = |row: &Vec<f64>| -> Vec<f64> {
            let n = row.len() as f64;
            let mean = match self.config.norm {
                Norm::Rms => 0.0,
                Norm::Layer => row.iter().sum::<f64>() / n,
            };
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let deviation = (variance + self.config.norm_epsilon).sqrt();
            row.iter().zip(gain).map(|(x, g)| g * (x - mean) / deviation).collect()
        };
        x.iter().map(one).collect()
    }

    /// Head `head` of `x`, turned by its position when positions are rotary: `(a, b) → (a·cos - b·sin, a·sin + b·cos)`
    /// for each pair `(i, i + dim/2)`.
    fn head(&self, x: &[f64], head: usize, position: usize) -> Vec<f64> {
        let dim = self.config.width / self.config.heads;
        let x = &x[head * dim..][..dim];
        let Positions::Rotary { base } = self.config.positions else { return x.to_vec() };
        let mut turned = vec![0.0; dim];
        for i in 0..dim / 2 {
            let angle = position as f64 * base.powf(-2.0 * i as f64 / dim as f64);
            let (a, b) = (x[i], x[i + dim / 2]);
            turned[i] = a * angle.cos() - b * angle.sin();
            turned[i + dim / 2] = a * angle.sin() + b * angle.cos();
        }
        turned
    }

    fn attention(&self, block: &str, x: &Rows) -> Rows {
        let (width, heads) = (self.config.width, self.config.heads);
        let dim = width / heads;
        let qkv = self.linear(&format!("{block}.attention.qkv.weight"), x);
        let mut mixed = vec![vec![0.0; width]; x.len()];
        for h in 0..heads {
            for i in 0..x.len() {
                let query = self.head(&qkv[i][..width], h, i);
                let weights: Vec<f64> = (0..=i)
                    .map(|j| {
                        let key = self.head(&qkv[j][width..2 * width], h, j);
                        let dot: f64 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
                        (dot / (dim as f64).sqrt()).exp()
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                for (j, weight) in weights.iter().enumerate() {
                    let value = &qkv[j][2 * width + h * dim..][..dim];
                    for (m, v) in mixed[i][h * dim..][..dim].iter_mut().zip(value) {
                        *m += weight / total * v;
                    }
                }
            }
        }
        self.linear(&format!("{block}.attention.out.weight"), &mixed)
    }

    fn feed_forward(&self, block: &str, x: &Rows) -> Rows {
        let hidden = match self.config.feed_forward {
            FeedForward::Gelu => {
                let gelu = |x: &f64| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2));
                let up = self.linear(&format!("{block}.feed_forward.up.weight"), x);
                up.iter().map(|row| row.iter().map(gelu).collect()).collect()
            }
            FeedForward::SwiGlu => {
                let both = self.linear(&format!("{block}.feed_forward.gate_up.weight"), x);
                let gated = |row: &Vec<f64>| {
                    let (gate, up) = row.split_at(self.config.hidden);
                    gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
                };
                both.iter().map(gated).collect()
            }
        };
        self.linear(&format!("{block}.feed_forward.down.weight"), &hidden)
    }

    fn logits(&self, tokens: &[u32]) -> Rows {
        let width = self.config.width;
        let row = |table: &[f64], i: usize| table[i * width..][..width].to_vec();
        let mut x: Rows =
            tokens.iter().map(|&t| row(self.parameters["embedding.weight"], t as usize)).collect();
        if self.config.positions == Positions::Learned {
            let table = self.parameters["positions.weight"];
            x = sum(&x, &(0..x.len()).map(|i| row(table, i)).collect());
        }
        for i in 0..self.config.layers {
            let block = format!("blocks.{i}");
            x = sum(&x, &self.attention(&block, &self.norm(&format!("{block}.attention_norm.weight"), &x)));
            let normed = self.norm(&format!("{block}.feed_forward_norm.weight"), &x);
            x = sum(&x, &self.feed_forward(&block, &normed));
        }
        self.linear("embedding.weight", &self.norm("norm.weight", &x))
    }
}

fn sum(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}

/// The error function by its Maclaurin series, exact enough for arguments below 3.
fn erf(x: f64) -> f64 {
    assert!(x.abs() < 3.0, "the series would lose digits at {x}");
    let (mut term, mut total) = (x, x);
    for n in 1..60 {
        term *= -x * x / n as f64;
        total += term / (2 * n + 1) as f64;
    }
    total * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn every_kind_of_transformer_is_its_definition() {
    for norm in [Norm::Rms, Norm::Layer] {
        for feed_forward in [FeedForward::SwiGlu, FeedForward::Gelu] {
            for positions in [Positions::Rotary { base: 50.0 }, Positions::Learned] {
                let config = Config {
                    vocabulary: 9,
                    context: 6,
                    width: 8,
                    layers: 2,
                    heads: 2,
                    hidden: 12,
                    norm,
                    feed_forward,
                    positions,
                    norm_epsilon: 1e-3,
                };
                let mut model = Transformer::<f64>::new(config.clone(), 17).unwrap();
                for (p, parameter) in model.parameters_mut().iter_mut().enumerate() {
                    // Large enough to matter, and gains that are not all one.
                    let is_matrix = parameter.shape.len() == 2;
                    for (i, x) in parameter.values.iter_mut().enumerate() {
                        *x = if is_matrix { *x * 14.0 } else { 1.0 + 0.1 * ((i + p) % 5) as f64 };
                    }
                }
                let parameters = model.parameters().iter().map(|p| (p.name.as_str(), &*p.values)).collect();
                let reference = Reference { config: &config, parameters };

                let (tokens, targets) = ([3, 1, 4, 1, 5, 8, 2, 7, 1, 8], [1, 4, 1, 5, 8, 7, 1, 8, 2, 0]);
                let (mut expected, mut loss) = (Vec::new(), 0.0);
                for (tokens, targets) in tokens.chunks(5).zip(targets.chunks(5)) {
                    for (row, &target) in reference.logits(tokens).iter().zip(targets) {
                        let total: f64 = row.iter().map(|x| x.exp()).sum();
                        loss += (total.ln() - row[target as usize]) / 10.0;
                        expected.extend_from_slice(row);
                    }
                }
                let logits = model.logits(&tokens, 5).unwrap();
                assert_eq!(logits.values().len(), expected.len());
                for (i, (x, y)) in logits.values().iter().zip(&expected).enumerate() {
                    assert!((x - y).abs() < 1e-12, "{config:?}: logit {i} is {x}, by definition {y}");
                }
                let found = model.loss(&tokens, &targets, 5).unwrap();
                assert!((found - loss).abs() < 1e-12, "{config:?}: loss {found}, by definition {loss}");
            }
        }
    }
}
