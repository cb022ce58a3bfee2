//! A decoder takes memory for the positions that are fed, not for those that the settings allow, and none when warm.

use upbeat::Runtime;
use upbeat_kernels::{pool, Element};
use upbeat_nn::{Config, Transformer};

/// Crosses several doublings of the cache.
const POSITIONS: usize = 600;
const VOCABULARY: usize = 11;

/// Feeds [`POSITIONS`] tokens to a model of `context` twice, and checks the pool's counters and each logit.
fn check<E: Element>(context: usize, tolerance: f64) {
    let model = Transformer::<E>::new(Config::modern(VOCABULARY, context, 16, 2, 2), 3).unwrap();
    let tokens: Vec<u32> = (0..POSITIONS).map(|i| (i * i % VOCABULARY) as u32).collect();
    let logits = model.logits(&tokens, POSITIONS).unwrap();
    let largest = logits.values().iter().fold(0.0, |m: f64, x| m.max(x.to_f64().abs()));
    let reserved = pool::stats().reserved_bytes;
    let mut decoder = model.decoder();
    let mut fresh = 0;
    for round in 0..2 {
        for (&token, whole) in tokens.iter().zip(logits.values().chunks(VOCABULARY)) {
            let step = decoder.step(token).unwrap();
            for (a, b) in step.iter().zip(whole) {
                let error = (a.to_f64() - b.to_f64()).abs() / largest;
                assert!(error < tolerance, "context {context}, round {round}: {a:?} or {b:?}");
            }
        }
        if round == 0 {
            fresh = pool::stats().fresh;
        }
        decoder.reset();
    }
    assert_eq!(pool::stats().fresh, fresh, "a warm decoder asks the system for nothing");
    let taken = pool::stats().reserved_bytes - reserved;
    // Keys and values of two layers, at most doubled, with all smaller rooms and a quarter for size classes; scratch.
    let expected = 4 * POSITIONS * 16 * size_of::<E>() * 5 + (64 << 10);
    assert!(taken <= expected as u64, "context {context}: {taken} bytes, and {expected} are plenty");
}

#[test]
fn memory_follows_the_positions_that_are_fed() {
    Runtime::builder().workers(1).build().unwrap().install(|_| {
        for context in [1 << 40, POSITIONS, POSITIONS + 1] {
            check::<f32>(context, 1e-4);
            check::<f64>(context, 1e-12);
        }
    });
}
