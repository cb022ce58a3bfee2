//! Strong, weak and memory scaling over numbers of workers: a table on the screen, and as Markdown, CSV and a picture in a
//! folder.

mod picture;
mod table;

use std::fs;

use upbeat_benches::scaling::{measure, Curve, Plan};

use super::record::Record;
use crate::args::ScalingArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Most runtimes that are alive at once.
const MOST_COUNTS: usize = 16;

/// Runs the bench.
pub(super) fn run(args: &ScalingArgs, output: &mut Output) -> Result<(), Failure> {
    let plan =
        Plan { workers: counts(&args.workers)?, limit: super::limit(args.seconds)?, small: args.small };
    // A folder that cannot be written is found before minutes of measuring.
    fs::create_dir_all(&args.out).map_err(|error| Failure::write(&args.out, &error))?;
    let progress = Progress::new();
    let curves = measure(&plan, &mut |share, work| progress.at(share, work))?;
    drop(progress);
    for (name, text) in [
        ("scaling.md", table::markdown(&curves)),
        ("scaling.csv", table::csv(&curves)),
        ("scaling.svg", picture::svg(&curves)),
    ] {
        let path = args.out.join(name);
        fs::write(&path, text).map_err(|error| Failure::write(&path, &error))?;
    }
    if args.json {
        records(&curves).iter().for_each(|record| output.line(record.to_json()));
    } else {
        output.text(table::markdown(&curves));
        output.line(format_args!("written to {}: scaling.md, scaling.csv, scaling.svg", args.out.display()));
    }
    Ok(())
}

/// The numbers of workers, ascending; without any 1, 2, 4 and so on up to what the process may use, and that.
fn counts(asked: &[usize]) -> Result<Vec<usize>, Failure> {
    let mut counts = asked.to_vec();
    if counts.is_empty() {
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        counts = (0..).map(|power| 1 << power).take_while(|&count| count < most).collect();
        counts.push(most);
    }
    counts.sort_unstable();
    counts.dedup();
    if counts[0] == 0 {
        return Err(Failure::Input("the number of workers must not be zero".into()));
    }
    if counts.len() > MOST_COUNTS {
        return Err(Failure::Input(format!("at most {MOST_COUNTS} numbers of workers can be compared")));
    }
    Ok(counts)
}

fn records(curves: &[Curve]) -> Vec<Record> {
    let mut records = Vec::new();
    for curve in curves {
        for point in &curve.points {
            records.push(Record {
                bench: "scaling",
                work: format!("{}: {}, {} workers", curve.scaling.name(), curve.work, point.workers),
                unit: "x sequential",
                value: point.speedup,
                limit: Some(point.workers as f64),
                peer: None,
                peer_value: None,
                goal: None,
                met: None,
            });
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_ascending_and_what_was_asked_for() {
        assert_eq!(counts(&[4, 1, 4, 2]).unwrap(), [1, 2, 4]);
        assert!(counts(&[2, 0]).is_err());
        assert!(counts(&(1..=17).collect::<Vec<_>>()).is_err());
        let default = counts(&[]).unwrap();
        assert!(default.is_sorted() && default[0] == 1, "{default:?}");
        assert_eq!(default.last().copied(), std::thread::available_parallelism().ok().map(usize::from));
    }
}
