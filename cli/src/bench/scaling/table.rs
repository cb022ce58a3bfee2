//! Scaling as tables: Markdown for people, CSV for programs.

use std::fmt::Write;

use upbeat_benches::report::quantity;
use upbeat_benches::scaling::Curve;

/// A number, or a dash.
fn or_dash(value: Option<f64>, places: usize) -> String {
    value.map_or("–".into(), |value| format!("{value:.places$}"))
}

pub(super) fn markdown(curves: &[Curve]) -> String {
    let mut text = String::from(
        "| scaling | work | workers | time | speed-up | efficiency | serial fraction | GB/s |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for curve in curves {
        let (scaling, work) = (curve.scaling.name(), &curve.work);
        let sequential = quantity(curve.sequential, "ns");
        let _ = writeln!(text, "| {scaling} | {work} | sequential | {sequential} | 1.00 | | | |");
        for point in &curve.points {
            let _ = writeln!(
                text,
                "| {scaling} | {work} | {} | {} | {:.2} | {:.2} | {} | {} |",
                point.workers,
                quantity(point.time, "ns"),
                point.speedup,
                point.efficiency,
                or_dash(point.serial_fraction, 3),
                or_dash(point.bandwidth, 1),
            );
        }
    }
    text
}

pub(super) fn csv(curves: &[Curve]) -> String {
    let mut text = String::from(
        "scaling,work,workers,nanoseconds,sequential_nanoseconds,speedup,efficiency,serial_fraction,gigabytes_per_second\n",
    );
    for curve in curves {
        for point in &curve.points {
            let empty_or = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.6}"));
            let _ = writeln!(
                text,
                "{},\"{}\",{},{:.1},{:.1},{:.6},{:.6},{},{}",
                curve.scaling.name(),
                curve.work,
                point.workers,
                point.time,
                curve.sequential,
                point.speedup,
                point.efficiency,
                empty_or(point.serial_fraction),
                empty_or(point.bandwidth),
            );
        }
    }
    text
}
