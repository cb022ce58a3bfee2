//! Every element-wise operation on both devices, beside the formulas in f64.

use upbeat_kernels::twin::functions;
use upbeat_tensor::{Op, Tensor, TensorError};

use crate::support::{check, devices, numbers, tensor, told, Bound};

/// 12 ulp and a little of what cancels: `Commands::program` of `upbeat-vulkan` has the table.
const BOUND: Bound = Bound { absolute: 1e-6, relative: 2e-6 };

#[test]
fn every_operation_on_every_length() {
    for &op in Op::ALL {
        for len in [0, 1, 129, 20_001] {
            // Between 0.1 and 1.9: roots, logarithms and powers have values there, and comparisons both answers.
            let operand = |seed| numbers(len, seed).iter().map(|x| 1.0 + 0.9 * x).collect::<Vec<f32>>();
            let operands: Vec<_> = (1..=op.arity() as u64).map(operand).collect();
            let at = |i: usize| operands.iter().map(|x| f64::from(x[i])).collect::<Vec<_>>();
            let exact: Vec<_> = (0..len).map(|i| functions::apply(op, &at(i))).collect();
            check(&format!("{op:?} of {len}"), &[len], &exact, BOUND, |device| {
                let operands: Vec<_> = operands.iter().map(|x| tensor(x, &[len], device)).collect();
                Tensor::apply(op, &operands.iter().collect::<Vec<_>>())
            });
        }
    }
}

#[test]
fn special_numbers_and_shapes_are_kept() {
    for device in devices() {
        let x = tensor(&[-4.0, 0.0, f32::INFINITY, f32::NAN, 2.25, 9.0], &[3, 1, 2], &device);
        let root = x.map(Op::Sqrt).unwrap();
        assert_eq!(root.shape(), [3, 1, 2]);
        let root = root.to_vec().unwrap();
        assert!(root[0].is_nan() && root[3].is_nan());
        assert_eq!([root[1], root[2], root[4], root[5]], [0.0, f32::INFINITY, 1.5, 3.0]);
        // Twice the same tensor, and one that was computed before.
        let smaller = Tensor::apply(Op::Min, &[&x.map(Op::Abs).unwrap(), &x]).unwrap().to_vec().unwrap();
        assert_eq!([smaller[0], smaller[4]], [-4.0, 2.25]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for device in devices() {
        let (x, y) = (tensor(&[1.0, 2.0], &[2], &device), tensor(&[1.0], &[1], &device));
        assert_eq!(
            told(Tensor::apply(Op::Max, &[&x, &y])),
            "apply takes tensors of one shape, but was given [2] and [1]; reshape or repeat what is smaller"
        );
        assert_eq!(
            told(x.map(Op::Max)),
            "apply takes as many tensors as its operation has operands, but was given [2]; Op::arity says how many"
        );
        assert!(matches!(Tensor::apply(Op::Sqrt, &[]), Err(TensorError::Shape { operation: "apply", .. })));
    }
}
