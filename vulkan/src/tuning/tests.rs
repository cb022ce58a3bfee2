//! That what a table says is what kernels are made with, by their constants: no result shows it.

use std::path::PathBuf;

use super::{Source, Tunable, Tuning, TuningError};
use crate::{is_required, Choice, Device, Epilogue, Gemm, Matrix, Options};

/// A device, or `None` where there is none and none is required.
fn open(options: Options) -> Option<Device> {
    match Device::open(&options.device(Choice::Any)) {
        Ok(device) => Some(device),
        Err(error) if is_required() => panic!("UPBEAT_REQUIRE_VULKAN=1, but {error}"),
        Err(error) => {
            eprintln!("SKIPPED: a test that needs Vulkan, because {error}");
            None
        }
    }
}

/// Constants of the kernels of a few products, attentions, rows and numbers, and their groups.
fn constants(device: &Device) -> Vec<(&'static str, Vec<u32>, u32)> {
    let mut commands = device.commands();
    let x = device.buffer::<f32>(1 << 16).unwrap();
    let out = device.buffer::<f32>(1 << 16).unwrap();
    let matrix = |x, rows, cols| Matrix::strided(x, rows, cols, cols).unwrap();
    for (m, transpose_b) in [(100, false), (2, false), (2, true), (7, true)] {
        let b = if transpose_b { matrix(&x, 64, 32) } else { matrix(&x, 32, 64) };
        let product = Gemm {
            transpose_b,
            epilogue: Epilogue::default(),
            ..Gemm::new(matrix(&x, m, 32), b, matrix(&out, m, 64))
        };
        commands.gemm(&product).unwrap();
    }
    for queries in [1, 40] {
        let layout = crate::AttentionLayout::dense(1, queries, 40, 2, 2, 64);
        commands.attention_strided(&layout, &x, &x, &x, &out).unwrap();
    }
    commands.softmax(&x, 1 << 12, &out).unwrap();
    commands.scale(&x, 2.0, &out).unwrap();
    let of = |constants: crate::pipeline::Constants| (0..7).map(|i| constants.value(i)).collect();
    let dispatches = commands.dispatches().into_iter();
    dispatches.map(|(kernel, constants, groups)| (kernel.name(), of(constants), groups[0])).collect()
}

/// Constants that the shapes above decide; the second of each are flags.
fn expect(found: &[(&'static str, Vec<u32>, u32)], at: usize, name: &str, constants: &[(usize, u32)]) {
    let (found_name, values, _) = &found[at];
    assert_eq!(*found_name, name, "dispatch {at}");
    for &(number, value) in constants {
        assert_eq!(values[number], value, "constant {number} of {name}: {values:?}");
    }
}

fn chosen() -> Tuning {
    [
        (Tunable::GemmWide, "64x128x16 by 8x8"),
        (Tunable::GemmMiddle, "64x64x16 by 8x8"),
        (Tunable::GemmLow, "16x64x32 by 4x4"),
        (Tunable::Gemv, "64 by 8"),
        (Tunable::GemvTransposed, "128 by 64"),
        (Tunable::FewRows, "4"),
        (Tunable::AttentionTile, "2"),
        (Tunable::AttentionRow, "64 by 8"),
        (Tunable::Elements, "64"),
    ]
    .into_iter()
    .fold(Tuning::default(), |tuning, (tunable, shape)| tuning.with(tunable, shape).unwrap())
}

fn expect_chosen(device: &Device) {
    let found = constants(device);
    // A GPU takes the lowest tiles for so small a product, a CPU that stands in for one the widest.
    let tile = &found[0].1[..];
    let of_tiles = [[128, 64, 128, 16, 8, 8], [64, 16, 64, 32, 4, 4]];
    let known = [tile[0], tile[2], tile[3], tile[4], tile[5], tile[6]];
    assert!(of_tiles.contains(&known), "{known:?}");
    expect(&found, 1, "gemv", &[(0, 64), (2, 2), (3, 8)]);
    expect(&found, 2, "gemv", &[(0, 128), (2, 2), (3, 64)]);
    assert_eq!((found[1].2, found[2].2), (2, 32), "groups of 32 columns and of 2");
    expect(&found, 3, "gemm", &[]);
    expect(&found, 4, "flash_row", &[(0, 64), (3, 8)]);
    expect(&found, 5, "flash_tile", &[(0, 128), (3, 2)]);
    expect(&found, 7, "map", &[(0, 64)]);
    assert_eq!(found[7].2, 1 << 10);
}

#[test]
fn without_a_table_kernels_have_what_they_always_had() {
    let Some(device) = open(Options::new()) else { return };
    assert!(matches!(device.tuning_source(), Source::Default));
    assert_eq!((device.tuning(), device.tuning().changed()), (Tuning::default(), 0));
    let found = constants(&device);
    expect(&found, 1, "gemv", &[(0, 128), (2, 2), (3, 16)]);
    expect(&found, 2, "gemv", &[(0, 128), (2, 2), (3, 32)]);
    expect(&found, 3, "gemv", &[(0, 128), (2, 8), (3, 32)]);
    expect(&found, 4, "flash_row", &[(0, 128), (3, 16)]);
    expect(&found, 5, "flash_tile", &[(0, 128), (3, 4)]);
    expect(&found, 6, "softmax", &[(0, 128), (2, 128), (3, 32), (4, 0)]);
    expect(&found, 7, "map", &[(0, 128)]);
}

#[test]
fn a_handle_has_shapes_of_its_own() {
    let Some(device) = open(Options::new()) else { return };
    let tuned = device.with_tuning(chosen()).unwrap();
    assert_eq!((tuned.tuning(), device.tuning()), (chosen(), Tuning::default()));
    expect_chosen(&tuned);
    expect(&constants(&device), 7, "map", &[(0, 128)]);
    if device.limits().workgroup >= 256 {
        let wide = device.with_tuning(Tuning::default().with(Tunable::Rows, "256").unwrap()).unwrap();
        expect(&constants(&wide), 6, "softmax", &[(0, 256), (2, 256), (3, 16), (4, 0)]);
    }
    // Buffers of one serve the other, in one list too.
    let x = device.upload(&[1.0_f32, 2.0]).unwrap();
    let (mut commands, mut others) = (device.commands(), tuned.commands());
    commands.scale(&x, 3.0, &x).unwrap();
    others.scale(&x, 2.0, &x).unwrap();
    commands.append(others).unwrap();
    commands.submit().unwrap().wait().unwrap();
    assert_eq!(x.to_vec().unwrap(), [6.0, 12.0]);
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_saved_is_what_the_next_device_has() {
    let Some(device) = open(Options::new()) else { return };
    let folder = Folder(std::env::temp_dir().join(format!("upbeat-vulkan-tuning-{}", std::process::id())));
    let path = folder.0.join("new/file");
    chosen().save(&path, &device).unwrap();
    assert_eq!(Tuning::load(&path, &device).unwrap(), chosen());
    let again = open(Options::new().tuning_file(&path)).unwrap();
    assert!(matches!(again.tuning_source(), Source::Saved(from) if *from == path));
    expect_chosen(&again);
    let given = open(Options::new().tuning_file(&path).tuning(chosen())).unwrap();
    assert!(matches!(given.tuning_source(), Source::Given));
    expect_chosen(&given);

    // A file that was asked for must be right.
    let text = std::fs::read_to_string(&path).unwrap();
    let refused = |text: Option<&str>, words: &str| {
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let told = Device::open(&Options::new().device(Choice::Any).tuning_file(&path)).unwrap_err();
        let told = told.to_string();
        assert!(told.contains(words) && told.contains("UPBEAT_VULKAN_TUNING=off"), "{told}");
    };
    refused(Some(&text.replace("device = ", "device = another ")), "tune again");
    refused(Some(&text.replace("few_rows = 4", "few_rows = 3")), "few_rows = 3 is no shape that there is");
    refused(Some(&text[..text.len() / 2]), "file");
    refused(None, "cannot be read");
    let nowhere = Tuning::default().save(&folder.0.join("new/file/below"), &device);
    assert!(nowhere.is_ok(), "the file is gone, so a folder may have its name");
    assert!(matches!(Tuning::default().save(&folder.0.join("new"), &device), Err(TuningError::Write(..))));
}

#[test]
fn a_shape_that_the_device_cannot_run_is_refused() {
    let Some(device) = open(Options::new()) else { return };
    let mut small = device.limits().clone();
    (small.workgroup, small.shared_bytes) = (128, 16_384);
    for &tunable in Tunable::ALL {
        for shape in tunable.shapes() {
            let tuning = Tuning::default().with(tunable, &shape).unwrap();
            // What a small device can run, a larger one can.
            assert!(tuning.check(&small).is_err() || tuning.check(device.limits()).is_ok(), "{tuning:?}");
        }
    }
    let large = Tuning::default().with(Tunable::Elements, "512").unwrap();
    assert!(matches!(large.check(&small), Err(TuningError::TooLarge { needed: 512, most: 128, .. })));
    assert!(matches!(
        Tuning::default().with(Tunable::Elements, "513"),
        Err(TuningError::Unknown { name: "elements", .. })
    ));
}
