//! Devices for tests, and comparisons of what they compute with plain f64.
//!
//! Without Vulkan tests check the CPU alone and say so; with `UPBEAT_REQUIRE_VULKAN=1` they fail, and so they do without the validation layer.
#![allow(dead_code, unreachable_pub)]

use std::sync::OnceLock;

use upbeat_tensor::{Device, Opened, Tensor, TensorError};
use upbeat_vulkan::{Choice, Options, Reason};

pub fn required() -> bool {
    upbeat_vulkan::is_required()
}

/// The options of tests: any device, unless `UPBEAT_VULKAN_DEVICE` names one.
pub fn options() -> Options {
    let options = Options::from_env().no_pipeline_cache().no_tuning();
    if std::env::var("UPBEAT_VULKAN_DEVICE").is_ok_and(|word| !word.trim().is_empty()) {
        options
    } else {
        options.device(Choice::Any)
    }
}

/// The device that `options` choose, opened with them and watched by the validation layer; `None` where there is none and none is required.
pub fn open(options: &Options) -> Option<Opened> {
    let opened =
        options.place().map_err(|error| TensorError::Unavailable { device: Device::Vulkan(0), error });
    let opened = opened.map(Device::Vulkan).and_then(|device| {
        match device.open_with(&options.clone().validate(true)) {
            Err(TensorError::Unavailable { error, .. })
                if error.reason == Reason::NoValidation && !required() =>
            {
                device.open_with(options)
            }
            opened => opened,
        }
    });
    match opened {
        Ok(opened) => Some(opened),
        Err(error) if required() => panic!("UPBEAT_REQUIRE_VULKAN=1, but {error}"),
        Err(error) => {
            eprintln!("SKIPPED: the part of a test that needs Vulkan, because {error}");
            None
        }
    }
}

/// That the validation layer has said nothing.
#[track_caller]
pub fn assert_valid(opened: &Opened) {
    let messages = opened.vulkan().map(upbeat_vulkan::Device::messages).unwrap_or_default();
    assert!(messages.is_empty(), "the validation layer says:\n{}", messages.join("\n"));
}

/// The Vulkan device that the tests of this program share.
pub fn shared() -> Option<&'static Opened> {
    static SHARED: OnceLock<Option<Opened>> = OnceLock::new();
    SHARED.get_or_init(|| open(&options())).as_ref()
}

/// The CPU, and the shared Vulkan device where there is one.
pub fn devices() -> Vec<Device> {
    std::iter::once(Device::Cpu).chain(shared().map(Opened::device)).collect()
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

/// How far a result may be from the exact one.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub absolute: f64,
    /// Of the exact one's magnitude.
    pub relative: f64,
}

impl Bound {
    /// One rounding, or a bit lost below the smallest normal number.
    pub const ROUNDING: Self = Self { absolute: 2e-38, relative: 6e-8 };

    #[track_caller]
    pub fn check(self, what: &str, found: &[f32], exact: &[f64]) {
        assert_eq!(found.len(), exact.len(), "{what}: the lengths");
        for (at, (&found, &exact)) in found.iter().zip(exact).enumerate() {
            let found = f64::from(found);
            let equal = found == exact || (found.is_nan() && exact.is_nan());
            let close = (found - exact).abs() <= self.absolute + self.relative * exact.abs();
            assert!(equal || close, "{what}: [{at}] is {found:e}, not {exact:e} ({self:?})");
        }
    }
}

/// That `compute` gives a tensor of `shape` and `exact` numbers, within `bound`, on every device; so any two are within twice that of each
/// other, which is checked, too.
#[track_caller]
pub fn check(
    what: &str,
    shape: &[usize],
    exact: &[f64],
    bound: Bound,
    compute: impl Fn(&Device) -> Result<Tensor, TensorError>,
) {
    let mut first: Option<Vec<f64>> = None;
    for device in devices() {
        let what = format!("{what} on {device}");
        let result = compute(&device).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(result.shape(), shape, "{what}");
        assert_eq!(result.device(), device, "{what}");
        let found = result.to_vec().unwrap_or_else(|error| panic!("{what}: {error}"));
        bound.check(&what, &found, exact);
        match &first {
            Some(first) => {
                let twice = Bound { absolute: 2.0 * bound.absolute, relative: 2.0 * bound.relative };
                twice.check(&format!("{what} against the CPU"), &found, first);
            }
            None => first = Some(found.iter().map(|&x| x.into()).collect()),
        }
    }
    shared().iter().for_each(|opened| assert_valid(opened));
}

/// A tensor of the test's numbers.
pub fn tensor(numbers: &[f32], shape: &[usize], device: &Device) -> Tensor {
    Tensor::from_slice(numbers, shape, device)
        .unwrap_or_else(|error| panic!("{shape:?} on {device}: {error}"))
}

/// What an error says.
#[track_caller]
pub fn told<T>(outcome: Result<T, TensorError>) -> String {
    outcome.err().expect("it is refused").to_string()
}
