//! Promises of dropout: known words of the generator, the documented stream whatever the cut, the level and the number of
//! workers, and the rate that was asked for.

mod common;

use common::{at_every_level, is_child, wide, Numbers, PageEnd};
use upbeat::Runtime;
use upbeat_kernels::dropout::{backward, forward, philox, Dropout, ProbabilityError};
use upbeat_kernels::{twin, ShapeError, Write};

#[test]
fn every_level() {
    at_every_level();
}

/// Known answers that Random123 publishes with the paper.
#[test]
fn philox_gives_its_known_words() {
    let counter = |words: [u32; 4]| words.iter().rev().fold(0u128, |all, &word| all << 32 | u128::from(word));
    for (words, key, want) in [
        ([0; 4], 0, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], u64::MAX, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            0x299f_31d0_a409_3822,
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ] {
        assert_eq!(philox(counter(words), key), want);
    }
}

/// A piece of one stream: `x` at positions from `offset` on.
fn piece(offset: u64, x: &[f32]) -> Vec<u32> {
    let x = PageEnd::copied(x);
    let mut out = PageEnd::copied(&vec![f32::NAN; x.len()]);
    forward(&Dropout::new(0.3, 0x0123_4567_89ab_cdef, offset).unwrap(), &x, &mut out).unwrap();
    out.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn any_cut_drops_the_same_as_the_documented_stream() {
    let start = (1 << 37) - 1000; // The counters' low words wrap around within.
    let x = Numbers::new(1).vector(40_000);
    let whole = piece(start, &x);
    let keeps = Dropout::new(0.3, 0x0123_4567_89ab_cdef, start).unwrap();
    for (i, (&found, &x)) in whole.iter().zip(&x).enumerate() {
        let position = start + i as u64;
        let block = philox(u128::from(position / 64 * 16 + position % 16), 0x0123_4567_89ab_cdef);
        let kept = u64::from(block[(position / 16 % 4) as usize]) >= (0.3 * 2f64.powi(32)).round() as u64;
        assert_eq!(keeps.keeps(i as u64), kept, "element {i}");
        let want = if kept { x * (1.0 / 0.7) as f32 } else { 0.0 };
        assert_eq!(f32::from_bits(found).abs(), want.abs(), "element {i}");
    }
    for size in [1, 7, 63, 64, 100, 1000] {
        let cut: Vec<u32> = x[..3000]
            .chunks(size)
            .enumerate()
            .flat_map(|(i, x)| piece(start + (i * size) as u64, x))
            .collect();
        assert!(cut == whole[..3000], "pieces of {size}");
    }
    if is_child() {
        return;
    }
    for workers in [1, 2, 3, 8] {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        assert!(runtime.install(|_| piece(start, &x)) == whole, "{workers} workers");
    }
}

#[test]
fn forward_and_backward_are_their_twins() {
    for (len, probability) in [(0, 0.5), (1, 0.5), (777, 0.0), (1000, 0.1), (65, 0.999), (70, 1.0)] {
        let dropout = Dropout::new(probability, 3, 17).unwrap();
        let (dy, old) = (Numbers::new(2).vector(len), Numbers::new(3).vector(len));
        let (mut dx, mut want) = (old.clone(), wide(&old));
        backward(&dropout, &dy, &mut dx, Write::Add).unwrap();
        twin::dropout::backward(&dropout, &wide(&dy), &mut want, Write::Add).unwrap();
        for (found, want) in dx.iter().zip(&want) {
            assert!((f64::from(*found) - want).abs() <= 1e-6 * (1.0 + want.abs()), "{found} is not {want}");
        }
        let mut out = vec![f32::NAN; len];
        forward(&dropout, &dy, &mut out).unwrap();
        if probability == 0.0 {
            assert_eq!(out, dy);
        } else if probability == 1.0 {
            assert!(out.iter().all(|&x| x == 0.0));
        }
    }
}

#[test]
fn elements_are_dropped_at_the_rate_asked_for() {
    let x = vec![1.0; 1 << 20];
    let mut out = x.clone();
    for probability in [0.1, 0.5, 0.9] {
        forward(&Dropout::new(probability, 5, 0).unwrap(), &x, &mut out).unwrap();
        let dropped = out.iter().filter(|&&x| x == 0.0).count() as f64;
        let sigma = (x.len() as f64 * probability * (1.0 - probability)).sqrt();
        let off = (dropped - probability * x.len() as f64).abs() / sigma;
        assert!(off < 4.0, "{off} standard deviations from {probability}"); // The seed is fixed, so this cannot flicker.
    }
}

#[test]
fn what_is_dropped_is_0_and_what_is_kept_keeps_nan() {
    let dropout = Dropout::new(0.5, 1, 0).unwrap();
    let mut out = [1.0; 200];
    forward(&dropout, &[f32::NAN; 200], &mut out).unwrap();
    for (i, out) in out.iter().enumerate() {
        assert!(if dropout.keeps(i as u64) { out.is_nan() } else { *out == 0.0 }, "element {i}");
    }
}

#[test]
fn wrong_arguments_are_refused_and_nothing_is_written() {
    for wrong in [-0.1, 1.1, f64::INFINITY] {
        assert_eq!(Dropout::new(wrong, 0, 0), Err(ProbabilityError(wrong)));
    }
    assert!(Dropout::new(f64::NAN, 0, 0).is_err());
    let dropout = Dropout::new(0.5, 0, u64::MAX - 2).unwrap();
    let mut out = [7.0; 4];
    let refused = forward(&dropout, &[1.0; 4], &mut out);
    assert!(matches!(refused, Err(ShapeError::Overflow { .. })), "{refused:?}");
    let refused = backward(&dropout, &[1.0; 3], &mut out, Write::Add);
    assert!(matches!(refused, Err(ShapeError::Mismatch { expected: 3, found: 4, .. })), "{refused:?}");
    assert_eq!(out, [7.0; 4]);
    forward(&dropout, &[1.0; 2], &mut out[..2]).unwrap();
}
