//! `upbeat info`: the machine as the runtime and the kernels see it, what they chose, and why.

use std::fmt::Write;

use serde_json::{json, Value};
use upbeat::batch::pressure::{Gauge, Reading};
use upbeat::topology::{machine, CacheKind, Machine};
use upbeat_kernels::simd::pairs::Unit;
use upbeat_kernels::tuning::{Source, Tuning};
use upbeat_kernels::Isa;
use upbeat_vulkan::tuning::Source as Shapes;
use upbeat_vulkan::{Device, Options};

use crate::args::InfoArgs;
use crate::failure::Failure;
use crate::machine::runtime;
use crate::output::Output;
use crate::topology;
use crate::tune::sizes;

/// Why the number of workers is what it is.
fn workers_reason() -> &'static str {
    if std::env::var_os("UPBEAT_WORKERS").is_some_and(|v| !v.is_empty()) {
        "UPBEAT_WORKERS asks for it"
    } else if std::env::var_os("UPBEAT_TOPOLOGY").is_some_and(|v| !v.is_empty()) {
        "the machine that UPBEAT_TOPOLOGY describes has as many CPUs"
    } else {
        "the affinity mask and the cgroup's CPU quota allow as many"
    }
}

/// Why the instruction set is what it is.
fn isa_reason(chosen: Isa) -> &'static str {
    if std::env::var_os("UPBEAT_ISA").is_some_and(|v| !v.is_empty()) {
        "UPBEAT_ISA asks for it"
    } else if chosen == Isa::Scalar {
        "this machine has neither AVX-512F nor AVX2 with FMA"
    } else {
        "it is the best one of this machine and its operating system"
    }
}

/// Where the kernels' block sizes come from.
fn tuning_reason(source: &Source) -> String {
    match source {
        Source::Caches if std::env::var_os("UPBEAT_TUNING").is_some_and(|v| !v.is_empty()) => {
            "the caches suggest them, and UPBEAT_TUNING asks for that".into()
        }
        Source::Caches => "the caches suggest them; upbeat tune refines them".into(),
        Source::Saved(path) => format!("saved in {}", path.display()),
        Source::Ignored(_, error) => format!("the caches suggest them, as {error}"),
    }
}

fn as_json(
    machine: &Machine,
    workers: usize,
    isa: Isa,
    unit: Option<Unit>,
    (tuning, source): &(Tuning, Source),
    memory: &Reading,
) -> Value {
    let cpus: Vec<Value> = machine
        .cpus
        .iter()
        .map(|c| json!({"cpu": c.id, "core": c.core, "thread": c.thread, "last_level_cache": c.cache, "node": c.node, "package": c.package}))
        .collect();
    let caches: Vec<Value> = machine
        .cpus
        .first()
        .into_iter()
        .flat_map(|cpu| machine.caches_of(cpu.id))
        .map(|cache| json!({"level": cache.level, "kind": format!("{:?}", cache.kind), "bytes": cache.bytes}))
        .collect();
    let nodes: Vec<Value> = machine
        .nodes
        .iter()
        .map(|n| json!({"node": n.id, "cpus": n.cpus, "bytes": n.bytes, "distances": n.distances}))
        .collect();
    let sets: Vec<Value> =
        Isa::ALL.into_iter().map(|i| json!({"name": i.name(), "supported": i.is_supported()})).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cpus": cpus,
        "cores": machine.cores(),
        "caches": caches,
        "packages": machine.packages(),
        "numa_nodes": machine.nodes.len(),
        "nodes": nodes,
        "notes": machine.notes,
        "instruction_sets": sets,
        "instruction_set": {"chosen": isa.name(), "reason": isa_reason(isa)},
        "bf16_products": unit.map_or("f32", Unit::name),
        "tuning": {
            "private_bytes": tuning.private_bytes,
            "shared_bytes": tuning.shared_bytes,
            "task_work": tuning.task_work,
            "tasks": tuning.tasks,
            "reason": tuning_reason(source),
        },
        "workers": {"chosen": workers, "reason": workers_reason()},
        "vulkan": vulkan_json(),
        "memory": {
            "level": memory.level().name(),
            "some_stalled_percent": memory.stalled.map(|(some, _)| some),
            "all_stalled_percent": memory.stalled.map(|(_, all)| all),
            "used_bytes": memory.memory.map(|(used, _)| used),
            "limit_bytes": memory.memory.map(|(_, limit)| limit),
        },
    })
}

/// The Vulkan devices, and which one `UPBEAT_VULKAN_DEVICE` chooses, or why none.
fn vulkan_json() -> Value {
    let devices = upbeat_vulkan::devices().unwrap_or_default();
    let devices: Vec<Value> = devices
        .iter()
        .map(|d| {
            let (major, minor, patch) = d.version;
            json!({"name": d.name, "kind": d.kind.name(), "driver": d.driver, "vulkan": format!("{major}.{minor}.{patch}"), "bytes": d.memory})
        })
        .collect();
    match Device::open(&Options::from_env()) {
        Ok(device) => {
            let matrices = device.limits().cooperative.map(|shape| [shape.m, shape.n, shape.k]);
            let budget = device.memory_budget();
            json!({
                "devices": devices,
                "chosen": device.info().name,
                "cooperative_matrices": matrices,
                "budget_bytes": budget.map(|of| of.bytes),
                "used_bytes": budget.map(|of| of.used),
                "tuning": {"changed": device.tuning().changed(), "reason": shapes_reason(&device)},
            })
        }
        Err(error) => json!({"devices": devices, "chosen": null, "reason": error.to_string()}),
    }
}

/// Where a device's shapes of workgroups come from.
fn shapes_reason(device: &Device) -> String {
    let own = "those that kernels take by themselves";
    match device.tuning_source() {
        Shapes::Saved(path) => format!("saved in {}", path.display()),
        Shapes::Ignored(_, error) => format!("{own}, as {error}"),
        _ if std::env::var_os("UPBEAT_VULKAN_TUNING").is_some_and(|v| !v.is_empty()) => {
            format!("{own}, and UPBEAT_VULKAN_TUNING asks for that")
        }
        _ => format!("{own}; upbeat tune --device vulkan refines them"),
    }
}

fn vulkan_text() -> Vec<String> {
    let devices = upbeat_vulkan::devices().unwrap_or_default();
    let chosen = Device::open(&Options::from_env());
    let mut lines: Vec<String> = devices
        .iter()
        .enumerate()
        .map(|(place, d)| {
            let (major, minor, _) = d.version;
            format!(
                "{place}: {}, {}, {}, Vulkan {major}.{minor}, {}",
                d.name,
                d.kind,
                size(d.memory),
                d.driver
            )
        })
        .collect();
    match chosen {
        Ok(device) => {
            let matrices = match device.limits().cooperative {
                Some(shape) => format!("cooperative matrices of f16, {shape}"),
                None => "no cooperative matrices of f16".to_owned(),
            };
            let budget = match device.memory_budget() {
                Some(of) => format!(", {} of its budget of {} used", size(of.used), size(of.bytes)),
                None => String::new(),
            };
            let copies = if device.limits().copy_queue { "a queue for copies" } else { "one queue" };
            lines.push(format!("used where asked for: {}, {matrices}, {copies}{budget}", device.info().name));
            let changed = device.tuning().changed();
            lines.push(format!("shapes of workgroups: {changed} changed, {}", shapes_reason(&device)));
        }
        Err(error) => lines.push(format!("not used: {error}")),
    }
    lines
}

/// A cache's or a memory's size for a person.
fn size(bytes: u64) -> String {
    match bytes {
        0x4000_0000.. => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
        0x10_0000.. => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.0} KiB", bytes as f64 / 1024.0),
    }
}

fn as_text(
    machine: &Machine,
    workers: usize,
    isa: Isa,
    unit: Option<Unit>,
    (tuning, source): &(Tuning, Source),
    memory: &Reading,
) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<18} {value}");
    };
    row("upbeat", env!("CARGO_PKG_VERSION").into());
    let cores = machine.cores();
    row("processors", format!("{} that this process may use, on {cores} cores", machine.cpus.len()));
    for cache in machine.cpus.first().into_iter().flat_map(|cpu| machine.caches_of(cpu.id)) {
        let kind = match cache.kind {
            CacheKind::Unified => "",
            CacheKind::Data => "d",
            CacheKind::Instruction => "i",
        };
        row(format!("cache level {} {kind}", cache.level).trim_end(), size(cache.bytes));
    }
    row("NUMA nodes", machine.nodes.len().to_string());
    let sets: Vec<String> = Isa::ALL
        .into_iter()
        .map(|i| format!("{} {}", i.name(), if i.is_supported() { "yes" } else { "no" }))
        .collect();
    row("instruction sets", sets.join(", "));
    row("kernels use", format!("{}: {}", isa.name(), isa_reason(isa)));
    row("bf16 products by", unit.map_or("f32, widened while it is packed", Unit::name).into());
    row("block sizes", format!("{}: {}", sizes(tuning), tuning_reason(source)));
    row("workers", format!("{workers}: {}", workers_reason()));
    row("memory", memory.to_string());
    for line in vulkan_text() {
        row("Vulkan", line);
    }
    text
}

/// Runs the command.
pub(crate) fn run(args: &InfoArgs, output: &mut Output) -> Result<(), Failure> {
    if args.topology {
        return topology::run(args, output);
    }
    let isa = Isa::from_env()?;
    let unit = Unit::from_env()?;
    let tuning = Tuning::from_env()?;
    let workers = runtime(None)?.num_workers();
    let machine = machine();
    let memory = Gauge::default().read();
    if args.json {
        output.line(as_json(&machine, workers, isa, unit, &tuning, &memory));
    } else {
        output.text(as_text(&machine, workers, isa, unit, &tuning, &memory));
    }
    Ok(())
}
