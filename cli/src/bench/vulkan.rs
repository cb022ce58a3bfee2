//! A Vulkan device: what a submission costs, and how near kernels come to the rate at which the device copies.

use std::time::Instant;

use upbeat_vulkan::{Buffer, Device, Options, VulkanError};

use super::record::Record;
use crate::args::VulkanArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Dependent dispatches, the work of must 3.
const DISPATCHES: usize = 100;
/// Numbers of a small dispatch.
const SMALL: usize = 64;
/// One submission for all of them is to take at most this part of one each.
const SUBMIT_GOAL: f64 = 0.2;
/// Element-wise kernels are to move at least this part of what a copy moves.
const STREAM_GOAL: f64 = 0.85;

/// Runs the bench.
pub(super) fn run(args: &VulkanArgs, output: &mut Output) -> Result<(), Failure> {
    let device = Device::open(&Options::from_env()).map_err(|error| Failure::Input(error.to_string()))?;
    let (rounds, bytes) =
        if args.small { (1, 1 << 16) } else { (args.rounds as usize, args.megabytes << 20) };
    let progress = Progress::new();
    let failed = |error: VulkanError| Failure::Work(error.to_string());
    let mut records = submissions(&device, rounds).map_err(failed)?;
    progress.at(0.5, "rates");
    records.extend(rates(&device, rounds, bytes).map_err(failed)?);
    drop(progress);
    if args.json {
        records.iter().for_each(|record| output.line(record.to_json()));
        return Ok(());
    }
    output.line(format_args!(
        "{}; medians of {rounds} interleaved rounds, answers checked",
        device.info().name
    ));
    output.line("| work | value | unit | beside | its value | ratio | goal | met |");
    output.line("|---|---:|---|---|---:|---:|---:|---|");
    for record in &records {
        let Record { work, unit, value, peer, peer_value, goal, met, .. } = record;
        let ratio = peer_value.map_or(String::new(), |peer| format!("{:.3}", value / peer));
        let number = |number: &Option<f64>| number.map_or(String::new(), |number| format!("{number:.2}"));
        let (peer, met) =
            (peer.as_deref().unwrap_or_default(), met.map_or("", |met| if met { "yes" } else { "no" }));
        output.line(format_args!(
            "| {work} | {value:.2} | {unit} | {peer} | {} | {ratio} | {} | {met} |",
            number(peer_value),
            number(goal)
        ));
    }
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Adds 1 to `x`, `DISPATCHES` times, in submissions of `together` dispatches; waits for each where `awaited`, else for the last.
fn add_ones(
    device: &Device,
    x: &Buffer<f32>,
    one: &Buffer<f32>,
    together: usize,
    awaited: bool,
) -> Result<f64, VulkanError> {
    let start = Instant::now();
    let mut last = None;
    for _ in 0..DISPATCHES / together {
        let mut commands = device.commands();
        for _ in 0..together {
            commands.add(x, one, x)?;
        }
        let done = commands.submit()?;
        if awaited {
            done.wait()?;
        } else {
            last = Some(done);
        }
    }
    last.map_or(Ok(()), |done| done.wait())?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

fn submissions(device: &Device, rounds: usize) -> Result<Vec<Record>, VulkanError> {
    let (x, one) = (device.buffer::<f32>(SMALL)?, device.upload(&[1.0; SMALL])?);
    let ways = [(DISPATCHES, false), (1, false), (1, true)];
    let mut times = [const { Vec::new() }; 3];
    // One round more, which compiles and warms up.
    for round in 0..=rounds {
        for (&(together, awaited), times) in ways.iter().zip(&mut times) {
            let time = add_ones(device, &x, &one, together, awaited)?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    let expected = ((rounds + 1) * ways.len() * DISPATCHES) as f32;
    assert!(x.to_vec()?.iter().all(|&x| x == expected), "every dispatch adds 1");
    let [one, each, awaited] = times.map(median);
    let record = |peer: &'static str, peer_value| Record {
        bench: "vulkan",
        work: format!("{DISPATCHES} dependent dispatches of {SMALL} numbers in one submission"),
        unit: "us",
        value: one,
        limit: None,
        peer: Some(peer.into()),
        peer_value: Some(peer_value),
        goal: Some(SUBMIT_GOAL),
        met: Some(one <= SUBMIT_GOAL * peer_value),
    };
    Ok(vec![
        record("a submission each, the last awaited", each),
        record("a submission each, each awaited", awaited),
    ])
}

fn rates(device: &Device, rounds: usize, bytes: usize) -> Result<Vec<Record>, VulkanError> {
    let len = bytes / size_of::<f32>();
    let a: Vec<f32> = (0..len).map(|i| (i % 1000) as f32).collect();
    let (a, b, out) = (device.upload(&a)?, device.upload(&a)?, device.buffer::<f32>(len)?);
    type Work<'a> = (&'static str, f64, &'a dyn Fn(&mut upbeat_vulkan::Commands) -> Result<(), VulkanError>);
    let work: [Work<'_>; 3] = [
        ("copy", 2.0, &|commands| commands.copy(&a, &out).map(|_| ())),
        ("scale", 2.0, &|commands| commands.scale(&a, 2.0, &out).map(|_| ())),
        ("add", 3.0, &|commands| commands.add(&a, &b, &out).map(|_| ())),
    ];
    let mut times = vec![Vec::new(); work.len()];
    for round in 0..=rounds {
        for ((_, _, record), times) in work.iter().zip(&mut times) {
            let mut commands = device.commands();
            record(&mut commands)?;
            let start = Instant::now();
            commands.submit()?.wait()?;
            if round > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    assert!(
        out.to_vec()?.iter().enumerate().all(|(i, &x)| x == 2.0 * (i % 1000) as f32),
        "the last one adds"
    );
    let rates: Vec<_> =
        work.iter().zip(times).map(|((_, streams, _), t)| streams * bytes as f64 / median(t) / 1e9).collect();
    let records = work.iter().zip(&rates).map(|(&(name, ..), &rate)| Record {
        bench: "vulkan",
        work: format!("{name}: {} MiB", bytes >> 20),
        unit: "GB/s",
        value: rate,
        limit: Some(rates[0]),
        peer: (name != "copy").then(|| "copy".into()),
        peer_value: (name != "copy").then_some(rates[0]),
        goal: (name != "copy").then_some(STREAM_GOAL),
        met: (name != "copy").then_some(rate >= STREAM_GOAL * rates[0]),
    });
    Ok(records.collect())
}
