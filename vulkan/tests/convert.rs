//! Conversion between 32 and 16 bits, copies and fills: every bit is right, and none around them changes.

mod support;

use support::{device, numbers, told};
use upbeat_kernels::convert::Storage;
use upbeat_vulkan::f16;

/// `Σ` of differences would hide places; this tells the first.
#[track_caller]
fn same(what: &str, found: &[u32], expected: &[u32], x: impl Fn(usize) -> u32) {
    assert_eq!(found.len(), expected.len(), "{what}: the lengths");
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        panic!("{what}: [{at}], of {:#x}, is {:#x}, not {:#x}", x(at), found[at], expected[at]);
    }
}

#[test]
fn every_16_bit_float_is_widened_as_on_the_cpu() {
    let Some(device) = device().filter(|device| device.limits().f16_storage) else { return };
    let x: Vec<_> = (0..=u16::MAX).map(f16::from_bits).collect();
    for range in [0..0, 0..1, 1..2, 3..1000, 0..x.len()] {
        let from = device.upload(&x).unwrap().slice(range.clone());
        let out = device.buffer::<f32>(range.len()).unwrap();
        let mut commands = device.commands();
        commands.to_f32(&from, &out).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let found: Vec<_> = out.to_vec().unwrap().iter().map(|x| x.to_bits()).collect();
        let x = &x[range];
        let expected: Vec<_> = x.iter().map(|x| Storage::to_f32(*x).to_bits()).collect();
        same("widened", &found, &expected, |at| x[at].to_bits().into());
    }
}

#[test]
fn floats_are_narrowed_as_on_the_cpu() {
    let Some(device) = device().filter(|device| device.limits().f16_storage) else { return };
    // Every 16-bit float, what is half-way to the next, what is beside both; and all magnitudes.
    let steps = (0..=u16::MAX).flat_map(|bits| {
        let (x, next) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits.wrapping_add(1)).to_f32());
        let half = 0.5 * x + 0.5 * next;
        [x, half, half.next_up(), half.next_down(), x.next_up(), x.next_down()]
    });
    let every = (0..=u32::MAX).step_by(65_521).map(f32::from_bits);
    let special = [65_519.996, 65_520.0, 65_535.0, 65_536.0, 1e-40, -1e-40, f32::MAX];
    let x: Vec<_> = steps.chain(every).chain(special).collect();
    for range in [0..0, 1..2, 5..906, 0..x.len()] {
        let from = device.upload(&x[range.clone()]).unwrap();
        let padded = device.upload(&vec![f16::from_f32(-7.0); range.len() + 2]).unwrap();
        let mut commands = device.commands();
        commands.to_f16(&from, &padded.slice(1..range.len() + 1)).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let found = padded.to_vec().unwrap();
        let around = [found[0], found[range.len() + 1]].map(f16::to_f32);
        assert_eq!(around, [-7.0; 2], "nothing around it is written");
        let found: Vec<_> = found[1..=range.len()].iter().map(|x| x.to_bits().into()).collect();
        let x = &x[range];
        let expected: Vec<_> = x.iter().map(|&x| <f16 as Storage>::from_f32(x).to_bits().into()).collect();
        same("narrowed", &found, &expected, |at| x[at].to_bits());
    }
}

#[test]
fn copies_have_every_bit() {
    let Some(device) = device().filter(|device| device.limits().f16_storage) else { return };
    let x = numbers(1000, 1);
    let halves: Vec<_> = x.iter().map(|&x| f16::from_f32(x)).collect();
    let words: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
    let from = (device.upload(&x).unwrap(), device.upload(&halves).unwrap(), device.upload(&words).unwrap());
    let to = (
        device.buffer::<f32>(1000).unwrap(),
        device.buffer::<f16>(1000).unwrap(),
        device.buffer::<u32>(1000).unwrap(),
    );
    let mut commands = device.commands();
    commands.copy(&from.0, &to.0).unwrap();
    commands.copy(&from.1.slice(3..996), &to.1.slice(4..997)).unwrap();
    commands.copy(&from.2.slice(1..2), &to.2.slice(999..1000)).unwrap();
    commands.copy(&from.2.slice(5..5), &to.2.slice(7..7)).unwrap();
    // Within one buffer, in order after what wrote it.
    commands.copy(&to.1.slice(4..6), &to.1.slice(0..2)).unwrap();
    commands.submit().unwrap().wait().unwrap();
    assert_eq!(to.0.to_vec().unwrap(), x);
    let mut expected = vec![f16::ZERO; 1000];
    expected[4..997].copy_from_slice(&halves[3..996]);
    expected[..2].copy_from_slice(&halves[3..5]);
    assert_eq!(to.1.to_vec().unwrap(), expected);
    let mut expected = vec![0; 1000];
    expected[999] = words[1];
    assert_eq!(to.2.to_vec().unwrap(), expected);
}

#[test]
fn fills_end_where_they_should() {
    let Some(device) = device().filter(|device| device.limits().f16_storage) else { return };
    let (old, new) = (f16::from_f32(-7.0), f16::from_f32(1.5));
    for (start, end) in [(0, 10), (0, 9), (1, 10), (1, 9), (4, 4), (3, 4), (4, 5), (2, 8), (1, 1), (0, 1)] {
        let halves = device.upload(&[old; 10]).unwrap();
        let floats = device.upload(&[-7.0_f32; 10]).unwrap();
        let words = device.upload(&[7_u32; 10]).unwrap();
        let mut commands = device.commands();
        commands.fill(&halves.slice(start..end), new).unwrap();
        commands.fill(&floats.slice(start..end), 1.5).unwrap();
        commands.fill(&words.slice(start..end), 0x0102_0304).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let inside = |i: usize| (start..end).contains(&i);
        let expected: Vec<_> = (0..10).map(|i| if inside(i) { new } else { old }).collect();
        assert_eq!(halves.to_vec().unwrap(), expected, "{start}..{end}");
        let expected: Vec<_> = (0..10).map(|i| if inside(i) { 1.5 } else { -7.0 }).collect();
        assert_eq!(floats.to_vec().unwrap(), expected, "{start}..{end}");
        let expected: Vec<_> = (0..10).map(|i| if inside(i) { 0x0102_0304 } else { 7 }).collect();
        assert_eq!(words.to_vec().unwrap(), expected, "{start}..{end}");
    }
}

#[test]
fn wrong_operands_are_refused_before_anything_is_added() {
    let (Some(device), Some(other)) = (device(), device()) else { return };
    let (x, halves) = (device.buffer::<f32>(10).unwrap(), device.buffer::<f16>(9).unwrap());
    let foreign = other.buffer::<f32>(10).unwrap();
    let mut commands = device.commands();
    const FOREIGN: &str = "a buffer belongs to another device; copy it through the host";
    assert_eq!(told(commands.to_f16(&x, &halves)), "the length of out must be 10 but is 9");
    assert_eq!(told(commands.to_f32(&halves, &x)), "the length of out must be 9 but is 10");
    assert_eq!(told(commands.copy(&x, &x.slice(0..9))), "the length of to must be 10 but is 9");
    assert_eq!(
        told(commands.copy(&x.slice(0..5), &x.slice(4..9))),
        "copy: what is written overlaps what else is read or written; give it a buffer of its own"
    );
    assert_eq!(told(commands.copy(&x, &foreign)), FOREIGN);
    assert_eq!(told(commands.copy(&foreign, &x)), FOREIGN);
    assert_eq!(told(commands.fill(&foreign, 1.0)), FOREIGN);
    assert!(commands.is_empty());
}
