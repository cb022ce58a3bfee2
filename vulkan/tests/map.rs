//! Element-wise arithmetic beside what it must be, bit for bit: one rounding, or two.

mod support;

use support::{device, numbers, told};
use upbeat_vulkan::{Arithmetic, Buffer};

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

/// Vulkan allows 2.5 ulp, which are at most 2.5 · 2⁻²³ of the quotient.
fn assert_quotient(what: &str, found: f32, a: f32, b: f32) {
    let exact = f64::from(a) / f64::from(b);
    let off = (f64::from(found) - exact).abs();
    assert!(off <= 2.5 / f64::from(1 << 23) * exact.abs(), "{what}: {found:e}, not {exact:e}");
}

#[test]
fn quotients_are_off_by_what_a_device_may() {
    let Some(device) = device() else { return };
    for len in LENGTHS {
        let (a, b) = (numbers(len, 1), numbers(len, 2));
        // None is 0 or subnormal.
        let b: Vec<f32> = b.iter().map(|b| 1.5 + b).collect();
        let (da, db) = (device.upload(&a).unwrap(), device.upload(&b).unwrap());
        let out = device.buffer::<f32>(len).unwrap();
        let mut commands = device.commands();
        commands.div(&da, &db, &out).unwrap();
        commands.submit().unwrap().wait().unwrap();
        for (i, found) in out.to_vec().unwrap().into_iter().enumerate() {
            assert_quotient(&format!("[{i}] of {len}"), found, a[i], b[i]);
        }
    }
    let a = device.upload(&[1.0_f32, -1.0, 0.0, 3.0, f32::NAN, f32::INFINITY]).unwrap();
    let b = device.upload(&[0.0_f32, 0.0, 0.0, f32::INFINITY, 1.0, 2.0]).unwrap();
    let mut commands = device.commands();
    commands.div(&a, &b, &a).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let found = a.to_vec().unwrap();
    assert_eq!(
        [found[0], found[1], found[3], found[5]],
        [f32::INFINITY, f32::NEG_INFINITY, 0.0, f32::INFINITY]
    );
    assert!(found[2].is_nan() && found[4].is_nan());
}

#[test]
fn rows_take_a_row_or_a_number_each() {
    let Some(device) = device() else { return };
    for (rows, cols) in
        [(1, 1), (5, 3), (4, 64), (130, 257), (1, 1000), (1000, 1), (0, 4), (4, 0), (65_537, 65)]
    {
        let (x, row, column) = (numbers(rows * cols, 3), numbers(cols, 4), numbers(rows, 5));
        let [row, column] = [row, column].map(|by| by.iter().map(|b| 1.5 + b).collect::<Vec<_>>());
        let (dx, drow, dcolumn) =
            (device.upload(&x).unwrap(), device.upload(&row).unwrap(), device.upload(&column).unwrap());
        for op in [Arithmetic::Add, Arithmetic::Sub, Arithmetic::Mul, Arithmetic::Div] {
            let (by_row, by_column) =
                (device.buffer::<f32>(x.len()).unwrap(), device.buffer::<f32>(x.len()).unwrap());
            let mut commands = device.commands();
            commands.with_row(op, &dx, &drow, &by_row).unwrap();
            // In place.
            commands.copy(&dx, &by_column).unwrap();
            commands.with_column(op, &by_column, &dcolumn, &by_column).unwrap();
            commands.submit().unwrap().wait().unwrap();
            let check = |found: &Buffer<f32>, of: &dyn Fn(usize) -> f32| {
                for (i, found) in found.to_vec().unwrap().into_iter().enumerate() {
                    let (a, b) = (x[i], of(i));
                    let what = format!("{op:?} [{i}] of [{rows}, {cols}]");
                    match op {
                        Arithmetic::Add => assert_eq!(found, a + b, "{what}"),
                        Arithmetic::Sub => assert_eq!(found, a - b, "{what}"),
                        Arithmetic::Mul => assert_eq!(found, a * b, "{what}"),
                        Arithmetic::Div => assert_quotient(&what, found, a, b),
                    }
                }
            };
            check(&by_row, &|i| row[i % cols]);
            check(&by_column, &|i| column[i / cols]);
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
        "scale: what is written overlaps what else is read or written; give it a buffer of its own"
    );
    let row = x.slice(0..5);
    let said = "the length of x must be a multiple of 5 but is 9";
    assert_eq!(told(commands.with_row(Arithmetic::Sub, &x.slice(0..9), &row, &x.slice(0..9))), said);
    assert_eq!(told(commands.with_column(Arithmetic::Sub, &x.slice(0..9), &row, &x.slice(0..9))), said);
    // The first row's results would be in the place of what the others take.
    assert_eq!(
        told(commands.with_row(Arithmetic::Sub, &x.slice(0..5), &row, &row)),
        "with_row: what is written overlaps what else is read or written; give it a buffer of its own"
    );
    let foreign = other.upload(&[1.0_f32; 10]).unwrap();
    assert_eq!(
        told(commands.add(&x, &foreign, &x)),
        "a buffer belongs to another device; copy it through the host"
    );
    assert!(commands.is_empty());
}
