//! A pattern of the Gray–Scott reaction on a periodic grid, as a picture.
//!
//! `cargo run --release --example gray_scott [PATH]` shows its progress and writes a picture (PGM) to PATH, or to the folder for temporary
//! files. The picture has the same bits for any number of workers.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use upbeat_kernels::flow::{gray_scott, pearson_start, range, GrayScott};

const SIDE: usize = 256;
const STEPS: usize = 12_000;
/// Steps between two lines of progress.
const SHOWN: usize = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path =
        std::env::args_os().nth(1).map_or_else(|| std::env::temp_dir().join("gray_scott.pgm"), PathBuf::from);
    let params = GrayScott::CORAL;
    let (mut u, mut v) = (vec![0.0; SIDE * SIDE], vec![0.0; SIDE * SIDE]);
    pearson_start([SIDE, SIDE], 1, &mut u, &mut v)?;

    let begun = Instant::now();
    for done in (SHOWN..=STEPS).step_by(SHOWN) {
        gray_scott(&params, [SIDE, SIDE], SHOWN, &mut u, &mut v)?;
        let (least, most) = range(&v).expect("the grid has cells");
        let rate = (done * SIDE * SIDE) as f64 / begun.elapsed().as_secs_f64() / 1e6;
        print!("\r{done:6} of {STEPS} steps, v in {least:.3}..{most:.3}, {rate:.0} million cells a second");
        io::stdout().flush()?;
    }
    println!();

    let (least, most) = range(&v).expect("the grid has cells");
    let pixels: Vec<u8> = v.iter().map(|v| ((v - least) / (most - least) * 255.0) as u8).collect();
    assert!(most > 0.2, "the pattern lives");
    let mut picture = format!("P5\n{SIDE} {SIDE}\n255\n").into_bytes();
    picture.extend(pixels);
    std::fs::write(&path, picture)?;
    println!("the pattern is in {}", path.display());
    Ok(())
}
