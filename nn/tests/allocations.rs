//! A warm training step asks the system for no memory: not in kernels, not in the tape, not in the optimizer. Neither does a
//! warm step of decoding in batches.
//!
//! Counted with one worker, where what a step needs is the same each time; how much scratch is in use at once with
//! more workers is a matter of timing.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use upbeat::Runtime;
use upbeat_kernels::{bf16, Element};
use upbeat_nn::serving::{BatchDecoder, KeyValuePages, Sequence};
use upbeat_nn::{AdamWConfig, AdamWOptimizer, Config, Gradients, Transformer};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counting the calls that ask for memory.
struct Counting;

// SAFETY: every method hands its arguments to `System` unchanged and returns what it returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps `alloc_zeroed`'s contract, which is the same here.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps `realloc`'s contract, which is the same here.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, which is the same here.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of the fourth to the sixth step.
fn warm_allocations<E: Element>(config: Config) -> u64 {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.install(|_| {
        let mut model = Transformer::<E>::new(config, 2).unwrap();
        let mut gradients = Gradients::new(&model);
        let mut optimizer = AdamWOptimizer::new(&model, AdamWConfig::default());
        let seq = model.config().context;
        let vocabulary = model.config().vocabulary;
        let tokens: Vec<u32> = (0..4 * seq).map(|i| (i * i % vocabulary) as u32).collect();
        let mut counts = [0; 6];
        for count in &mut counts {
            let before = ALLOCATIONS.load(Relaxed);
            gradients.clear();
            model.loss_and_gradients(&tokens, &tokens, seq, &mut gradients).unwrap();
            let norm = gradients.global_norm();
            optimizer.step(&mut model, &gradients, 1e-3, (1.0 / norm).min(1.0));
            *count = ALLOCATIONS.load(Relaxed) - before;
        }
        assert!(counts[0] > 0, "the first step does allocate, and is counted");
        counts[3..].iter().sum()
    })
}

/// Allocations of a round of steps like an earlier one: prompts in parts beside single tokens, and sequences that go on.
fn warm_decoding_allocations<E: Element>(config: Config) -> u64 {
    const SEQUENCES: usize = 5;
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.install(|_| {
        let model = Transformer::<E>::new(config, 2).unwrap();
        let pages = KeyValuePages::new(model.config(), SEQUENCES * 8, 8).unwrap();
        let mut decoder = BatchDecoder::new(&model, pages);
        let mut counts = [0; 2];
        for count in &mut counts {
            let mut sequences: [Sequence; SEQUENCES] = std::array::from_fn(|_| decoder.sequence());
            let before = ALLOCATIONS.load(Relaxed);
            for step in 0..20 {
                let [a, b, c, d, e] = &mut sequences;
                let prompt = if step < 2 { &[3, 1, 4, 1, 5][..] } else { &[9] };
                let mut feeds = [(a, prompt), (b, &[2][..]), (c, &[6]), (d, prompt), (e, &[5])];
                let logits = decoder.step(&mut feeds).unwrap();
                assert!((0..SEQUENCES).all(|i| logits.of(i).is_ok()));
            }
            *count = ALLOCATIONS.load(Relaxed) - before;
        }
        assert!(counts[0] > 0, "the first round does allocate, and is counted");
        counts[1]
    })
}

/// One test, as what others allocate at the same time would be counted too.
#[test]
fn a_warm_step_does_not_allocate() {
    let gpt = Config { context: 64, width: 64, layers: 2, heads: 4, hidden: 256, ..Config::gpt_char() };
    for config in [Config::modern(65, 64, 64, 2, 4), gpt] {
        assert_eq!(warm_allocations::<f32>(config.clone()), 0);
        assert_eq!(warm_allocations::<bf16>(config.clone()), 0);
        assert_eq!(warm_decoding_allocations::<f32>(config.clone()), 0);
        assert_eq!(warm_decoding_allocations::<bf16>(config), 0);
    }
}
