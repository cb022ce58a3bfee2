//! A device for tests, watched by the validation layer where that is installed.
//!
//! Without Vulkan tests say so and pass; with `UPBEAT_REQUIRE_VULKAN=1` they fail, and so they do without the validation layer.
#![allow(dead_code, unreachable_pub)]

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use upbeat_vulkan::tuning::{Tunable, Tuning};
use upbeat_vulkan::{Choice, Device, Options, Reason};

fn required() -> bool {
    upbeat_vulkan::is_required()
}

/// The options of tests: any device, unless `UPBEAT_VULKAN_DEVICE` names one. They leave the user's pipelines and shapes alone.
pub fn options() -> Options {
    let options = Options::from_env().no_pipeline_cache().no_tuning();
    if std::env::var("UPBEAT_VULKAN_DEVICE").is_ok_and(|word| !word.trim().is_empty()) {
        options
    } else {
        options.device(Choice::Any)
    }
}

thread_local! {
    /// How many turns this thread has, and what it holds for them.
    static TURNS: RefCell<(usize, Option<MutexGuard<'static, ()>>)> = const { RefCell::new((0, None)) };
}

/// One thread's turn to have devices. The validation layer (1.3.239 at least) looks devices up in a table without a lock, so it crashes where one
/// is used while another is made or destroyed. It goes where it came from, when the thread's last one is dropped.
pub struct Turn(());

/// Waits until no other test has a device.
pub fn turn() -> Turn {
    static DEVICES: Mutex<()> = Mutex::new(());
    TURNS.with_borrow_mut(|(turns, held)| {
        *turns += 1;
        held.get_or_insert_with(|| DEVICES.lock().unwrap_or_else(PoisonError::into_inner));
    });
    Turn(())
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURNS.with_borrow_mut(|(turns, held)| {
            *turns -= 1;
            if *turns == 0 {
                *held = None;
            }
        });
    }
}

/// A device whose validation messages must be none when it is dropped.
pub struct Gpu(Device, Turn);

impl Deref for Gpu {
    type Target = Device;
    fn deref(&self) -> &Device {
        &self.0
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let messages = self.0.messages();
        if !std::thread::panicking() {
            assert!(messages.is_empty(), "the validation layer says:\n{}", messages.join("\n"));
        }
    }
}

/// The device that `options` open, or `None` where there is no Vulkan and none is required.
pub fn open(options: Options) -> Option<Gpu> {
    let turn = turn();
    let opened = match Device::open(&options.clone().validate(true)) {
        Err(error) if error.reason == Reason::NoValidation && !required() => {
            Device::open(&options.validate(false))
        }
        opened => opened,
    };
    match opened {
        Ok(device) => Some(Gpu(device, turn)),
        Err(error) if required() => panic!("UPBEAT_REQUIRE_VULKAN=1, but {error}"),
        Err(error) => {
            eprintln!("SKIPPED: a test that needs Vulkan, because {error}");
            None
        }
    }
}

/// [`open`] with the options of tests.
pub fn device() -> Option<Gpu> {
    open(options())
}

/// The device with each shape of `tunable` that it can run, told in words. There is always the first, which kernels take by themselves.
pub fn shapes(device: &Gpu, tunable: Tunable) -> Vec<(String, Gpu)> {
    let of = |shape: String| {
        let tuning = Tuning::default().with(tunable, &shape).unwrap();
        let tuned = device.with_tuning(tuning).ok()?;
        Some((format!("{} = {shape}", tunable.name()), Gpu(tuned, turn())))
    };
    let found: Vec<_> = tunable.shapes().into_iter().filter_map(of).collect();
    assert!(!found.is_empty(), "{tunable:?}");
    found
}

/// Numbers that depend on `seed` alone, between -1 and 1.
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// That each of `found` is within `absolute + relative · |expected|` of `expected`; NaN only where NaN is expected.
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], absolute: f64, relative: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: the lengths");
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let found = f64::from(found);
        let equal = found == expected || (found.is_nan() && expected.is_nan());
        let close = (found - expected).abs() <= absolute + relative * expected.abs();
        assert!(equal || close, "{what}: [{at}] is {found:e}, not {expected:e}");
    }
}

/// What an error says.
#[track_caller]
pub fn told<T>(outcome: Result<T, upbeat_vulkan::VulkanError>) -> String {
    outcome.err().expect("it is refused").to_string()
}
