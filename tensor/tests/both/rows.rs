//! Softmax, its logarithm, norms, embeddings.

use upbeat_tensor::{f16, Indices, Tensor, TensorError};

use crate::support::{check, devices, numbers, tensor, Bound};

const SHAPES: [(usize, usize); 7] = [(1, 1), (3, 5), (4, 64), (7, 129), (2, 5001), (0, 3), (3, 0)];

/// `f` of each row in f64.
fn each_row(x: &[f32], cols: usize, f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    wide.chunks(cols.max(1)).flat_map(f).collect()
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return vec![max; row.len()];
    }
    let sum = max + row.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    row.iter().map(|x| x - sum).collect()
}

fn softmax(row: &[f64]) -> Vec<f64> {
    log_softmax(row).iter().map(|x| x.exp()).collect()
}

#[test]
fn softmax_and_its_logarithm() {
    let exponential = Bound { absolute: 2e-38, relative: 6e-6 };
    let logarithm = Bound { absolute: 1e-6, relative: 1e-6 };
    for (rows, cols) in SHAPES {
        for factor in [1.0, 30.0] {
            let x: Vec<f32> = numbers(rows * cols, 1).iter().map(|x| factor * x).collect();
            let shape = [rows, cols];
            let what = format!("{shape:?} up to {factor}");
            check(&what, &shape, &each_row(&x, cols, softmax), exponential, |device| {
                tensor(&x, &shape, device).softmax()
            });
            check(&what, &shape, &each_row(&x, cols, log_softmax), logarithm, |device| {
                tensor(&x, &shape, device).log_softmax()
            });
        }
    }
}

#[test]
fn softmax_of_rows_with_infinities_and_nan() {
    let (low, nan) = (f32::NEG_INFINITY, f32::NAN);
    let x = [low, low, low, 1.0, low, 1.0, 1.0, nan, 2.0, f32::INFINITY, 0.0, 0.0];
    let half = 0.5_f64;
    let (wide, bad) = (f64::NEG_INFINITY, f64::NAN);
    let exact = [0.0, 0.0, 0.0, half, 0.0, half, bad, bad, bad, bad, bad, bad];
    let bound = Bound { absolute: 0.0, relative: 1e-6 };
    check("softmax", &[4, 3], &exact, bound, |device| tensor(&x, &[4, 3], device).softmax());
    let exact = [wide, wide, wide, half.ln(), wide, half.ln(), bad, bad, bad, bad, bad, bad];
    check("log_softmax", &[4, 3], &exact, bound, |device| tensor(&x, &[4, 3], device).log_softmax());
}

#[test]
fn norms() {
    let bound = Bound { absolute: 4e-6, relative: 4e-6 };
    for (rows, cols) in SHAPES {
        let (x, weight, bias) = (numbers(rows * cols, 2), numbers(cols, 3), numbers(cols, 4));
        let epsilon = 1e-5;
        let layer = |with: bool| {
            each_row(&x, cols, |row| {
                let mean = row.iter().sum::<f64>() / cols as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / cols as f64;
                let of = |(c, x): (usize, &f64)| {
                    let bias = if with { f64::from(bias[c]) } else { 0.0 };
                    (x - mean) / (variance + epsilon).sqrt() * f64::from(weight[c]) + bias
                };
                row.iter().enumerate().map(of).collect()
            })
        };
        let rms = each_row(&x, cols, |row| {
            let scale = (row.iter().map(|x| x * x).sum::<f64>() / cols as f64 + epsilon).sqrt();
            row.iter().enumerate().map(|(c, x)| x / scale * f64::from(weight[c])).collect()
        });
        let shape = [rows, cols];
        let make = |device: &_| {
            (tensor(&x, &shape, device), tensor(&weight, &[cols], device), tensor(&bias, &[cols], device))
        };
        check(&format!("LayerNorm {shape:?}"), &shape, &layer(true), bound, |device| {
            let (x, weight, bias) = make(device);
            x.layer_norm(&weight, Some(&bias), epsilon)
        });
        check(&format!("LayerNorm without bias {shape:?}"), &shape, &layer(false), bound, |device| {
            let (x, weight, _) = make(device);
            x.layer_norm(&weight, None, epsilon)
        });
        check(&format!("RMSNorm {shape:?}"), &shape, &rms, bound, |device| {
            let (x, weight, _) = make(device);
            x.rms_norm(&weight, epsilon)
        });
    }
}

#[test]
fn embeddings_are_rows_of_their_table() {
    let exact = Bound { absolute: 0.0, relative: 0.0 };
    for (entries, width, tokens) in
        [(5, 3, vec![4, 0, 4, 2]), (7, 64, vec![6]), (3, 5, vec![]), (4, 0, vec![1, 2])]
    {
        let table = numbers(entries * width, 5);
        let rows = |table: &[f32]| -> Vec<f64> {
            tokens
                .iter()
                .flat_map(|&t| table[t as usize * width..][..width].iter().map(|&x| x.into()))
                .collect()
        };
        let shape = [tokens.len(), width];
        check("embedding", &shape, &rows(&table), exact, |device| {
            tensor(&table, &[entries, width], device).embedding(&Indices::from_slice(&tokens, device)?)
        });
        let narrow: Vec<f32> = table.iter().map(|&x| f16::from_f32(x).to_f32()).collect();
        check("embedding in f16", &shape, &rows(&narrow), exact, |device| {
            let table = tensor(&table, &[entries, width], device).to_f16()?;
            table.embedding(&Indices::from_slice(&tokens, device)?)
        });
    }
    for device in devices() {
        let table = Tensor::<f32>::zeros(&[5, 2], &device).unwrap();
        let tokens = Indices::from_slice(&[1, 5, 0], &device).unwrap();
        let index = TensorError::Index { operation: "embedding", index: 5, len: 5 };
        assert_eq!(table.embedding(&tokens).err(), Some(index), "{device}");
    }
}

/// What a row has in common does not matter, however large: not even where it leaves no digits for the logarithm of the sum.
#[test]
fn the_logarithm_of_large_numbers() {
    let logarithm = Bound { absolute: 1e-6, relative: 1e-6 };
    for big in [1e4f32, 1e12, 1e16, -1e20, 1e38] {
        let x = [big, big, big, big];
        let expected = [-std::f64::consts::LN_2; 4];
        check(&format!("of {big:e}"), &[2, 2], &expected, logarithm, |device| {
            tensor(&x, &[2, 2], device).log_softmax()
        });
    }
    let (low, nan) = (f32::NEG_INFINITY, f32::NAN);
    for device in devices() {
        let rows = [low, low, low, nan, low, 3.0, f32::INFINITY, 0.0];
        let out = tensor(&rows, &[4, 2], &device).log_softmax().unwrap().to_vec().unwrap();
        assert_eq!((out[0], out[1]), (low, low));
        assert_eq!((out[4], out[5]), (low, 0.0));
        assert!([2, 3, 6, 7].iter().all(|&i| out[i].is_nan()), "{device}: {out:?}");
    }
}
