//! `upbeat sim replay FILE`: makes every choice of a runtime's policy again, from its log.

use serde_json::json;
use upbeat::{PolicyLog, Weights};

use super::args::ReplayArgs;
use crate::failure::Failure;
use crate::output::Output;

/// Runs the command.
pub(super) fn run(args: &ReplayArgs, output: &mut Output) -> Result<(), Failure> {
    let weights = match &args.weights {
        None => Weights::shipped(),
        Some(path) => super::parsed(path, str::parse::<Weights>)?,
    };
    let log = super::parsed(&args.log, str::parse::<PolicyLog>)?;
    log.replay(&weights).map_err(|error| Failure::Input(format!("{}: {error}", args.log.display())))?;
    for (site, chosen) in log.sites() {
        if args.json {
            let chosen: serde_json::Map<_, _> =
                chosen.iter().map(|(name, count)| ((*name).to_string(), json!(count))).collect();
            output.line(json!({ "site": format!("{site:#x}"), "chosen": chosen }));
            continue;
        }
        let chosen: Vec<String> = chosen.iter().map(|(name, count)| format!("{name} {count}")).collect();
        output.line(format_args!("{site:#x}: {}", chosen.join(", ")));
    }
    if !args.json {
        output.line(format_args!("{} regions came out as they were chosen", log.regions()));
    }
    Ok(())
}
