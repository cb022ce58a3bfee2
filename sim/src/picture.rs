//! Efficiency over workers as an SVG picture. Its title and every line in it say that they are simulated.

use std::fmt::Write;

use upbeat_benches::picture::escaped;

use crate::scaling::Line;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 52.0;
const ROW: f64 = 20.0;
const COLOURS: [&str; 6] = ["#d1580f", "#1f6fb4", "#2e8b57", "#8e44ad", "#b8860b", "#b00020"];

/// The document: numbers of workers on a logarithmic axis, efficiency from 0 to 100 %.
pub fn efficiency(title: &str, lines: &[Line]) -> String {
    let most = lines.iter().flat_map(|line| &line.points).map(|point| point.workers).max().unwrap_or(1);
    let height = HEIGHT + ROW * lines.len() as f64 + 8.0;
    let octaves = (most.max(2) as f64).log2();
    let x = |workers: usize| LEFT + (WIDTH - LEFT - RIGHT) * (workers as f64).log2() / octaves;
    let y = |efficiency: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - efficiency);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n<title>Simulated efficiency</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-weight=\"bold\">Simulated efficiency: {}</text>\n",
        escaped(title)
    );
    let mut add = |element: String| {
        svg.push_str(&element);
        svg.push('\n');
    };
    let right = WIDTH - RIGHT;
    for percent in (0..=100).step_by(20) {
        let at = y(f64::from(percent) / 100.0);
        add(format!("<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>"));
        add(format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>",
            LEFT - 6.0,
            at + 4.0
        ));
    }
    let mut workers = 1;
    while workers <= most {
        let (at, below) = (x(workers), HEIGHT - BOTTOM + 18.0);
        add(format!("<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{workers}</text>"));
        workers *= 2;
    }
    add(format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">workers</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 14.0
    ));
    for (i, (line, colour)) in lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let mut path = String::new();
        for (at, point) in line.points.iter().enumerate() {
            let letter = if at == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(point.workers), y(point.efficiency));
        }
        add(format!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
        for point in &line.points {
            let (x, y, percent) = (x(point.workers), y(point.efficiency), 100.0 * point.efficiency);
            add(format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"><title>{} workers: {percent:.1} %, {}</title></circle>",
                point.workers, point.configuration
            ));
        }
        let at = HEIGHT + ROW * i as f64;
        add(format!("<path d=\"M{LEFT} {at}h24\" stroke=\"{colour}\" stroke-width=\"3\"/>"));
        add(format!("<text x=\"{}\" y=\"{}\">{}</text>", LEFT + 32.0, at + 4.0, escaped(&line.name)));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::Point;

    #[test]
    fn better_is_higher_and_everything_says_that_it_is_simulated() {
        let point =
            |workers, efficiency| Point { workers, efficiency, makespan: 1.0, configuration: "eager" };
        let line = |name: &str, low| Line {
            name: format!("{name} (simulated)"),
            points: vec![point(1, 1.0), point(16, 0.9), point(256, low)],
        };
        let svg = efficiency("a <tree>", &[line("today", 0.4), line("best", 0.8)]);
        assert!(svg.contains("Simulated efficiency: a &lt;tree&gt;") && !svg.contains("NaN"));
        assert_eq!(svg.matches("(simulated)</text>").count(), 2);
        let number = |line: &str, at: usize| -> f64 { line.split('"').nth(at).unwrap().parse().unwrap() };
        let circles: Vec<_> =
            svg.lines().filter(|l| l.starts_with("<circle")).map(|l| (number(l, 1), number(l, 3))).collect();
        assert_eq!(circles.len(), 6);
        assert!(circles[2].1 > circles[5].1 && circles[0].0 < circles[1].0 && circles[1].0 < circles[2].0);
        assert!(circles.iter().all(|&(x, y)| (LEFT..=WIDTH).contains(&x) && (TOP..=HEIGHT).contains(&y)));
    }
}
