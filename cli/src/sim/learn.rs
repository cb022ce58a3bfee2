//! `upbeat sim learn`: the learned policy's weights, from regions that are simulated here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;
use upbeat::par;
use upbeat_sim::learn::cases::FAMILIES;
use upbeat_sim::learn::data::{read, write, Region};
use upbeat_sim::learn::train::{fit, train, unknown, Fit, Plan};

use super::args::LearnArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Regions between two times that the file is written.
const BETWEEN: usize = 64;
/// One region in so many is kept from the network that is judged at random.
const APART: u64 = 10;

/// Runs the command.
pub(super) fn run(args: &LearnArgs, output: &mut Output) -> Result<(), Failure> {
    for path in [&args.data, &args.out] {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Failure::write(folder, &error))?;
        }
    }
    let progress = Progress::new();
    let regions = simulated(&args.data, args.regions, &progress)?;
    progress.at(0.9, "training");
    let told = &mut |_| {};
    let network = train(&regions, Plan::default(), told);
    let (apart, rest): (Vec<Region>, Vec<Region>) =
        regions.iter().cloned().partition(|region| region.number % APART == 0);
    let mut fits = vec![
        ("regions trained on", fit(&network, &regions, &unknown(&regions))),
        ("regions kept apart", fit(&train(&rest, Plan::default(), told), &apart, &unknown(&rest))),
    ];
    for (at, family) in FAMILIES.iter().enumerate() {
        progress.at(0.92 + 0.01 * at as f64, "training without one kind of work");
        let (apart, rest): (Vec<Region>, Vec<Region>) =
            regions.iter().cloned().partition(|region| region.family == at);
        fits.push((family.name(), fit(&train(&rest, Plan::default(), told), &apart, &unknown(&rest))));
    }
    drop(progress);
    fs::write(&args.out, network.write()).map_err(|error| Failure::write(&args.out, &error))?;
    print(&fits, regions.len(), args, output);
    Ok(())
}

/// Regions 0 to `count`, of the file or simulated.
fn simulated(path: &Path, count: u64, progress: &Progress) -> Result<Vec<Region>, Failure> {
    let mut known = BTreeMap::new();
    if path.exists() {
        known.extend(super::parsed(path, read)?.into_iter().map(|region| (region.number, region)));
    }
    let missing: Vec<u64> = (0..count).filter(|number| !known.contains_key(number)).collect();
    for (at, some) in missing.chunks(BETWEEN).enumerate() {
        let done = (at * BETWEEN) as f64 / missing.len() as f64;
        progress.at(0.9 * done, &format!("region {} of {count}", some[0]));
        known.extend(par::map(0..some.len(), |at| (some[at], Region::simulated(some[at]))));
        let all: Vec<Region> = known.values().cloned().collect();
        fs::write(path, write(&all)).map_err(|error| Failure::write(path, &error))?;
    }
    Ok(known.into_values().filter(|region| region.number < count).collect())
}

fn print(fits: &[(&str, Fit)], regions: usize, args: &LearnArgs, output: &mut Output) {
    if args.json {
        for (of, fit) in fits {
            output.line(json!({
                "simulated": true, "of": of, "regions": regions, "off": fit.off,
                "off_without_network": fit.off_unknown, "named": fit.named,
            }));
        }
        return;
    }
    output.line(format_args!(
        "what the network expects of {regions} regions (simulated): log times beside the default settings'\n"
    ));
    output.line("| of | off by (root mean square) | without a network | names the best, within 2 % |");
    output.line("|---|---:|---:|---:|");
    for (of, fit) in fits {
        output.line(format_args!(
            "| {of} | {:.3} | {:.3} | {:.0} % |",
            fit.off,
            fit.off_unknown,
            100.0 * fit.named
        ));
    }
    output.line(format_args!("\na kind of work by its name was kept from the network that is asked about it; weights written to {}", args.out.display()));
}
