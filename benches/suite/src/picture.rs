//! The rows as one picture: for each the times of all contenders as multiples of the best peer's, on a logarithmic axis.
//! Rows on which upbeat is slower than the best peer are marked, so that nobody has to look for them.

use std::fmt::Write;

use crate::outcome::Outcome;
use crate::report::quantity;
use crate::rows::Kind;

const WIDTH: f64 = 900.0;
/// Left end of the plot, after the names of the rows.
const LEFT: f64 = 370.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 74.0;
const ROW: f64 = 20.0;
const BOTTOM: f64 = 52.0;
/// Ends of the axis; what is further out stands at the end.
const LEAST: f64 = 1.0 / 16.0;
const MOST: f64 = 16.0;

/// Names and colours of what is drawn.
const MARKS: [(&str, &str); 4] = [
    ("upbeat", "#1f6fb4"),
    ("rayon", "#8a8a8a"),
    ("chili", "#d1580f"),
    ("sequential, the better order", "#2e8b57"),
];

fn x(ratio: f64) -> f64 {
    let share = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + (WIDTH - LEFT - RIGHT) * share
}

/// An SVG document of the rows that have a ratio.
pub fn ratios(outcomes: &[Outcome]) -> String {
    let rows: Vec<_> = outcomes.iter().filter_map(|o| Some((o, o.ratio()?, o.peer()?))).collect();
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let bottom = height - BOTTOM + 6.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n<title>Times on two workers, as multiples of the best peer's</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let mut add = |element: String| {
        svg.push_str(&element);
        svg.push('\n');
    };
    let mut at = LEFT;
    for (name, colour) in MARKS {
        add(format!("<circle cx=\"{at}\" cy=\"20\" r=\"5\" fill=\"{colour}\"/>"));
        add(format!("<text x=\"{}\" y=\"24\">{name}</text>", at + 9.0));
        at += 30.0 + 6.6 * name.len() as f64;
    }
    add(format!("<text x=\"{LEFT}\" y=\"46\" fill=\"#666\">faster than the best peer</text>"));
    add(format!("<text x=\"{}\" y=\"46\" text-anchor=\"end\" fill=\"#666\">slower</text>", WIDTH - RIGHT));
    let mut tick = LEAST;
    while tick <= MOST {
        let (x, stroke) = (x(tick), if tick == 1.0 { "#666" } else { "#ddd" });
        add(format!("<path d=\"M{x:.1} {}V{bottom}\" stroke=\"{stroke}\"/>", TOP - 16.0));
        let label = if tick < 1.0 { format!("1/{}", 1.0 / tick) } else { format!("{tick}") };
        add(format!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", bottom + 16.0));
        tick *= 2.0;
    }
    let below = "time as a multiple of the best peer's in the same run, median";
    add(format!("<text x=\"{LEFT}\" y=\"{}\" fill=\"#666\">{below}</text>", bottom + 36.0));
    for (i, (outcome, ratio, peer)) in rows.into_iter().enumerate() {
        let y = TOP + ROW * i as f64;
        let weight = if ratio > 1.0 { " fill=\"#b00020\" font-weight=\"bold\"" } else { "" };
        let text = y + 4.0;
        add(format!(
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\"{weight}>{}</text>",
            LEFT - 12.0,
            escaped(&outcome.work)
        ));
        add(format!("<path d=\"M{:.1} {y}H{:.1}\" stroke=\"#1f6fb4\"/>", x(1.0), x(ratio)));
        for (name, colour) in MARKS.iter().rev() {
            if let Some(value) = value(outcome, name) {
                let (x, size) = (x(value / peer.median), if *name == "upbeat" { 5.5 } else { 3.5 });
                let said = format!("{name}: {}", quantity(value, outcome.unit));
                add(format!(
                    "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"{size}\" fill=\"{colour}\"><title>{said}</title></circle>"
                ));
            }
        }
        add(format!("<text x=\"{}\" y=\"{text}\"{weight}>{ratio:.2}</text>", WIDTH - RIGHT + 14.0));
    }
    let _ = writeln!(svg, "</svg>");
    svg
}

/// The value of a mark: of a runtime its best form's.
fn value(outcome: &Outcome, name: &str) -> Option<f64> {
    let is_mark = |kind, entry: &str| match kind {
        Kind::Sequential => name.starts_with("sequential"),
        Kind::Ours | Kind::Peer => entry.starts_with(name),
    };
    let marked = outcome.entries.iter().filter(|entry| is_mark(entry.kind, entry.name));
    marked.map(|entry| entry.median).min_by(f64::total_cmp)
}

/// A text as it may stand in an SVG document, in an attribute too.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Entry;
    use crate::rows::{Goal, Scale};

    fn outcome(ours: f64) -> Outcome {
        let entry = |name, kind, median| Entry { name, kind, median, best: median, tail: median };
        Outcome {
            group: "group",
            work: "a < b & c".into(),
            unit: "ns",
            entries: vec![
                entry("sequential", Kind::Sequential, 2000.0),
                entry("upbeat", Kind::Ours, ours),
                entry("rayon", Kind::Peer, 1000.0),
                entry("chili", Kind::Peer, 1e9),
            ],
            limit: None,
            goal: Goal::Peer(1.0),
            scale: Scale::Call,
            rounds: (1, 0),
        }
    }

    /// Where the mark of a name stands in each row.
    fn places(svg: &str, name: &str) -> Vec<f64> {
        let marked = svg.lines().filter(|line| line.contains(&format!("<title>{name}:")));
        let place = |line: &str| line.split('"').nth(1).unwrap().parse().unwrap();
        marked.map(place).collect()
    }

    #[test]
    fn marks_stand_where_their_ratios_are() {
        let svg = ratios(&[outcome(500.0), outcome(3000.0)]);
        let (ours, rayon) = (places(&svg, "upbeat"), places(&svg, "rayon"));
        assert!(ours[0] < rayon[0] && rayon[1] < ours[1], "left is faster");
        assert!((rayon[0] - x(1.0)).abs() < 0.1);
        let sequential = places(&svg, "sequential, the better order");
        assert!((sequential[0] - x(2.0)).abs() < 0.1);
        assert!(places(&svg, "chili").iter().all(|&place| place <= WIDTH - RIGHT), "on the page");
    }

    #[test]
    fn a_row_that_is_lost_is_marked_and_texts_are_escaped() {
        let marked = |ours| ratios(&[outcome(ours)]).matches("#b00020").count();
        assert_eq!((marked(900.0), marked(1100.0)), (0, 2));
        assert!(ratios(&[outcome(900.0)]).contains("a &lt; b &amp; c"));
        assert!(ratios(&[]).ends_with("</svg>\n"));
    }
}
