//! Rows of a table picked by token: each is the table's, and there is nothing where no such token is.

mod support;

use support::{device, numbers, told};
use upbeat_vulkan::f16;

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
}

#[test]
fn rows_are_the_tables_and_nan_where_there_is_none() {
    let Some(device) = device() else { return };
    for (vocabulary, width, rows) in
        [(1, 1, 1), (5, 3, 0), (0, 4, 2), (7, 5, 30), (50, 129, 64), (3, 2000, 9)]
    {
        let table = numbers(vocabulary * width, 1);
        // Some are outside: just behind the last row, and where a product with the width overflows.
        let outside = [vocabulary as u32, u32::MAX, 1 << 31, (u32::MAX / width as u32).saturating_add(2)];
        let tokens: Vec<_> = (0..rows as u32)
            .map(|r| {
                if r % 3 == 1 || vocabulary == 0 {
                    outside[r as usize / 3 % 4]
                } else {
                    r * 7 % vocabulary as u32
                }
            })
            .collect();
        let row = |token: u32| match vocabulary > token as usize {
            true => table[token as usize * width..][..width].to_vec(),
            false => vec![f32::NAN; width],
        };
        let expected: Vec<f32> = tokens.iter().flat_map(|&token| row(token)).collect();
        // Around the table are numbers that must not be seen.
        let padded = [&[77.0][..], &table, &[77.0; 3]].concat();
        let halves: Vec<_> = padded.iter().map(|&x| f16::from_f32(x)).collect();
        let (full, half) = (device.upload(&padded).unwrap(), device.upload(&halves).unwrap());
        let tokens = device.upload(&tokens).unwrap();
        let outs = [(); 2].map(|()| device.buffer::<f32>(rows * width).unwrap());
        let mut commands = device.commands();
        let place = 1..table.len() + 1;
        commands.embedding(&full.slice(place.clone()), width, &tokens, &outs[0]).unwrap();
        commands.embedding_f16(&half.slice(place), width, &tokens, &outs[1]).unwrap();
        commands.submit().unwrap().wait().unwrap();
        let [found, found_half] = outs.map(|out| out.to_vec().unwrap());
        assert_eq!(bits(&found), bits(&expected), "of [{vocabulary}, {width}]");
        let expected: Vec<_> = expected.iter().map(|&x| f16::from_f32(x).to_f32()).collect();
        assert_eq!(bits(&found_half), bits(&expected), "of [{vocabulary}, {width}] in 16 bits");
    }
}

#[test]
fn wrong_shapes_are_refused_before_anything_is_added() {
    let Some(device) = device() else { return };
    let (table, out) = (device.buffer::<f32>(12).unwrap(), device.buffer::<f32>(8).unwrap());
    let tokens = device.buffer::<u32>(2).unwrap();
    let mut commands = device.commands();
    assert_eq!(
        told(commands.embedding(&table, 5, &tokens, &out)),
        "the length of the table must be a multiple of 5 but is 12"
    );
    assert_eq!(
        told(commands.embedding(&table, 0, &tokens, &out)),
        "the length of the table must be a multiple of 0 but is 12"
    );
    assert_eq!(
        told(commands.embedding(&table, 3, &tokens, &out)),
        "the length of the embedded rows must be 6 but is 8"
    );
    assert!(commands.is_empty());
}
