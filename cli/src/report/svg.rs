//! The loss curve as a small SVG file: training loss (each step and smoothed) and held-out loss over steps.

use std::fmt::Write;

use upbeat_nn::train::History;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;
/// Points drawn at most; more would only overlap.
const POINTS: usize = 1200;

/// Where values are on the page.
struct Axes {
    steps: f64,
    low: f64,
    high: f64,
}

impl Axes {
    fn x(&self, step: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * step / self.steps
    }

    fn y(&self, loss: f64) -> f64 {
        TOP + (HEIGHT - TOP - BOTTOM) * (self.high - loss) / (self.high - self.low)
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (i, (step, loss)) in points.enumerate() {
            let letter = if i == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", self.x(step), self.y(loss));
        }
        path
    }
}

/// A step between ticks of 1, 2 or 5 times a power of ten that gives at most `most` of them.
pub(crate) fn tick(span: f64, most: f64) -> f64 {
    let rough = span / most;
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&t| t >= rough).unwrap_or(10.0 * power)
}

/// Means of consecutive losses, `(step in the middle, mean)`, at most [`POINTS`] of them.
fn thinned(losses: &[f64]) -> impl Iterator<Item = (f64, f64)> + '_ {
    let size = losses.len().div_ceil(POINTS).max(1);
    losses.chunks(size).enumerate().map(move |(i, chunk)| {
        let middle = (i * size) as f64 + (chunk.len() as f64 + 1.0) / 2.0;
        (middle, chunk.iter().sum::<f64>() / chunk.len() as f64)
    })
}

/// An exponential mean over about a fiftieth of the steps, corrected for its start.
fn smoothed(losses: &[f64]) -> Vec<f64> {
    let keep = 1.0 - 1.0 / (losses.len() as f64 / 50.0).max(2.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    losses
        .iter()
        .map(|loss| {
            sum = keep * sum + loss;
            weight = keep * weight + 1.0;
            sum / weight
        })
        .collect()
}

/// An SVG document with the losses in nats a character.
pub(crate) fn loss_curve(history: &History) -> String {
    let all = || history.losses.iter().chain(history.held_out.iter().map(|h| &h.1)).copied();
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let (least, most) = if least <= most { (least, most) } else { (0.0, 1.0) };
    let y_tick = tick((most - least).max(0.1), 7.0);
    let low = (least / y_tick).floor() * y_tick;
    let high = ((most / y_tick).ceil() * y_tick).max(low + y_tick);
    let steps =
        history.held_out.iter().map(|h| h.0).max().unwrap_or(0).max(history.losses.len() as u64).max(1);
    let axes = Axes { steps: steps as f64, low, high };
    let x_tick = tick(axes.steps, 8.0).max(1.0);
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#333\">\n<title>Loss by step</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let mut add = |element: String| {
        svg.push_str(&element);
        svg.push('\n');
    };
    for i in 0..=((high - low) / y_tick).round() as u32 {
        let loss = low + f64::from(i) * y_tick;
        let (y, places) = (axes.y(loss), (-y_tick.log10().floor()).max(0.0) as usize);
        add(format!("<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>"));
        let (x, y) = (LEFT - 8.0, y + 4.5);
        add(format!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{loss:.places$}</text>"));
    }
    for i in 0..=(axes.steps / x_tick) as u32 {
        let step = f64::from(i) * x_tick;
        let (x, end, label) = (axes.x(step), bottom + 5.0, bottom + 20.0);
        add(format!("<path d=\"M{x:.1} {bottom}V{end}\" stroke=\"#666\"/>"));
        add(format!("<text x=\"{x:.1}\" y=\"{label}\" text-anchor=\"middle\">{step}</text>"));
    }
    add(format!("<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#666\"/>"));
    let (middle, below) = ((LEFT + right) / 2.0, HEIGHT - 12.0);
    add(format!("<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">step</text>"));
    let across = (TOP + bottom) / 2.0;
    add(format!(
        "<text transform=\"translate(16 {across}) rotate(-90)\" text-anchor=\"middle\">loss (nats a character)</text>"
    ));

    let line = |path: String, colour: &str, width: f64| {
        format!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"/>")
    };
    add(line(axes.path(thinned(&history.losses)), "#b9d4ee", 1.0));
    let smooth = smoothed(&history.losses);
    add(line(axes.path(thinned(&smooth)), "#1f6fb4", 2.0));
    add(line(axes.path(history.held_out.iter().map(|&(step, loss)| (step as f64, loss))), "#d1580f", 2.0));
    for &(step, loss) in &history.held_out {
        let (x, y) = (axes.x(step as f64), axes.y(loss));
        add(format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#d1580f\"/>"));
    }
    let train = smooth.last().map_or(String::new(), |l| format!(" {l:.3}"));
    let held_out = history.held_out.last().map_or(String::new(), |h| format!(" {:.3}", h.1));
    for (x, colour, label) in
        [(LEFT, "#1f6fb4", format!("train{train}")), (LEFT + 140.0, "#d1580f", format!("held out{held_out}"))]
    {
        let end = x + 24.0;
        add(format!("<path d=\"M{x} 26H{end}\" stroke=\"{colour}\" stroke-width=\"3\"/>"));
        let start = x + 30.0;
        add(format!("<text x=\"{start}\" y=\"30.5\">{label}</text>"));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for span in [0.1, 0.7, 1.0, 3.3, 8.0, 120.0, 1500.0, 1e6] {
            let tick = tick(span, 8.0);
            assert!(span / tick <= 8.0 + 1e-9 && span / tick > 2.0, "{span}: {tick}");
        }
    }

    /// Every coordinate of every path and text, in pairs.
    fn points(svg: &str) -> Vec<(f64, f64)> {
        svg.split("d=\"M")
            .skip(1)
            .flat_map(|p| p.split('"').next().unwrap_or("").split('L'))
            .filter_map(|p| p.split_once(' '))
            .filter_map(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)))
            .collect()
    }

    #[test]
    fn curves_stay_on_the_page_and_fall_when_losses_do() {
        for steps in [0usize, 1, 2, 10, 5000] {
            let losses: Vec<f64> = (0..steps).map(|i| 1.0 + 4.0 / (1.0 + i as f64)).collect();
            let held_out = vec![(0, 5.0), (steps as u64, 1.2)];
            let svg = loss_curve(&History { losses, held_out });
            let points = points(&svg);
            assert!(
                points.iter().all(|p| (0.0..=WIDTH).contains(&p.0) && (0.0..=HEIGHT).contains(&p.1)),
                "{svg}"
            );
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
            let circles: Vec<f64> =
                svg.split("cy=\"").skip(1).map(|c| c.split('"').next().unwrap().parse().unwrap()).collect();
            assert!(circles[0] < circles[1], "a lower loss is lower on the page");
        }
        assert!(loss_curve(&History::default()).contains("</svg>"));
        assert!(loss_curve(&History { losses: vec![2.0; 9], held_out: vec![] }).contains("M64"));
    }

    #[test]
    fn smoothing_keeps_the_mean_of_a_constant_and_follows_a_change() {
        assert!(smoothed(&[3.0; 100]).iter().all(|x| (x - 3.0).abs() < 1e-12));
        let mut losses = vec![4.0; 200];
        losses.extend([1.0; 200]);
        assert!((smoothed(&losses)[399] - 1.0).abs() < 1e-6);
    }
}
