//! Element-wise arithmetic beside what it must be, bit for bit: one rounding, or two.

mod support;

use support::{device, numbers, told};

const LENGTHS: [usize; 6] = [0, 1, 127, 128, 1000, 100_003];

#[test]
fn arithmetic_has_the_bits_of_the_cpu() {
    let Some(device) = device() else { return };
    for len in LENGTHS {
        let (a, b) = (numbers(len, 1), numbers(len, 2));
        let (da, db) = (device.upload(&a).unwrap(), device.upload(&b).unwrap());
        let out: Vec<_> = (0..4).map(|_| device.buffer::<f32>(len).unwrap()).collect();
        let mut commands = device.commands();
        commands.scale(&da, 3.5, &out[0]).unwrap();
        commands.add(&da, &db, &out[1]).unwrap();
        commands.sub(&da, &db, &out[2]).unwrap();
        commands.mul(&da, &db, &out[3]).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let each = |f: fn(f32, f32) -> f32| a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect::<Vec<_>>();
        assert_eq!(out[0].to_vec().unwrap(), each(|a, _| a * 3.5), "scale of {len}");
        assert_eq!(out[1].to_vec().unwrap(), each(|a, b| a + b), "add of {len}");
        assert_eq!(out[2].to_vec().unwrap(), each(|a, b| a - b), "sub of {len}");
        assert_eq!(out[3].to_vec().unwrap(), each(|a, b| a * b), "mul of {len}");
    }
}

#[test]
fn multiples_are_added_with_one_rounding_or_two() {
    let Some(device) = device() else { return };
    for len in LENGTHS {
        let (a, b) = (numbers(len, 1), numbers(len, 2));
        let (da, db) = (device.upload(&a).unwrap(), device.upload(&b).unwrap());
        let mut commands = device.commands();
        commands.add_scaled(&da, -0.3, &db, &da).unwrap();
        commands.submit().unwrap().wait().unwrap();
        for (i, found) in da.to_vec().unwrap().into_iter().enumerate() {
            let (fused, rounded) = ((-0.3_f32).mul_add(b[i], a[i]), a[i] + -0.3 * b[i]);
            assert!(found == fused || found == rounded, "[{i}] is {found}, not {fused} or {rounded}");
        }
    }
}

#[test]
fn it_works_in_place_and_on_parts() {
    let Some(device) = device() else { return };
    let a = numbers(1000, 1);
    let x = device.upload(&a).unwrap();
    let mut commands = device.commands();
    commands.scale(&x, 2.0, &x).unwrap();
    commands.add(&x.slice(0..300), &x.slice(700..1000), &x.slice(0..300)).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let found = x.to_vec().unwrap();
    for i in 0..1000 {
        let expected = if i < 300 { 2.0 * a[i] + 2.0 * a[i + 700] } else { 2.0 * a[i] };
        assert_eq!(found[i], expected, "[{i}]");
    }
}

#[test]
fn an_empty_part_overlaps_nothing() {
    let Some(device) = device() else { return };
    let x = device.upload(&numbers(8, 1)).unwrap();
    let mut commands = device.commands();
    commands.sum_rows(&x.slice(2..2), 0, &x.slice(0..4)).unwrap();
    commands.submit().unwrap().wait().unwrap();
    assert_eq!(x.to_vec().unwrap(), [&[0.0; 4], &numbers(8, 1)[4..]].concat());
}

#[test]
fn wrong_operands_are_refused_before_anything_is_added() {
    let (Some(device), Some(other)) = (device(), device()) else { return };
    let x = device.upload(&[1.0_f32; 10]).unwrap();
    let mut commands = device.commands();
    assert_eq!(told(commands.add(&x, &x.slice(0..9), &x)), "the length of b must be 10 but is 9");
    assert_eq!(told(commands.add(&x, &x, &x.slice(0..9))), "the length of out must be 10 but is 9");
    assert_eq!(
        told(commands.scale(&x.slice(0..9), 1.0, &x.slice(1..10))),
        "map: what is written overlaps what else is read or written; give it a buffer of its own"
    );
    let foreign = other.upload(&[1.0_f32; 10]).unwrap();
    assert_eq!(
        told(commands.add(&x, &foreign, &x)),
        "a buffer belongs to another device; copy it through the host"
    );
    assert!(commands.is_empty());
}
