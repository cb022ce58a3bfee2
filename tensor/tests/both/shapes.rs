//! How tensors are made, moved, read and cut.

use upbeat_tensor::{Device, Tensor, TensorError};

use crate::support::{devices, numbers, tensor, told};

#[test]
fn numbers_go_there_and_come_back() {
    for device in devices() {
        for shape in [&[][..], &[1], &[0], &[3, 0, 2], &[2, 3, 4], &[40_000, 3]] {
            let x = numbers(shape.iter().product(), 1);
            let there = tensor(&x, shape, &device);
            assert_eq!((there.shape(), there.device(), there.len()), (shape, device, x.len()));
            assert_eq!(there.is_empty(), x.is_empty());
            assert_eq!(there.to_vec().as_ref(), Ok(&x), "{shape:?} on {device}");
            assert_eq!(upbeat::block_on(there.read()).as_ref(), Ok(&x));
            for other in devices() {
                let moved = there.to(&other).unwrap();
                assert_eq!((moved.shape(), moved.device()), (shape, other));
                assert_eq!(moved.to_vec().as_ref(), Ok(&x));
            }
            assert_eq!(Tensor::<f32>::zeros(shape, &device).unwrap().to_vec(), Ok(vec![0.0; x.len()]));
        }
    }
}

#[test]
fn bits_are_kept() {
    let x = [f32::NAN, -0.0, f32::INFINITY, f32::MIN_POSITIVE / 2.0, f32::from_bits(0x7fc0_1234)];
    for device in devices() {
        let back = tensor(&x, &[5], &device).to(&Device::Cpu).unwrap().to_vec().unwrap();
        let bits: Vec<u32> = back.into_iter().map(f32::to_bits).collect();
        assert_eq!(bits, x.map(f32::to_bits), "{device}");
    }
}

#[test]
fn parts_and_shapes_are_views() {
    for device in devices() {
        let x = tensor(&numbers(24, 2), &[4, 3, 2], &device);
        let all = x.to_vec().unwrap();
        assert_eq!(x.reshape(&[2, 12]).unwrap().to_vec().unwrap(), all);
        let part = x.rows(1..3).unwrap();
        assert_eq!((part.shape(), part.to_vec().unwrap()), (&[2, 3, 2][..], all[6..18].to_vec()));
        // A part of a part, and what is computed of it.
        let row = part.rows(1..2).unwrap().reshape(&[6]).unwrap();
        assert_eq!(
            row.scale(2.0).unwrap().to_vec().unwrap(),
            all[12..18].iter().map(|x| 2.0 * x).collect::<Vec<_>>()
        );
        assert_eq!(x.rows(2..2).unwrap().shape(), [0, 3, 2]);
        assert_eq!(x.rows(4..4).unwrap().to_vec(), Ok(Vec::new()));
        // It outlives what it is a part of.
        drop((x, part));
        assert_eq!(row.to_vec().unwrap(), all[12..18]);
    }
}

#[test]
fn concatenation() {
    for device in devices() {
        let x = tensor(&numbers(12, 3), &[4, 3], &device);
        let (top, rest) = (x.rows(0..1).unwrap(), x.rows(1..4).unwrap());
        let empty = Tensor::zeros(&[0, 3], &device).unwrap();
        let joined = Tensor::concat(&[&rest, &empty, &top]).unwrap();
        let all = x.to_vec().unwrap();
        assert_eq!(
            (joined.shape(), joined.to_vec().unwrap()),
            (&[4, 3][..], [&all[3..], &all[..3]].concat())
        );
        assert_eq!(
            told(Tensor::<f32>::concat(&[])),
            "concat takes tensors [rows, ..] that differ in rows alone, but was given none; give it one at least, of no rows \
             where there are none"
        );
        let narrow = x.reshape(&[6, 2]).unwrap();
        assert!(matches!(Tensor::concat(&[&x, &narrow]), Err(TensorError::Shape { .. })));
        let none = Tensor::<f32>::zeros(&[], &device).unwrap();
        assert!(matches!(Tensor::concat(&[&none]), Err(TensorError::Shape { .. })));
    }
}

#[test]
fn tensors_are_shared_among_threads() {
    fn shares<T: Send + Sync + Clone>() {}
    shares::<Tensor>();
    for device in devices() {
        let x = tensor(&numbers(1000, 4), &[10, 100], &device);
        let weight = tensor(&numbers(100 * 100, 5), &[100, 100], &device);
        let chain = |x: &Tensor| {
            let mut y = x.clone();
            for _ in 0..30 {
                y = y.matmul(&weight)?.softmax()?.add(x)?;
            }
            y.to_vec()
        };
        let alone = chain(&x).unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..3).map(|_| chain(&x)).collect::<Vec<_>>())).collect();
            for thread in threads {
                for found in thread.join().unwrap() {
                    assert_eq!(found.as_ref(), Ok(&alone), "{device}: the same bits");
                }
            }
        });
    }
}
