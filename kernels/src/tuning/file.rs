//! The tuning file: `name = value` a line, for people to read, with the machine it is for.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Caches, Tuning, TuningError};
use crate::{files, Isa};

const HEAD: &str = "\
# Sizes of blocks that upbeat's kernels use on this machine, found by a search. They change speed alone, never a result.
# Remove this file, or set UPBEAT_TUNING=off, to have those that the caches suggest.
";
const MACHINE: &str = "machine";

/// `upbeat/tuning` in the user's folder for caches.
pub(super) fn usual_path() -> Option<PathBuf> {
    files::folder().map(|folder| folder.join("tuning"))
}

/// What sizes depend on: the processor, its caches, and the instruction set in use.
fn this_machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let processor = named("model name").or_else(|| named("CPU part")).unwrap_or(std::env::consts::ARCH);
    let Caches { private, shared } = Caches::get();
    format!("{processor} with {}, caches of {private} and {shared} bytes", Isa::active().name())
}

impl Tuning {
    /// The file that processes read by themselves, and that [`Tuning::save`] is for: `upbeat/tuning` in the user's folder for
    /// caches. `None` where none is known.
    pub fn usual_path() -> Option<PathBuf> {
        usual_path()
    }

    /// Reads a file that [`Tuning::save`] wrote.
    ///
    /// # Errors
    /// It cannot be read, holds something else, values that make no sense, or those of another machine.
    pub fn load(path: &Path) -> Result<Self, TuningError> {
        let text =
            fs::read_to_string(path).map_err(|source| TuningError::Read(path.to_path_buf(), source))?;
        let malformed = |what: String| TuningError::Malformed(path.to_path_buf(), what);
        let mut tuning = Tuning::from_caches();
        let (mut machine, mut seen) = (None, Vec::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) =
                line.split_once('=').ok_or_else(|| malformed(format!("`{line}` is no `name = value`")))?;
            let (name, value) = (name.trim(), value.trim());
            if seen.iter().any(|seen| seen == name) {
                return Err(malformed(format!("{name} is there twice")));
            }
            seen.push(name.to_owned());
            if name == MACHINE {
                machine = Some(value.to_owned());
                continue;
            }
            let field = tuning.fields().into_iter().find(|(field, ..)| *field == name);
            let (_, field, _) = field.ok_or_else(|| malformed(format!("{name} is unknown")))?;
            *field = value.parse().map_err(|_| malformed(format!("{name} = {value} is no number")))?;
        }
        for (name, ..) in tuning.fields() {
            if !seen.iter().any(|seen| seen == name) {
                return Err(malformed(format!("{name} is missing")));
            }
        }
        let saved = machine.ok_or_else(|| malformed(format!("{MACHINE} is missing")))?;
        let here = this_machine();
        if saved != here {
            return Err(TuningError::OtherMachine { path: path.to_path_buf(), saved, here });
        }
        tuning.check()
    }

    /// Writes the sizes for this machine to `path`, whole or not at all; folders are made.
    ///
    /// # Errors
    /// Values that make no sense; a file that cannot be written.
    pub fn save(mut self, path: &Path) -> Result<(), TuningError> {
        self = self.check()?;
        let mut text = format!("{HEAD}{MACHINE} = {}\n", this_machine());
        for (name, value, _) in self.fields() {
            let _ = writeln!(text, "{name} = {value}"); // A string takes everything.
        }
        files::write_whole(path, text.as_bytes())
            .map_err(|source| TuningError::Write(path.to_path_buf(), source))
    }
}
