//! A Vulkan device: what a submission costs, how near kernels come to the rate at which the device copies, and products, attention and
//! flows, with a program beside that does the same rows in turn.
//!
//! The rows' sizes follow the device: one that computes on the CPU gets small buffers, and rows of which a call would take too long
//! are left out. What a row is, is in `case.rs`; how it is timed, in `measure.rs`.

mod attention;
mod case;
mod flows;
mod measure;
mod products;
mod rates;
mod submissions;

use upbeat_kernel_benches::external::External;
use upbeat_vulkan::{Choice, Device, DeviceInfo, Kind, Options};

use self::case::{Case, Sizes};
use self::measure::{Bench, Limit};
use super::record::Record;
use crate::args::{DeviceArg, VulkanArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Longest call of a row that is not its family's first, s: shapes that a GPU needs to be busy would take a CPU minutes.
const LONGEST_CALL: f64 = 0.25;

/// Runs the bench.
pub(super) fn run(args: &VulkanArgs, output: &mut Output) -> Result<(), Failure> {
    let options = match &args.device {
        None | Some(DeviceArg::Best | DeviceArg::Vulkan) => Options::from_env(),
        Some(DeviceArg::Which(word)) => Options::from_env().device(Choice::parse(word)),
        Some(DeviceArg::Cpu) => {
            return Err(Failure::Input(
                "--device cpu: the CPU's own kernels are measured by `upbeat bench kernels`; vulkan:cpu is a Vulkan driver \
                 that computes on the CPU"
                    .to_owned(),
            ));
        }
    };
    let device = Device::open(&options).map_err(|error| Failure::Input(error.to_string()))?;
    let bytes = args.megabytes.map_or_else(|| default_bytes(device.info()), |megabytes| megabytes << 20);
    let sizes = Sizes { small: args.small, bytes: if args.small { 1 << 16 } else { bytes } };
    let wanted = |name: &str| args.rows.is_empty() || args.rows.iter().any(|words| name.contains(&**words));
    let (copies, others) = cases(&device, sizes);
    let works = submissions::works();
    if !works.iter().any(|work| wanted(work)) && !copies.iter().chain(&others).any(|case| wanted(&case.name))
    {
        let mut names: Vec<_> = works.iter().map(|work| &**work).collect();
        names.extend(copies.iter().chain(&others).map(Case::family));
        names.dedup();
        let (words, names) = (args.rows.join(","), names.join(", "));
        return Err(Failure::Input(format!("no row's name has {words} in it; there are {names}")));
    }
    let peer = args.peer.as_deref().map(External::start).transpose();
    let peer = peer.map_err(|error| Failure::Input(error.to_string()))?;
    let rounds = if args.small { 1 } else { args.rounds as usize };
    let mut bench = Bench::new(&device, rounds, args.small, peer);
    let progress = Progress::new();
    let mut table = Table { json: args.json, met: 0, goals: 0 };
    table.head(&device, rounds, &progress, output);
    for work in works.iter().filter(|work| wanted(work)) {
        progress.at(0.0, work);
        for record in submissions::run(&device, work, rounds)? {
            table.line(&record, &progress, output);
        }
    }
    let others: Vec<_> = others.into_iter().filter(|case| wanted(&case.name)).collect();
    let all = (copies.len() + others.len()) as f64;
    let mut limit = None;
    if copies.iter().any(|case| wanted(&case.name)) || others.iter().any(Case::is_beside_copies) {
        progress.at(0.0, "copies");
        let (found, records) = Limit::measure(&mut bench, &copies)?;
        for record in records.iter().filter(|record| wanted(&record.work)) {
            table.line(record, &progress, output);
        }
        limit = Some(found);
    }
    // How many of which family.
    let mut left_out: Vec<(&str, usize)> = Vec::new();
    // The family measured last and its rate, by which the time of its next row is foreseen.
    let mut before: Option<(&str, f64)> = None;
    for (i, case) in others.iter().enumerate() {
        let pace = before.filter(|(family, _)| *family == case.family());
        if pace.is_some_and(|(_, pace)| case.amount / pace > LONGEST_CALL) {
            match left_out.last_mut() {
                Some((family, count)) if *family == case.family() => *count += 1,
                _ => left_out.push((case.family(), 1)),
            }
            continue;
        }
        progress.at((copies.len() + i) as f64 / all, &case.name);
        let outcome = bench.measure(case, limit.as_ref())?;
        before = Some((case.family(), outcome.rate));
        for record in case.records(&outcome) {
            table.line(&record, &progress, output);
        }
    }
    drop(progress);
    if !args.json {
        output.line(format_args!("{} of {} goals met", table.met, table.goals));
        if !left_out.is_empty() {
            let families: Vec<_> =
                left_out.iter().map(|(family, count)| format!("{count} of {family}")).collect();
            let families = families.join(", ");
            output
                .line(format_args!("left out, as a call would take more than {LONGEST_CALL} s: {families}"));
        }
        if args.peer.is_none() {
            output.line("without a peer; --peer \"python3 benches/vulkan-peers.py\" measures PyTorch in the same rounds");
        }
    }
    Ok(())
}

/// The copies, and all other rows.
fn cases(device: &Device, sizes: Sizes) -> (Vec<Case>, Vec<Case>) {
    let mut others = rates::cases(sizes);
    others.extend(flows::cases(sizes));
    // Devices without it refuse buffers of f16.
    let half = device.limits().f16_storage;
    others.extend(products::cases(sizes, half));
    others.extend(attention::cases(sizes, half));
    (rates::copies(sizes, device.info().memory), others)
}

/// Far more than caches of GPUs hold, as far as the device's memory allows; little where a CPU does the work.
fn default_bytes(info: &DeviceInfo) -> usize {
    match info.kind {
        Kind::Cpu => 16 << 20,
        _ => 1 << (info.memory / 32).clamp(16 << 20, 256 << 20).ilog2(),
    }
}

/// Writes records as they come.
struct Table {
    json: bool,
    met: usize,
    goals: usize,
}

impl Table {
    fn head(&self, device: &Device, rounds: usize, progress: &Progress, output: &mut Output) {
        if self.json {
            return;
        }
        let DeviceInfo { name, driver, .. } = device.info();
        let matrices = device.limits().cooperative;
        let matrices = matrices
            .map_or("no cooperative matrices".to_owned(), |shape| format!("cooperative matrices of {shape}"));
        let shapes = match device.tuning().changed() {
            0 => "shapes of workgroups not tuned".to_owned(),
            changed => format!("{changed} shapes of workgroups tuned"),
        };
        let text = format!(
            "{name}, {driver}, {matrices}, {shapes}; medians of {rounds} interleaved rounds, answers checked. Times are the host's, from handing over submissions \
             with many calls to the end of the last.\n\
             | work | value | unit | beside | its value | ratio | goal | met |\n|---|---:|---|---|---:|---:|---:|---|\n"
        );
        progress.text(output, &text);
    }

    fn line(&mut self, record: &Record, progress: &Progress, output: &mut Output) {
        self.goals += usize::from(record.met.is_some());
        self.met += usize::from(record.met == Some(true));
        if self.json {
            return progress.text(output, &format!("{}\n", record.to_json()));
        }
        let Record { work, unit, value, peer, peer_value, goal, met, .. } = record;
        let ratio = peer_value.map_or(String::new(), |peer| format!("{:.3}", value / peer));
        let number = |number: &Option<f64>| number.map_or(String::new(), |number| format!("{number:.2}"));
        let (peer, met) =
            (peer.as_deref().unwrap_or_default(), met.map_or("", |met| if met { "yes" } else { "no" }));
        let (peer_value, goal) = (number(peer_value), number(goal));
        let line =
            format!("| {work} | {value:.2} | {unit} | {peer} | {peer_value} | {ratio} | {goal} | {met} |\n");
        progress.text(output, &line);
    }
}
