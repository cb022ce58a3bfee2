//! `upbeat info --topology`: draws a machine, as text and as a picture.
//!
//! Which machine: the one described on the command line, a copy of `/sys/devices/system`, the one in `UPBEAT_TOPOLOGY`, or this one.

mod svg;
mod text;
mod tree;

use std::path::Path;

use upbeat::topology::{machine, Machine};

use crate::args::InfoArgs;
use crate::failure::Failure;
use crate::output::Output;

/// The machine to draw, and what to call it.
fn chosen(args: &InfoArgs) -> Result<(Machine, String), Failure> {
    if let Some(description) = &args.describe {
        let machine = Machine::synthetic(description);
        let machine = machine.map_err(|error| Failure::Input(format!("--describe: {error}")))?;
        return Ok((machine, format!("\"{description}\"")));
    }
    if let Some(folder) = &args.sysfs {
        return Ok((read(folder)?, folder.display().to_string()));
    }
    match std::env::var_os("UPBEAT_TOPOLOGY").filter(|value| !value.is_empty()) {
        Some(value) => {
            let value = value.to_string_lossy().into_owned();
            let machine = Machine::synthetic(&value);
            let machine =
                machine.map_err(|error| Failure::Input(format!("UPBEAT_TOPOLOGY={value:?}: {error}")))?;
            Ok((machine, format!("UPBEAT_TOPOLOGY, \"{value}\"")))
        }
        None => Ok((machine(), "this machine, as far as this process may use it".into())),
    }
}

/// Reads a copy of another machine's files. A folder without any would be guessed to be this machine, which nobody wants to see.
fn read(folder: &Path) -> Result<Machine, Failure> {
    match folder.join("cpu/online").is_file() {
        true => Ok(Machine::read(folder, &[])),
        false => Err(Failure::Input(format!(
            "{} has no file cpu/online; give a copy of /sys/devices/system",
            folder.display()
        ))),
    }
}

/// Runs the command.
pub(crate) fn run(args: &InfoArgs, output: &mut Output) -> Result<(), Failure> {
    let (machine, name) = chosen(args)?;
    output.text(text::draw(&machine, &name));
    if let Some(path) = &args.svg {
        std::fs::write(path, svg::draw(&machine, &name)).map_err(|error| Failure::write(path, &error))?;
        output.line(format!("picture in {}", path.display()));
    }
    Ok(())
}
