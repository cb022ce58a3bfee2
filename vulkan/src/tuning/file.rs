//! The tuning file: `name = shape` a line, for people to read, with the device and the driver it is for.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use upbeat_kernels::files;

use super::{Tunable, Tuning, TuningError};
use crate::device::Device;
use crate::instance::DeviceInfo;
use crate::limits::Limits;

const HEAD: &str = "\
# Shapes of workgroups that upbeat's kernels take on this device, found by a search. They change speed, and sums' last bits.
# Remove this file, or set UPBEAT_VULKAN_TUNING=off, to have those that the kernels take by themselves.
";
const DEVICE: &str = "device";

/// `upbeat/vulkan-tuning-VENDOR-DEVICE` in the user's folder for caches. Without the driver's version: what is found with a new driver takes
/// the place of what was found with the old one.
pub(super) fn usual_path(info: &DeviceInfo) -> Option<PathBuf> {
    let [vendor, device, _] = info.numbers;
    files::folder().map(|folder| folder.join(format!("vulkan-tuning-{vendor:04x}-{device:04x}")))
}

/// What shapes depend on, in one line.
fn identity(info: &DeviceInfo) -> String {
    let [vendor, device, version] = info.numbers;
    let DeviceInfo { name, driver, .. } = info;
    let text = format!("{name} ({vendor:04x}:{device:04x}) with {driver} ({version:#x})");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads a file for a device.
///
/// # Errors
/// It cannot be read, is none, of another device or driver, or has a shape that the device cannot run.
pub(super) fn load(path: &Path, info: &DeviceInfo, limits: &Limits) -> Result<Tuning, TuningError> {
    let text = fs::read_to_string(path).map_err(|source| TuningError::Read(path.to_path_buf(), source))?;
    let tuning = parse(path, &text, &identity(info))?;
    tuning.check(limits).map_err(|error| TuningError::In(path.to_path_buf(), Box::new(error)))?;
    Ok(tuning)
}

fn parse(path: &Path, text: &str, here: &str) -> Result<Tuning, TuningError> {
    let malformed = |what: String| TuningError::Malformed(path.to_path_buf(), what);
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) =
            line.split_once('=').ok_or_else(|| malformed(format!("`{line}` is no `name = shape`")))?;
        let (name, value) = (name.trim(), value.trim());
        if lines.iter().any(|(known, _)| *known == name) {
            return Err(malformed(format!("{name} is there twice")));
        }
        lines.push((name, value));
    }
    let value = |wanted: &str| {
        let found = lines.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| *value).ok_or_else(|| malformed(format!("{wanted} is missing")))
    };
    // First of all: another version of a driver is no damage.
    let saved = value(DEVICE)?;
    if saved != here {
        let (saved, here) = (saved.to_owned(), here.to_owned());
        return Err(TuningError::OtherDevice { path: path.to_path_buf(), saved, here });
    }
    if let Some((name, _)) = lines.iter().find(|(name, _)| *name != DEVICE && Tunable::named(name).is_none())
    {
        return Err(malformed(format!("{name} is unknown")));
    }
    let mut tuning = Tuning::default();
    for &tunable in Tunable::ALL {
        let with = tuning.with(tunable, value(tunable.name())?);
        tuning = with.map_err(|error| TuningError::In(path.to_path_buf(), Box::new(error)))?;
    }
    Ok(tuning)
}

fn print(tuning: &Tuning, here: &str) -> String {
    let mut text = format!("{HEAD}{DEVICE} = {here}\n");
    for &tunable in Tunable::ALL {
        let _ = writeln!(text, "{} = {}", tunable.name(), tuning.shape(tunable));
        // A string takes everything.
    }
    text
}

impl Tuning {
    /// The file that devices read by themselves ([`Options::usual_tuning`](crate::Options::usual_tuning)), and that [`save`](Self::save) is
    /// for: `upbeat/vulkan-tuning-VENDOR-DEVICE` in the user's folder for caches. `None` where none is known.
    pub fn usual_path(device: &Device) -> Option<PathBuf> {
        usual_path(device.info())
    }

    /// Reads a file that [`save`](Self::save) wrote for this device.
    ///
    /// # Errors
    /// It cannot be read, holds something else, is of another device or another version of its driver, or has a shape that the device
    /// cannot run.
    pub fn load(path: &Path, device: &Device) -> Result<Self, TuningError> {
        load(path, device.info(), device.limits())
    }

    /// Writes the shapes for this device and its driver to `path`, whole or not at all; folders are made.
    ///
    /// # Errors
    /// Shapes that the device cannot run; a file that cannot be written.
    pub fn save(&self, path: &Path, device: &Device) -> Result<(), TuningError> {
        self.check(device.limits())?;
        let text = print(self, &identity(device.info()));
        files::write_whole(path, text.as_bytes())
            .map_err(|source| TuningError::Write(path.to_path_buf(), source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tuning, String> {
        parse(Path::new("a/file"), text, "GPU (1:2) with driver 3").map_err(|error| error.to_string())
    }

    fn written(tuning: &Tuning) -> String {
        print(tuning, "GPU (1:2) with driver 3")
    }

    #[test]
    fn every_shape_is_read_as_it_was_written() {
        for &tunable in Tunable::ALL {
            for shape in tunable.shapes() {
                let tuning = Tuning::default().with(tunable, &shape).unwrap();
                assert_eq!(read(&written(&tuning)).unwrap(), tuning, "{tunable:?} as {shape}");
            }
        }
        let text = written(&Tuning::default());
        let spread = text.replace(" = ", "=").replace('\n', "\n\n  ");
        assert_eq!(read(&spread).unwrap(), Tuning::default(), "spaces and empty lines are of no account");
    }

    #[test]
    fn what_is_damaged_or_foreign_is_told() {
        let text = written(&Tuning::default());
        let refused = |text: &str, words: &str| {
            let told = read(text).unwrap_err();
            assert!(told.contains("a/file") && told.contains(words), "{told}");
        };
        refused("", "device is missing");
        refused(&text.replace("rows = 128\n", "rows = 128\nrows = 128\n"), "rows is there twice");
        refused(&text.replace("gemv = ", "gemw = "), "gemw is unknown");
        refused(&text.replace("elements = 128\n", ""), "elements is missing");
        refused(&text.replace("elements = 128", "elements 128"), "`elements 128` is no `name = shape`");
        refused(&text.replace("elements = 128", "elements = 100"), "elements = 100 is no shape");
        refused(&text.replace("gemm_wide = 128x128x16", "gemm_wide = 128x128x17"), "tune again");
        refused(&text.replace("driver 3", "driver 4"), "was saved for GPU (1:2) with driver 4, and this is");
        let all = text.lines().filter(|line| !line.starts_with('#')).count();
        // A file that was cut off anywhere has lost a line, or a part of the last one.
        for kept in 0..all {
            let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).take(kept).collect();
            refused(&lines.join("\n"), "is missing");
        }
    }

    #[test]
    fn what_a_device_cannot_run_is_told() {
        let small = Limits::least();
        assert!(Tuning::default().check(&small).is_ok(), "what kernels take by themselves fits every device");
        let told = |tunable: Tunable, shape: &str| {
            Tuning::default().with(tunable, shape).unwrap().check(&small).unwrap_err().to_string()
        };
        let large = "elements = 512 needs 512 invocations, and the device has 128";
        assert_eq!(told(Tunable::Elements, "512"), large);
        let shared =
            "gemm_middle = 64x64x32 by 8x4 needs 17408 bytes of shared memory, and the device has 16384";
        assert_eq!(told(Tunable::GemmMiddle, "64x64x32 by 8x4"), shared);
    }
}
