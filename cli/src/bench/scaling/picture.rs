//! Scaling as a picture of three panels over the number of workers: speed-up, efficiency, and the serial fraction that
//! Karp and Flatt estimate.

use std::fmt::Write;

use upbeat_benches::scaling::{Curve, Point};

use crate::report::svg::tick;

const PANEL: f64 = 320.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
const LEGEND_ROW: f64 = 18.0;
const COLOURS: [&str; 6] = ["#1f6fb4", "#d1580f", "#2e8b57", "#8e44ad", "#b8860b", "#b00020"];

/// What a panel shows of a point.
type Value = fn(&Point) -> Option<f64>;

/// One panel: its title, its value, and the value that perfect scaling has.
struct Panel {
    title: &'static str,
    value: Value,
    ideal: fn(f64) -> f64,
}

const PANELS: [Panel; 3] = [
    Panel { title: "speed-up over sequential code", value: |p| Some(p.speedup), ideal: |workers| workers },
    Panel { title: "efficiency", value: |p| Some(p.efficiency), ideal: |_| 1.0 },
    Panel { title: "serial fraction (Karp–Flatt)", value: |p| p.serial_fraction, ideal: |_| 0.0 },
];

/// Where values are in a panel.
struct Axes {
    left: f64,
    workers: (f64, f64),
    low: f64,
    high: f64,
}

impl Axes {
    fn x(&self, workers: f64) -> f64 {
        let (least, most) = self.workers;
        self.left + LEFT + (PANEL - LEFT - RIGHT) * (workers - least) / (most - least)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (HEIGHT - TOP - BOTTOM) * (self.high - value) / (self.high - self.low)
    }
}

/// The document.
pub(super) fn svg(curves: &[Curve]) -> String {
    let (width, height) = (3.0 * PANEL, HEIGHT + LEGEND_ROW * curves.len() as f64 + 8.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n<title>Scaling over workers</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let counts: Vec<usize> = curves.iter().flat_map(|c| c.points.iter().map(|p| p.workers)).collect();
    let least = counts.iter().copied().min().unwrap_or(1) as f64;
    let most = counts.iter().copied().max().unwrap_or(1) as f64;
    // One count alone gets room on both sides.
    let workers = if least < most { (least, most) } else { (least - 0.5, least + 0.5) };
    for (i, panel) in PANELS.iter().enumerate() {
        let values = curves.iter().flat_map(|c| &c.points).filter_map(panel.value);
        let values: Vec<f64> = values.chain([0.0, (panel.ideal)(most)]).collect();
        let (low, high) = values.iter().fold((0.0f64, 0.1f64), |(low, high), &v| (low.min(v), high.max(v)));
        let step = tick(high - low, 6.0);
        let axes = Axes {
            left: PANEL * i as f64,
            workers,
            low: (low / step).floor() * step,
            high: (high / step).ceil() * step,
        };
        svg.push_str(&draw(panel, &axes, step, curves));
    }
    for (i, curve) in curves.iter().enumerate() {
        let (y, colour) = (HEIGHT + LEGEND_ROW * i as f64 + 4.0, COLOURS[i % COLOURS.len()]);
        let end = LEFT + 24.0;
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y}H{end}\" stroke=\"{colour}\" stroke-width=\"3\"/>");
        let (x, y, name, work) = (end + 8.0, y + 4.0, curve.scaling.name(), &curve.work);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{name}: {work}</text>");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(panel: &Panel, axes: &Axes, step: f64, curves: &[Curve]) -> String {
    let mut svg = String::new();
    let mut add = |element: String| {
        svg.push_str(&element);
        svg.push('\n');
    };
    let (left, right, bottom) = (axes.left + LEFT, axes.left + PANEL - RIGHT, HEIGHT - BOTTOM);
    add(format!("<text x=\"{left}\" y=\"24\" font-weight=\"bold\">{}</text>", panel.title));
    let places = (-step.log10().floor()).max(0.0) as usize;
    for i in 0..=((axes.high - axes.low) / step).round() as u32 {
        let value = axes.low + f64::from(i) * step;
        let y = axes.y(value);
        add(format!("<path d=\"M{left} {y:.1}H{right}\" stroke=\"#ddd\"/>"));
        let (x, y) = (left - 6.0, y + 4.0);
        add(format!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{value:.places$}</text>"));
    }
    let counts: std::collections::BTreeSet<usize> =
        curves.iter().flat_map(|c| c.points.iter().map(|p| p.workers)).collect();
    for &count in &counts {
        let (x, y) = (axes.x(count as f64), bottom + 16.0);
        add(format!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{count}</text>"));
    }
    let (middle, below) = ((left + right) / 2.0, bottom + 34.0);
    add(format!("<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">workers</text>"));
    let line = |points: Vec<(f64, f64)>| {
        let mut path = String::new();
        for (i, (workers, value)) in points.into_iter().enumerate() {
            let letter = if i == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", axes.x(workers), axes.y(value));
        }
        path
    };
    let ideal = counts.iter().map(|&count| (count as f64, (panel.ideal)(count as f64))).collect();
    add(format!("<path d=\"{}\" fill=\"none\" stroke=\"#999\" stroke-dasharray=\"4 4\"/>", line(ideal)));
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let points = curve.points.iter().filter_map(|p| Some((p.workers as f64, (panel.value)(p)?)));
        let points: Vec<(f64, f64)> = points.collect();
        for &(workers, value) in &points {
            let (x, y) = (axes.x(workers), axes.y(value));
            add(format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"));
        }
        add(format!("<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", line(points)));
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use upbeat_benches::scaling::{karp_flatt, Scaling};

    fn curve(speedups: &[(usize, f64)]) -> Curve {
        let point = |&(workers, speedup): &(usize, f64)| Point {
            workers,
            time: 1e6 / speedup,
            speedup,
            efficiency: speedup / workers as f64,
            serial_fraction: karp_flatt(speedup, workers),
            bandwidth: None,
        };
        let points = speedups.iter().map(point).collect();
        Curve { scaling: Scaling::Strong, work: "work".into(), sequential: 1e6, points }
    }

    /// The circles' coordinates.
    fn circles(svg: &str) -> Vec<(f64, f64)> {
        let number = |line: &str, at: usize| line.split('"').nth(at).unwrap().parse().unwrap();
        svg.lines().filter(|l| l.starts_with("<circle")).map(|l| (number(l, 1), number(l, 3))).collect()
    }

    #[test]
    fn faster_is_higher_and_everything_is_on_the_page() {
        let svg = svg(&[curve(&[(1, 0.98), (2, 1.9), (4, 3.0)]), curve(&[(1, 1.02), (2, 2.3), (4, 0.4)])]);
        let circles = circles(&svg);
        // Three points in each of the first two panels, two in the last; for two curves.
        assert_eq!(circles.len(), 2 * (3 + 3 + 2));
        assert!(circles[2].1 < circles[1].1 && circles[1].1 < circles[0].1, "{circles:?}");
        let inside = |&(x, y): &(f64, f64)| (0.0..=3.0 * PANEL).contains(&x) && (TOP..=HEIGHT).contains(&y);
        assert!(circles.iter().all(inside), "{circles:?}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn one_count_alone_is_drawn() {
        let svg = svg(&[curve(&[(2, 1.5)])]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(circles(&svg).len(), 3);
    }
}
