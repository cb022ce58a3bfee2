//! Rotary positions beside their twins, near positions and far ones.

mod support;

use support::{assert_close, device, numbers, told};
use upbeat_kernels::{DecodeElement, Element, RopeShape, Write};
use upbeat_vulkan::Rope;

/// What numbers up to 1 may be off: cosine and sine are an ulp off, and the angle 2⁻²⁴ of itself, of which at most an eighth of a turn is
/// left. Frequencies are rounded to f64 here and there, and the twin's angle once more: that counts at far positions.
fn bound(position: usize, base: f64) -> f64 {
    4e-7 + position as f64 * (1.0 / base).max(1.0) * 2.0_f64.powi(-51)
}

const fn shape(seq: usize, first: usize, heads: usize, rotate: usize, dim: usize) -> RopeShape {
    RopeShape { seq, first, heads, rotate, dim, base: 10_000.0 }
}

/// Shapes and rows.
const SHAPES: [(RopeShape, usize); 9] = [
    (shape(4, 0, 2, 2, 8), 0),
    (shape(1, 0, 1, 1, 2), 1),
    (shape(7, 3, 3, 2, 6), 14),
    (shape(5, 0, 6, 4, 64), 13),
    (shape(100, 1_000_000, 9, 9, 10), 77),
    (shape(3, u32::MAX as usize - 2, 2, 1, 130), 6),
    (shape(64, 17, 5, 0, 4), 64),
    (shape(1, 23_456_789, 32, 32, 128), 1),
    (shape(1024, 30_000, 4, 3, 128), 2048),
];

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

#[test]
fn turns_are_their_twins_and_so_is_turning_back() {
    let Some(device) = device() else { return };
    for (shape, rows) in SHAPES {
        for base in [10_000.0, 500_000.0, 0.5] {
            let shape = RopeShape { base, ..shape };
            let x = numbers(rows * shape.heads * shape.dim, 1);
            let from = device.upload(&[&[f32::NAN][..], &x].concat()).unwrap();
            let from = from.slice(1..x.len() + 1);
            let outs = [(); 2].map(|()| device.buffer::<f32>(x.len()).unwrap());
            let rope = Rope::new(&device, RopeShape { seq: 0, first: 0, ..shape }).unwrap();
            let rope = rope.at(shape.first, shape.seq);
            assert_eq!(rope.shape(), shape);
            let mut commands = device.commands();
            commands.rope(&from, &rope, &outs[0]).unwrap();
            commands.rope_backward(&from, &rope, &outs[1]).unwrap();
            commands.rope(&from, &rope, &from).unwrap();
            commands.submit().unwrap().wait().unwrap();
            let bound = bound(shape.first + shape.seq, base);
            let mut expected = vec![0.0; x.len()];
            f64::rope_forward(&wide(&x), shape, &mut expected).unwrap();
            let found = outs[0].to_vec().unwrap();
            assert_close(&format!("{shape:?}"), &found, &expected, bound, 0.0);
            assert_eq!(from.to_vec().unwrap(), found, "in place it has the same bits");
            f64::rope_backward(&wide(&x), shape, &mut expected, Write::Overwrite).unwrap();
            assert_close(&format!("{shape:?} back"), &outs[1].to_vec().unwrap(), &expected, bound, 0.0);
        }
    }
}

#[test]
fn rows_have_positions_of_their_own() {
    let Some(device) = device() else { return };
    let positions = [0, 5, 1 << 20, 5, u32::MAX, 99_999];
    let shape = shape(0, 0, 3, 2, 32);
    let x = numbers(positions.len() * 3 * 32, 2);
    let rope = Rope::new(&device, shape).unwrap();
    let (dx, at) = (device.upload(&x).unwrap(), device.upload(&positions).unwrap());
    let out = device.buffer::<f32>(x.len()).unwrap();
    let mut commands = device.commands();
    commands.rope_at(&dx, &at, &rope, &out).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let mut expected = vec![0.0; x.len()];
    let positions = positions.map(|position| position as usize);
    f64::rope_at(&wide(&x), &positions, shape, &mut expected).unwrap();
    assert_close("own positions", &out.to_vec().unwrap(), &expected, bound(1 << 32, 1e4), 0.0);
}

#[test]
fn wrong_shapes_are_refused_before_anything_is_added() {
    let Some(device) = device() else { return };
    assert_eq!(
        told(Rope::new(&device, shape(1, 0, 1, 1, 3))),
        "the width of a rotary head must be a multiple of 2 but is 3"
    );
    assert_eq!(told(Rope::new(&device, shape(1, 0, 1, 2, 4))), "rotated head 2 is outside the 1 there are");
    let rope = Rope::new(&device, shape(4, 0, 2, 2, 4)).unwrap();
    let x = device.buffer::<f32>(24).unwrap();
    let mut commands = device.commands();
    assert_eq!(
        told(commands.rope(&x.slice(0..23), &rope, &x)),
        "the length of x must be a multiple of 8 but is 23"
    );
    assert_eq!(told(commands.rope(&x, &rope, &x.slice(0..16))), "the length of out must be 24 but is 16");
    assert_eq!(
        told(commands.rope(&x, &rope.at(0, 0), &x)),
        "the number of rows must be a multiple of 0 but is 3"
    );
    assert_eq!(
        told(commands.rope(&x, &rope.at(u32::MAX as usize - 1, 3), &x)),
        "positions from the first one on may be 2 at most but are 3"
    );
    let positions = device.buffer::<u32>(2).unwrap();
    assert_eq!(
        told(commands.rope_at(&x, &positions, &rope, &x)),
        "the number of positions must be 3 but is 2"
    );
    assert!(commands.is_empty());
}
