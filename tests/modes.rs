//! What the modes promise: never-promote shares no join, always-promote shares each, a seed draws the same forks again, and
//! none of them changes a bit of any result.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use support::watched;
use upbeat::{par, BuildError, Mode, Runtime, Worker, WorkerMetrics};
use upbeat_kernels::{Activation, Element, Epilogue, Gemm, Mat, MatMut, Write};
use upbeat_nn::checkpoint::Store;
use upbeat_nn::data::{Dataset, Text, Tokenizer};
use upbeat_nn::schedule::Schedule;
use upbeat_nn::train::{TrainConfig, Trainer};
use upbeat_nn::{AdamWConfig, Config};

const MODES: [Mode; 5] =
    [Mode::OnRequest, Mode::NeverPromote, Mode::AlwaysPromote, Mode::Seeded(1), Mode::Seeded(2)];

fn runtime(workers: usize, mode: Mode) -> Runtime {
    Runtime::builder().workers(workers).mode(mode).build().unwrap()
}

/// A sum whose bits depend on the order of its additions, which the tree fixes.
fn sum(worker: &Worker, from: u32, to: u32) -> f64 {
    if to - from == 1 {
        return 1.0 / f64::from(from + 1);
    }
    let middle = from + (to - from) / 3 + u32::from(to - from == 2);
    let (a, b) = worker.join(|w| sum(w, from, middle), |w| sum(w, middle, to));
    a + b
}

/// Asserts that `bits` gives the same in every mode, on one, two and many workers.
fn assert_same_bits<T: PartialEq + Send>(what: &str, bits: impl Fn() -> T + Sync) {
    let expected = runtime(1, Mode::NeverPromote).install(|_| bits());
    for mode in MODES {
        for workers in [1, 2, 8] {
            watched(&format!("{what}, {mode:?}, {workers} workers"), || {
                let runtime = runtime(workers, mode);
                for _ in 0..3 {
                    assert!(
                        runtime.install(|_| bits()) == expected,
                        "{what}: other bits with {mode:?}, {workers} workers"
                    );
                }
            });
        }
    }
}

fn total(runtime: &Runtime) -> WorkerMetrics {
    runtime.metrics().total()
}

/// Fault 25: a beat that never fires.
#[test]
fn never_promote_shares_no_join_and_keeps_the_order() {
    watched("never-promote", || {
        let runtime = runtime(4, Mode::NeverPromote);
        let seen = Mutex::new(Vec::new());
        let note = |i| seen.lock().unwrap().push((i, std::thread::current().id()));
        for _ in 0..20 {
            runtime.install(|worker| {
                sum(worker, 0, 2000);
                par::for_each(0..1000, note);
            });
        }
        let seen = seen.into_inner().unwrap();
        for run in seen.chunks(1000) {
            assert!(run.iter().map(|&(i, _)| i).eq(0..1000), "a loop runs in order");
            assert!(run.iter().all(|&(_, thread)| thread == run[0].1), "on one worker");
        }
        assert_eq!((total(&runtime).promotions, total(&runtime).steals), (0, [0; 4]));
    });
}

/// Fault 25: a beat that always fires.
#[test]
fn always_promote_shares_each_join() {
    watched("always-promote", || {
        // As deep as the ring has room, and no thief: each of the 999 joins is made public and taken back.
        let runtime = runtime(1, Mode::AlwaysPromote);
        for regions in 1..=20 {
            runtime.install(|worker| sum(worker, 0, 1000));
            assert_eq!(total(&runtime).promotions, 999 * regions);
        }
    });
}

/// Fault 25: beats that come as a generator says.
#[test]
fn a_seed_draws_the_same_forks_again() {
    let promotions = |seed| {
        let runtime = runtime(1, Mode::Seeded(seed));
        runtime.install(|worker| sum(worker, 0, 1000));
        total(&runtime).promotions
    };
    watched("seeds", || {
        let drawn: Vec<_> = (0..8).map(promotions).collect();
        assert!((0..8).map(promotions).eq(drawn.iter().copied()), "the same seed, the same forks");
        assert!(drawn.iter().all(|&n| 0 < n && n < 999), "some forks and not others: {drawn:?}");
        assert!(drawn.iter().any(|&n| n != drawn[0]), "another seed, other forks: {drawn:?}");
    });
}

#[test]
fn joins_and_loops_have_the_same_bits_in_every_mode() {
    assert_same_bits("a tree of joins", || upbeat::join(|| free_sum(0, 700), || free_sum(700, 1500)));
    let value = |i: usize| (i as f64 * 0.37).sin() / (i + 1) as f64;
    assert_same_bits("map_reduce", || {
        par::map_reduce(0..10_007, value, |a, b| a + b * 0.999, || 0.0).to_bits()
    });
    assert_same_bits("map", || par::map(0..5003, |i| value(i).to_bits()));
    assert_same_bits("chunks_mut", || {
        let mut data = vec![0.0; 1009];
        par::chunks_mut(&mut data, 7, |i, chunk| chunk.fill(value(i)));
        data.iter().map(|x: &f64| x.to_bits()).collect::<Vec<_>>()
    });
    assert_same_bits("for_each", || {
        let slots: Vec<_> = (0..1009).map(|_| Mutex::new(0)).collect();
        par::for_each(0..slots.len(), |i| *slots[i].lock().unwrap() += value(i).to_bits());
        slots.into_iter().map(|slot| slot.into_inner().unwrap()).collect::<Vec<_>>()
    });
    assert_same_bits("scope", || {
        let mut parts = [0.0; 40];
        upbeat::scope(|scope| {
            for (i, part) in parts.iter_mut().enumerate() {
                scope.spawn(move |_| *part = free_sum(0, 50 + i as u32));
            }
        });
        parts.map(f64::to_bits)
    });
}

/// [`sum`] by the free function.
fn free_sum(from: u32, to: u32) -> f64 {
    if to - from == 1 {
        return 1.0 / f64::from(from + 1);
    }
    let middle = from + (to - from) / 2;
    let (a, b) = upbeat::join(|| free_sum(from, middle), || free_sum(middle, to));
    a + b
}

#[test]
fn a_matrix_product_has_the_same_bits_in_every_mode() {
    let (m, k, n) = (67, 129, 95);
    let numbers = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<_>>();
    let (a, b, bias) = (numbers(m * k, 0.7), numbers(k * n, 0.3), numbers(n, 0.9));
    assert_same_bits("a product", || {
        let mut c = vec![0.0f32; m * n];
        f32::gemm(Gemm {
            a: Mat::new(&a, m, k).unwrap(),
            transpose_a: false,
            b: Mat::new(&b, k, n).unwrap(),
            transpose_b: false,
            c: MatMut::new(&mut c, m, n).unwrap(),
            write: Write::Overwrite,
            epilogue: Epilogue { bias: Some(&bias), activation: Activation::Gelu, ..Epilogue::default() },
        })
        .unwrap();
        c.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    });
}

/// Every file of the checkpoint, by name, that a short training leaves.
fn checkpoint(mode: Mode, workers: usize) -> Vec<(PathBuf, Vec<u8>)> {
    let name = format!("upbeat-modes-{}-{workers}-{mode:?}", std::process::id());
    let folder = std::env::temp_dir().join(name.replace(['(', ')'], "-"));
    runtime(workers, mode).install(|_| {
        let texts = [Text { path: "text".into(), content: "let x = y + 1; // abc\n".repeat(40) }];
        let tokenizer = Tokenizer::from_texts(&texts);
        let dataset = Dataset::new(&texts, &tokenizer, 16).unwrap();
        let config = TrainConfig {
            model: Config::modern(tokenizer.vocabulary(), 16, 24, 2, 2),
            batch: 3,
            schedule: Schedule { peak: 1e-2, floor: 1e-3, warmup: 2, steps: 6 },
            optimizer: AdamWConfig::default(),
            clip: 1.0,
            seed: 42,
        };
        let mut trainer = Trainer::<f32>::new(config, tokenizer, dataset).unwrap();
        for _ in 0..6 {
            trainer.step().unwrap();
        }
        trainer.save(&Store::create(&folder).unwrap()).unwrap();
    });
    let mut files = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false => files
                    .push((entry.strip_prefix(&folder).unwrap().to_path_buf(), fs::read(&entry).unwrap())),
            }
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    files.sort();
    files
}

#[test]
fn a_training_leaves_the_same_checkpoint_in_every_mode() {
    let expected = checkpoint(Mode::NeverPromote, 1);
    assert!(expected.len() >= 3, "parameters, state and manifest");
    for mode in MODES {
        for workers in [1, 3] {
            let found = watched(&format!("{mode:?}"), || checkpoint(mode, workers));
            assert!(found == expected, "another checkpoint with {mode:?}, {workers} workers");
        }
    }
}

/// Fault 50: the environment chooses the mode of runtimes that were not told, and garbage in it is a named error.
#[test]
fn the_environment_chooses_the_mode() {
    const NAME: &str = "the_environment_chooses_the_mode";
    let promotions = |builder: upbeat::Builder| {
        let runtime = builder.workers(1).build().unwrap();
        runtime.install(|worker| sum(worker, 0, 1000));
        total(&runtime).promotions
    };
    match support::role().as_deref() {
        Some("garbage") => {
            let error = Runtime::new().unwrap_err();
            assert!(matches!(&error, BuildError::Mode { value } if value == "sometimes"), "{error}");
            assert_eq!(promotions(Runtime::builder().mode(Mode::NeverPromote)), 0, "not read when told");
        }
        Some("always") => {
            assert_eq!(promotions(Runtime::builder()), 999);
            assert_eq!(promotions(Runtime::builder().mode(Mode::NeverPromote)), 0);
        }
        Some(_) => assert_eq!(promotions(Runtime::builder()), 0),
        None => {
            for (role, value) in
                [("garbage", "sometimes"), ("always", "always-promote"), ("never", "never-promote")]
            {
                let output = support::rerun(NAME, role).env("UPBEAT_MODE", value).output().unwrap();
                support::assert_passed(&output);
            }
        }
    }
}
