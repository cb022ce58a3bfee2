//! Parallel loops: over indices, over chunks of a slice, and a reduction whose result has the same bits on any number of
//! workers. Run with `cargo run --release --example parallel_loop`.

use std::sync::atomic::{AtomicUsize, Ordering};
use upbeat::{par, Runtime};

const SIZE: usize = 400;

/// How many steps `c` stays within a radius of 2, at most 200 (the Mandelbrot set's escape time).
fn escape_time(x: f64, y: f64) -> u32 {
    let (mut a, mut b) = (0.0f64, 0.0f64);
    for step in 0..200 {
        if a * a + b * b > 4.0 {
            return step;
        }
        (a, b) = (a * a - b * b + x, 2.0 * a * b + y);
    }
    200
}

fn main() {
    // One row a chunk. Rows differ much in cost; idle workers ask for a part of what is left.
    let mut image = vec![0u32; SIZE * SIZE];
    par::chunks_mut(&mut image, SIZE, |row, pixels| {
        for (column, pixel) in pixels.iter_mut().enumerate() {
            let at = |i: usize| i as f64 / SIZE as f64;
            *pixel = escape_time(at(column) * 3.0 - 2.0, at(row) * 3.0 - 1.5);
        }
    });
    let inside = AtomicUsize::new(0);
    par::for_each(0..SIZE, |row| {
        let count = image[row * SIZE..][..SIZE].iter().filter(|&&steps| steps == 200).count();
        inside.fetch_add(count, Ordering::Relaxed);
    });
    let serial = image.iter().filter(|&&steps| steps == 200).count();
    assert_eq!(inside.into_inner(), serial);

    let mean = || par::map_reduce(0..image.len(), |i| f64::from(image[i]).sqrt(), |a, b| a + b, || 0.0);
    let sums = [1, 2, 7].map(|workers| {
        let runtime = Runtime::builder().workers(workers).build().expect("a few threads");
        runtime.install(|_| mean()).to_bits()
    });
    assert!(sums.iter().all(|&bits| bits == sums[0]), "the same bits for 1, 2 and 7 workers");
    println!("{serial} of {} points are inside", image.len());
}
