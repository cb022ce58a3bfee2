//! Softmax, norms, activations, SwiGLU, rotary positions and embeddings beside their twins in f64.

mod support;

use support::{assert_close, device, numbers};
use upbeat_kernels::{twin, Activation, Element, RopeShape};
use upbeat_vulkan::{Norm, Reduction, RopeTable, VulkanError};

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn scaled(count: usize, seed: u64, scale: f32) -> Vec<f32> {
    numbers(count, seed).into_iter().map(|x| scale * x).collect()
}

const ROWS: [(usize, usize); 8] =
    [(0, 5), (1, 1), (3, 7), (2, 127), (5, 128), (4, 129), (7, 5000), (70_000, 3)];

#[test]
fn softmax_agrees_with_the_twin() {
    let Some(device) = device() else { return };
    for (rows, cols) in ROWS {
        let x = scaled(rows * cols, 1, 20.0);
        let buffer = device.upload(&x).unwrap();
        let mut commands = device.commands();
        commands.softmax(&buffer, cols, &buffer).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let mut expected = vec![0.0; x.len()];
        twin::softmax::softmax_forward(&wide(&x), cols, &mut expected).unwrap();
        // Vulkan's exp errs by 3 + 2|x| units in the last place: 43 at -20, and sums of 5000 besides.
        assert_close(&format!("{rows} x {cols}"), &buffer.to_vec().unwrap(), &expected, 1e-30, 2e-5);
    }
}

#[test]
fn softmax_of_infinities_and_nan_is_as_the_twin_has_it() {
    let Some(device) = device() else { return };
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = [-inf, -inf, -inf, 1.0, -inf, 2.0, 1.0, nan, 2.0, 1.0, inf, 2.0, 1e30, -1e30, 0.0];
    let (buffer, out) = (device.upload(&x).unwrap(), device.buffer::<f32>(x.len()).unwrap());
    let mut commands = device.commands();
    commands.softmax(&buffer, 3, &out).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let mut expected = vec![0.0; x.len()];
    twin::softmax::softmax_forward(&wide(&x), 3, &mut expected).unwrap();
    assert_close("special rows", &out.to_vec().unwrap(), &expected, 0.0, 1e-6);
    assert_eq!(out.to_vec().unwrap()[..3], [0.0; 3]);
}

#[test]
fn norms_agree_with_the_twin() {
    let Some(device) = device() else { return };
    for (rows, cols) in ROWS {
        // A mean far from 0 beside a small spread: one pass over squares would lose it.
        let x: Vec<f32> = scaled(rows * cols, 1, 1.0).into_iter().map(|x| x + 100.0).collect();
        let (weight, bias) = (numbers(cols, 2), numbers(cols, 3));
        let on = |x: &[f32]| device.upload(x).unwrap();
        let (dx, dweight, dbias) = (on(&x), on(&weight), on(&bias));
        let out: Vec<_> = (0..3).map(|_| device.buffer::<f32>(x.len()).unwrap()).collect();
        let mut commands = device.commands();
        commands.norm(&dx, Norm::Layer { weight: &dweight, bias: Some(&dbias) }, 1e-5, &out[0]).unwrap();
        commands.norm(&dx, Norm::Layer { weight: &dweight, bias: None }, 1e-5, &out[1]).unwrap();
        commands.norm(&dx, Norm::Rms { weight: &dweight }, 1e-5, &out[2]).unwrap();
        commands.norm(&dx, Norm::Rms { weight: &dweight }, 1e-5, &dx).unwrap();
        commands.submit().unwrap().wait().unwrap();

        let (wx, wweight, wbias) = (wide(&x), wide(&weight), wide(&bias));
        let epsilon = f64::from(1e-5_f32);
        let (mut means, mut rstds, mut expected) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; x.len()]);
        for (bias, out) in [(Some(&wbias[..]), &out[0]), (None, &out[1])] {
            twin::norm::layer_norm_forward(
                &wx,
                &wweight,
                bias,
                epsilon,
                &mut expected,
                &mut means,
                &mut rstds,
            )
            .unwrap();
            let found = out.to_vec().unwrap();
            for (row, (found, expected)) in
                found.chunks(cols.max(1)).zip(expected.chunks(cols.max(1))).enumerate()
            {
                // A mean of about 100 is rounded, and so is what is left of each number beside it; the deviation, here 1/rstd, magnifies that.
                let rounded = 4.0 * 100.0 * f64::from(f32::EPSILON) * rstds[row];
                let absolute = 1e-5 + rounded * (1.0 + (cols as f64).sqrt());
                assert_close(
                    &format!("LayerNorm {rows} x {cols}, row {row}"),
                    found,
                    expected,
                    absolute,
                    0.0,
                );
            }
        }
        twin::norm::rms_norm_forward(&wx, &wweight, epsilon, &mut expected, &mut rstds).unwrap();
        assert_close(&format!("RMSNorm {rows} x {cols}"), &out[2].to_vec().unwrap(), &expected, 0.0, 1e-5);
        assert_close(
            &format!("RMSNorm in place {rows} x {cols}"),
            &dx.to_vec().unwrap(),
            &expected,
            0.0,
            1e-5,
        );
    }
}

#[test]
fn activations_agree_with_the_twin() {
    let Some(device) = device() else { return };
    let mut x = scaled(2000, 1, 12.0);
    x.extend([
        0.0,
        -0.0,
        1e-20,
        -1e-20,
        30.0,
        -30.0,
        1e30,
        -1e30,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ]);
    let buffer = device.upload(&x).unwrap();
    use Activation::{Gelu, GeluTanh, Identity, Relu, Silu};
    for activation in [Identity, Gelu, GeluTanh, Silu, Relu] {
        let out = device.buffer::<f32>(x.len()).unwrap();
        let mut commands = device.commands();
        commands.activate(&buffer, activation, &out).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let found = out.to_vec().unwrap();
        for (&x, &found) in x.iter().zip(&found) {
            let wide = f64::from(x);
            let expected = match activation {
                Identity => wide,
                Gelu => twin::activation::gelu(wide),
                GeluTanh => twin::functions::gelu_tanh(wide),
                Silu => twin::activation::silu(wide),
                Relu => {
                    if wide < 0.0 {
                        0.0
                    } else {
                        wide
                    }
                }
            };
            // -inf times 0: the twin's word is taken where it has one.
            let (found, bound) = (f64::from(found), 2e-6 * wide.abs().max(1.0));
            let close = found == expected
                || (found - expected).abs() <= bound
                || (found.is_nan() && expected.is_nan());
            assert!(close, "{activation:?}({x}) is {found}, not {expected}");
        }
    }
}

#[test]
fn reductions_agree_with_the_twin() {
    let Some(device) = device() else { return };
    let exact = |reduction, x: &[f32]| {
        let wide = x.iter().map(|&x| f64::from(x));
        match reduction {
            Reduction::Sum => wide.sum(),
            Reduction::Max => wide.fold(f64::NEG_INFINITY, f64::max),
            Reduction::Min => wide.fold(f64::INFINITY, f64::min),
        }
    };
    for reduction in [Reduction::Sum, Reduction::Max, Reduction::Min] {
        for (rows, cols) in ROWS.into_iter().chain([(3, 0)]) {
            let x = numbers(rows * cols, 1);
            let (on, out) = (device.upload(&x).unwrap(), device.buffer::<f32>(rows).unwrap());
            let mut commands = device.commands();
            commands.reduce_rows(reduction, &on, cols, &out).unwrap();
            commands.submit().unwrap().wait().unwrap();
            let expected: Vec<f64> = (0..rows).map(|r| exact(reduction, &x[r * cols..][..cols])).collect();
            // Sums of 128 partial sums of 40 numbers below 1 at most.
            assert_close(
                &format!("{reduction:?} of {rows} x {cols}"),
                &out.to_vec().unwrap(),
                &expected,
                1e-4,
                0.0,
            );
        }
        for len in [0, 1, 127, 4096, 4097, 100_000, 20_000_000] {
            let x = numbers(len, 2);
            let (on, out) = (device.upload(&x).unwrap(), device.buffer::<f32>(1).unwrap());
            let mut commands = device.commands();
            commands.reduce(reduction, &on, &out).unwrap();
            commands.submit().unwrap().wait().unwrap();
            // Numbers of both signs: a sum is about √len, and so is what rounding it may cost.
            let bound = 1e-5 + 1e-6 * (len as f64).sqrt();
            assert_close(
                &format!("{reduction:?} of {len}"),
                &out.to_vec().unwrap(),
                &[exact(reduction, &x)],
                bound,
                0.0,
            );
        }
        let with_nan = device.upload(&[1.0, f32::NAN, 2.0, f32::INFINITY]).unwrap();
        let out = device.buffer::<f32>(1).unwrap();
        let mut commands = device.commands();
        commands.reduce(reduction, &with_nan, &out).unwrap();
        commands.submit().unwrap().wait().unwrap();
        assert!(out.to_vec().unwrap()[0].is_nan(), "{reduction:?}");
    }
}

#[test]
fn swiglu_agrees_with_the_twin() {
    let Some(device) = device() else { return };
    for (rows, width) in [(0, 3), (1, 1), (5, 33), (100, 257)] {
        let x = scaled(rows * 2 * width, 1, 5.0);
        let (buffer, out) = (device.upload(&x).unwrap(), device.buffer::<f32>(rows * width).unwrap());
        let mut commands = device.commands();
        commands.swiglu(&buffer, width, &out).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let mut expected = vec![0.0; rows * width];
        <f64 as Element>::swiglu_forward(&wide(&x), width, &mut expected).unwrap();
        assert_close(&format!("{rows} x {width}"), &out.to_vec().unwrap(), &expected, 1e-6, 1e-5);
    }
}

#[test]
fn rotary_positions_agree_with_the_twin_far_out_too() {
    let Some(device) = device() else { return };
    for (rows, seq, first, heads, rotate, dim) in [
        (0, 1, 0, 1, 1, 2),
        (1, 1, 0, 1, 1, 2),
        (6, 3, 2, 3, 2, 8),
        (20, 20, 8000, 6, 4, 64),
        (5, 5, 7, 2, 0, 4),
    ] {
        let table = RopeTable::new(&device, 8020, dim, 10_000.0).unwrap();
        let x = numbers(rows * heads * dim, 1);
        let shape = RopeShape { seq, first, heads, rotate, dim, base: 10_000.0 };
        let buffer = device.upload(&x).unwrap();
        let mut commands = device.commands();
        commands.rope(&buffer, &table, shape, &buffer).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let mut expected = vec![0.0; x.len()];
        twin::rope::rope_forward(&wide(&x), shape, &mut expected).unwrap();
        assert_close(&format!("{shape:?}"), &buffer.to_vec().unwrap(), &expected, 3e-7, 0.0);
    }
}

#[test]
fn embeddings_are_rows_of_the_table_and_nan_outside() {
    let Some(device) = device() else { return };
    let (vocabulary, width) = (10, 33);
    let table = numbers(vocabulary * width, 1);
    let on = device.upload(&table).unwrap();
    let tokens = [3_u32, 0, 9, 3, 10, u32::MAX];
    let (ids, out) = (device.upload(&tokens).unwrap(), device.buffer::<f32>(tokens.len() * width).unwrap());
    let mut commands = device.commands();
    commands.embedding(&on, width, &ids, &out).unwrap();
    commands.submit().unwrap().wait().unwrap();
    for (row, token) in out.to_vec().unwrap().chunks_exact(width).zip(tokens) {
        match table.chunks_exact(width).nth(token as usize) {
            Some(expected) => assert_eq!(row, expected, "token {token}"),
            None => assert!(row.iter().all(|x| x.is_nan()), "token {token}"),
        }
    }
}

fn told<T>(outcome: Result<T, VulkanError>) -> String {
    outcome.err().expect("it is refused").to_string()
}

#[test]
fn wrong_shapes_are_refused() {
    let Some(device) = device() else { return };
    let x = device.upload(&[1.0_f32; 12]).unwrap();
    let short = x.slice(0..9);
    let mut commands = device.commands();
    assert_eq!(told(commands.softmax(&x, 5, &x)), "the length of x must be a multiple of 5 but is 12");
    assert_eq!(told(commands.softmax(&x, 3, &short)), "the length of out must be 12 but is 9");
    let weight = x.slice(0..4);
    let layer = Norm::Layer { weight: &weight, bias: Some(&short) };
    assert_eq!(told(commands.norm(&x, layer, 1e-5, &x)), "the length of the bias must be 4 but is 9");
    assert_eq!(told(commands.swiglu(&x, 3, &short)), "the length of gate_up must be 18 but is 12");
    assert!(told(RopeTable::new(&device, 4, 3, 1e4).map(|_| ())).contains("multiple of 2"));
    let table = RopeTable::new(&device, 4, 4, 1e4).unwrap();
    let shape = RopeShape { seq: 3, first: 2, heads: 1, rotate: 1, dim: 4, base: 1e4 };
    assert!(told(commands.rope(&x, &table, shape, &x)).starts_with("positions of the table"));
    assert!(told(commands.rope(&x, &table, RopeShape { base: 1e5, first: 0, ..shape }, &x)).contains("base"));
    let tokens = device.upload(&[1_u32; 2]).unwrap();
    assert_eq!(told(commands.embedding(&x, 3, &tokens, &short)), "the length of out must be 6 but is 9");
    assert!(commands.is_empty());
}
