//! Tuned sizes: no bit of a result depends on them; files are read back, and refused when they are wrong or foreign.
//!
//! One test: the sizes in use and the environment are the process's.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{bits, Numbers};
use upbeat_kernels::conv::{self, Conv2d, ConvEpilogue};
use upbeat_kernels::gemm::{gemm, gemm_packed, GemmPacked, PackedB};
use upbeat_kernels::tuning::{self, Source, Tuning, TuningError};
use upbeat_kernels::{Epilogue, Gemm, Mat, MatMut, Write};

/// Bits of products plain and packed, and of a convolution and its weights' gradient.
fn results() -> Vec<u32> {
    let mut all = Vec::new();
    for (m, n, k) in [(70, 50, 30), (33, 700, 401), (300, 17, 900)] {
        let (a, b) = (Numbers::new(1).vector(m * k), Numbers::new(2).vector(k * n));
        let mut c = vec![0.0; m * n];
        gemm(Gemm {
            a: Mat::new(&a, m, k).unwrap(),
            transpose_a: false,
            b: Mat::new(&b, k, n).unwrap(),
            transpose_b: false,
            c: MatMut::new(&mut c, m, n).unwrap(),
            write: Write::Overwrite,
            epilogue: Epilogue::default(),
        })
        .unwrap();
        all.append(&mut c);
        let packed = PackedB::new(Mat::new(&b, k, n).unwrap(), false).unwrap();
        let mut c = vec![0.0; m * n];
        gemm_packed(GemmPacked {
            a: Mat::new(&a, m, k).unwrap(),
            transpose_a: false,
            b: &packed,
            c: MatMut::new(&mut c, m, n).unwrap(),
            write: Write::Overwrite,
            epilogue: Epilogue::default(),
        })
        .unwrap();
        all.append(&mut c);
    }
    let layer = Conv2d {
        batch: 2,
        channels_in: 6,
        channels_out: 10,
        groups: 2,
        height: 19,
        width: 23,
        kernel: (3, 3),
        stride: (1, 1),
        padding: (1, 1),
        dilation: (1, 1),
    };
    let (x, weight) = (Numbers::new(3).vector(2 * 6 * 19 * 23), Numbers::new(4).vector(10 * 3 * 9));
    let mut y = vec![0.0; 2 * 10 * 19 * 23];
    conv::forward(&layer, &x, &weight, &ConvEpilogue::default(), &mut y).unwrap();
    let mut d_weight = vec![0.0; weight.len()];
    conv::backward_weight(&layer, &y, &x, &mut d_weight).unwrap();
    all.append(&mut y);
    all.append(&mut d_weight);
    bits(&all)
}

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn sizes_change_no_bit_and_survive_their_file() {
    let folder = Folder(std::env::temp_dir().join(format!("upbeat-tuning-{}", std::process::id())));
    let path = folder.0.join("deep/tuning");

    // Who has been told of a wrong file goes on without it. This must come first: the first use asks the environment.
    std::env::set_var("UPBEAT_TUNING", folder.0.join("absent"));
    assert!(matches!(Tuning::from_env(), Err(TuningError::Read(..))));
    let usual = Tuning::from_caches();
    tuning::set(usual).unwrap();
    assert_eq!(tuning::active(), usual);
    std::env::remove_var("UPBEAT_TUNING");
    let expected = results();
    let small = Tuning { private_bytes: 4 << 10, shared_bytes: 64 << 10, task_work: 1 << 10, tasks: 40 };
    let large = Tuning { private_bytes: 1 << 28, shared_bytes: 1 << 34, task_work: 1 << 34, tasks: 1 };
    for tuning in [small, large, Tuning { tasks: 3, ..small }, Tuning { private_bytes: 60_000, ..usual }] {
        tuning::set(tuning).unwrap();
        assert_eq!(tuning::active(), tuning);
        assert!(results() == expected, "{tuning:?} changes bits");
    }

    // Sizes that make no sense change nothing, and are not saved.
    let senseless = Tuning { tasks: 0, ..usual };
    tuning::set(large).unwrap();
    assert!(matches!(tuning::set(senseless), Err(TuningError::OutOfRange { name: "tasks", value: 0, .. })));
    assert!(matches!(senseless.save(&path), Err(TuningError::OutOfRange { .. })));
    assert_eq!(tuning::active(), large);
    assert!(!path.exists());

    small.save(&path).unwrap();
    assert_eq!(Tuning::load(&path).unwrap(), small);
    let whole = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

    // Threads that save and load one file find it whole.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    small.save(&path).unwrap();
                    assert_eq!(Tuning::load(&path).unwrap(), small);
                }
            });
        }
    });
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

    // What the environment asks for. No other thread runs in this test, and the runtime's workers read no environment.
    std::env::set_var("UPBEAT_TUNING", &path);
    assert!(matches!(Tuning::from_env(), Ok((found, Source::Saved(_))) if found == small));
    std::env::set_var("UPBEAT_TUNING", "off");
    assert!(matches!(Tuning::from_env(), Ok((found, Source::Caches)) if found == usual));
    std::env::set_var("UPBEAT_TUNING", folder.0.join("absent"));
    assert!(matches!(Tuning::from_env(), Err(TuningError::Read(..))));
    std::env::remove_var("UPBEAT_TUNING");
    std::env::set_var("XDG_CACHE_HOME", &folder.0);
    assert!(matches!(Tuning::from_env(), Ok((found, Source::Caches)) if found == usual));
    let own = folder.0.join("upbeat/tuning");
    assert_eq!(Tuning::usual_path().as_ref(), Some(&own));
    small.save(&own).unwrap();
    assert!(matches!(Tuning::from_env(), Ok((found, Source::Saved(_))) if found == small));

    // Damaged files: named one by one, and never taken in silence.
    let damages: [(&str, &str, &str); 6] = [
        ("tasks = 40", "tasks = forty", "no number"),
        ("tasks = 40", "tasks = 40\ntasks = 40", "twice"),
        ("tasks = 40", "", "tasks is missing"),
        ("tasks = 40", "tasks = 40\ncolour = 3", "colour is unknown"),
        ("tasks = 40", "tasks", "no `name = value`"),
        ("tasks = 40", "tasks = 0", "not between"),
    ];
    for (what, by, words) in damages {
        fs::write(&own, whole.replace(what, by)).unwrap();
        let message = Tuning::load(&own).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
        assert!(
            matches!(Tuning::from_env(), Ok((found, Source::Ignored(_, why))) if found == usual && why.to_string() == message)
        );
    }
    fs::write(&own, whole.replace("machine = ", "machine = another ")).unwrap();
    assert!(matches!(Tuning::load(&own), Err(TuningError::OtherMachine { .. })));
    fs::write(&own, [0xff, 0xfe]).unwrap();
    assert!(matches!(Tuning::load(&own), Err(TuningError::Read(..))));
}
