//! What attention over views refuses, before anything is written.

use upbeat_kernels::attention::{Attention, Bias, Gradients, Heads, HeadsMut, Saved};
use upbeat_kernels::ShapeError;

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let (x, shape) = ([0.5f32; 48], [2, 3, 2, 4]);
    let heads = Heads::new(&x, shape).unwrap();
    let (mut out, mut lse) = ([7.0f32; 48], [7.0f32; 12]);
    let mut refused = |attention: Attention<'_, f32>, k: Heads<'_, f32>, v: Heads<'_, f32>| {
        let target = HeadsMut::new(&mut out, shape).unwrap();
        let error = attention.forward(heads, k, v, target, &mut lse).unwrap_err();
        assert!(out.iter().chain(&lse).all(|x| *x == 7.0));
        error
    };
    let view = |shape| Heads::strided(&x, shape, [0, 0, 0]).unwrap();
    let plain = Attention::new();
    for (k, v) in [
        ([1, 3, 2, 4], [2, 3, 2, 4]),
        ([2, 3, 2, 3], [2, 3, 2, 4]),
        ([2, 3, 2, 4], [2, 2, 2, 4]),
        ([2, 3, 2, 4], [2, 3, 1, 4]),
        ([2, 3, 2, 4], [2, 3, 2, 5]),
    ] {
        assert!(matches!(refused(plain, view(k), view(v)), ShapeError::Mismatch { .. }), "{k:?} {v:?}");
    }
    for kv_heads in [0, 3] {
        let kv = view([2, 3, kv_heads, 4]);
        assert!(matches!(refused(plain, kv, kv), ShapeError::Multiple { .. }));
    }
    for shape in [[3, 1, 1, 3], [1, 3, 1, 3], [1, 1, 2, 3], [1, 1, 1, 2], [1, 1, 1, 1]] {
        let bias = Bias::strided(&x, shape, [0, 0, 0]).unwrap();
        assert!(matches!(refused(plain.bias(bias), heads, heads), ShapeError::Mismatch { .. }), "{shape:?}");
    }
    let batched = plain.sequences(&[0, 3], &[0, 3]);
    assert!(matches!(refused(batched, heads, heads), ShapeError::Mismatch { .. }));

    let (shape, mut out, mut lse) = ([1, 6, 2, 4], [7.0f32; 48], [7.0f32; 12]);
    let heads = Heads::new(&x, shape).unwrap();
    for (queries, keys) in [
        (&[][..], &[][..]),
        (&[0, 6], &[0, 3, 6]),
        (&[1, 6], &[0, 6]),
        (&[0, 5], &[0, 6]),
        (&[0, 6], &[0, 7]),
        (&[0, 4, 2, 6], &[0, 2, 4, 6]),
    ] {
        let target = HeadsMut::new(&mut out, shape).unwrap();
        let packed = plain.sequences(queries, keys);
        assert!(packed.forward(heads, heads, heads, target, &mut lse).is_err(), "{queries:?} {keys:?}");
    }
    let target = HeadsMut::new(&mut out, shape).unwrap();
    assert!(plain.forward(heads, heads, heads, target, &mut lse[1..]).is_err());
    let target = HeadsMut::new(&mut out, [1, 6, 1, 8]).unwrap();
    assert!(plain.forward(heads, heads, heads, target, &mut lse).is_err());
    let saved = Saved { q: heads, k: heads, v: heads, out: heads, lse: &x[..12] };
    let (mut d_q, mut d_k, mut d_v) = ([7.0f32; 48], [7.0f32; 48], [7.0f32; 48]);
    for wrong in 0..3 {
        let shapes = [0, 1, 2].map(|part| if part == wrong { [1, 6, 1, 8] } else { shape });
        let gradients = Gradients {
            q: HeadsMut::new(&mut d_q, shapes[0]).unwrap(),
            k: HeadsMut::new(&mut d_k, shapes[1]).unwrap(),
            v: HeadsMut::new(&mut d_v, shapes[2]).unwrap(),
        };
        assert!(plain.backward(saved, heads, gradients).is_err());
    }
    assert!(out.iter().chain(&lse).chain(&d_q).chain(&d_k).chain(&d_v).all(|x| *x == 7.0));
}

#[test]
fn views_that_do_not_lie_in_their_slice_are_refused() {
    let mut x = [0.0f32; 48];
    assert!(Heads::new(&x, [2, 3, 2, 5]).is_err());
    assert!(Heads::strided(&x, [2, 3, 2, 4], [24, 8, 5]).is_err());
    assert!(Heads::strided(&x, [2, 3, 2, 4], [usize::MAX, 8, 4]).is_err());
    assert!(Heads::new(&x, [usize::MAX, 2, 2, 2]).is_err());
    assert!(Heads::strided(&x, [2, 3, 2, 4], [0, 8, 4]).is_ok());
    assert!(Bias::new(&x, [2, 3, 2, 5]).is_err());
    assert!(Bias::strided(&x, [2, 3, 2, 5], [24, 8, 9]).is_err());
    assert!(HeadsMut::new(&mut x, [2, 3, 2, 5]).is_err());
    assert!(matches!(HeadsMut::strided(&mut x, [2, 3, 2, 4], [0, 8, 4]), Err(ShapeError::Stride { .. })));
    assert!(HeadsMut::strided(&mut x, [2, 3, 2, 4], [24, 8, 5]).is_err());
    assert!(HeadsMut::strided(&mut x, [2, 3, 2, 4], [24, 4, 12]).is_ok());
}
