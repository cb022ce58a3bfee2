//! What programs on rayon do, timed: products by gemm, candle and faer, a factorization, and rayon's own calls.
//!
//! Built twice, with rayon-core and with upbeat in its place (`compare.sh`), since one program can link only one of them. Each row checks its
//! answer once, then prints its name and the median time of a call in ns. An argument chooses rows by a part of their names.

#[cfg(feature = "products")]
#[allow(unsafe_code)]
mod products;
mod rayon_calls;

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Time for one row.
const BUDGET: Duration = Duration::from_millis(250);

/// The rows that were chosen.
struct Rows {
    filter: String,
}

impl Rows {
    /// Times `call`, a batch of as many calls as take 20 µs at a time.
    fn row<R>(&self, name: &str, mut call: impl FnMut() -> R) {
        if !name.contains(&self.filter) {
            return;
        }
        let once = time(1, &mut call);
        let batch = (20_000.0 / once.max(1.0)).ceil() as u32;
        let started = Instant::now();
        let mut times = Vec::new();
        while started.elapsed() < BUDGET || times.len() < 5 {
            times.push(time(batch, &mut call));
        }
        times.sort_by(f64::total_cmp);
        println!("{name}\t{:.1}", times[times.len() / 2]);
    }
}

/// ns a call.
fn time<R>(batch: u32, call: &mut impl FnMut() -> R) -> f64 {
    let started = Instant::now();
    for _ in 0..batch {
        black_box(call());
    }
    started.elapsed().as_nanos() as f64 / f64::from(batch)
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let rows = Rows { filter };
    rayon_calls::run(&rows);
    #[cfg(feature = "products")]
    products::run(&rows);
}
