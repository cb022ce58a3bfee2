//! The machine as a picture: boxes in boxes, packages around nodes around last-level caches around cores.

use std::fmt::Write;

use upbeat::topology::Machine;
use upbeat_benches::picture::escaped;

use super::tree::{cache_name, node_name, packages, summary, without_cpus, Core};

const GAP: f64 = 8.0;
/// Height of a box's title.
const TITLE: f64 = 18.0;
/// A CPU's cell.
const CELL: (f64, f64) = (34.0, 20.0);
/// Boxes side by side before the next row begins.
const CORES_A_ROW: usize = 8;
const CACHES_A_ROW: usize = 1;
const NODES_A_ROW: usize = 2;
const PACKAGES_A_ROW: usize = 2;

/// A box that knows its size and draws itself at a place.
struct Block {
    width: f64,
    height: f64,
    title: String,
    colour: &'static str,
    inside: Vec<(f64, f64, Block)>,
}

impl Block {
    fn cell(cpu: usize) -> Self {
        Self { width: CELL.0, height: CELL.1, title: cpu.to_string(), colour: "#fff", inside: Vec::new() }
    }

    /// `blocks` in rows of `a_row`, with a title above unless that is empty.
    fn around(title: String, colour: &'static str, blocks: Vec<Block>, a_row: usize) -> Self {
        let top = if title.is_empty() { GAP / 2.0 } else { TITLE + GAP / 2.0 };
        let gap = if title.is_empty() { GAP / 2.0 } else { GAP };
        // A letter of the title takes about 6.5 units.
        let (mut width, mut y) = (title.chars().count() as f64 * 6.5 + gap, top);
        let mut inside = Vec::new();
        let mut blocks = blocks.into_iter().peekable();
        while blocks.peek().is_some() {
            let (mut x, mut height) = (gap, 0f64);
            for block in blocks.by_ref().take(a_row) {
                height = height.max(block.height);
                let next = x + block.width + gap;
                inside.push((x, y, block));
                x = next;
            }
            width = width.max(x);
            y += height + gap;
        }
        Self { width, height: y, title, colour, inside }
    }

    fn draw(&self, (x, y): (f64, f64), svg: &mut String) {
        let Self { width, height, colour, .. } = self;
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"3\" fill=\"{colour}\" stroke=\"#888\"/>"
        );
        let title = escaped(&self.title);
        if self.inside.is_empty() && *width == CELL.0 {
            let (middle, base) = (x + width / 2.0, y + height / 2.0 + 4.0);
            let _ = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{base:.1}\" text-anchor=\"middle\">{title}</text>"
            );
        } else if !title.is_empty() {
            let (left, base) = (x + GAP / 2.0, y + TITLE - 4.0);
            let _ = writeln!(svg, "<text x=\"{left:.1}\" y=\"{base:.1}\">{title}</text>");
        }
        self.inside.iter().for_each(|(dx, dy, block)| block.draw((x + dx, y + dy), svg));
    }
}

fn core(cpus: &Core) -> Block {
    Block::around(String::new(), "#dce9f7", cpus.iter().copied().map(Block::cell).collect(), 1)
}

/// Draws `machine`, which is called `name`.
pub(super) fn draw(machine: &Machine, name: &str) -> String {
    let mut all = Vec::new();
    for (package, nodes) in packages(machine) {
        let nodes = nodes.into_iter().map(|(node, caches)| {
            let caches = caches.into_values().map(|cores| {
                let first = cores.values().flatten().next().copied().unwrap_or_default();
                let cores = cores.values().map(core).collect();
                Block::around(cache_name(machine, first), "#eef4e6", cores, CORES_A_ROW)
            });
            Block::around(node_name(machine, node), "#fdf6e3", caches.collect(), CACHES_A_ROW)
        });
        all.push(Block::around(format!("package {package}"), "#f4f4f4", nodes.collect(), NODES_A_ROW));
    }
    for node in without_cpus(machine) {
        let title = format!("{}, no CPUs", node_name(machine, node.id));
        all.push(Block::around(title, "#fdf6e3", Vec::new(), 1));
    }
    let title = format!("{name}: {}", summary(machine));
    let page = Block::around(title, "#fff", all, PACKAGES_A_ROW);
    let (width, height) = (page.width + 2.0 * GAP, page.height + 2.0 * GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" width=\"{width:.1}\" \
         height=\"{height:.1}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n<title>{}</title>\n",
        escaped(&page.title)
    );
    page.draw((GAP, GAP), &mut svg);
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_inside(block: &Block) {
        for (x, y, inner) in &block.inside {
            assert!(*x >= 0.0 && *y >= 0.0, "{}", inner.title);
            assert!(x + inner.width <= block.width && y + inner.height <= block.height, "{}", inner.title);
            assert_inside(inner);
        }
        for (i, (x, y, a)) in block.inside.iter().enumerate() {
            for (other_x, other_y, b) in &block.inside[i + 1..] {
                let apart = x + a.width <= *other_x
                    || other_x + b.width <= *x
                    || y + a.height <= *other_y
                    || other_y + b.height <= *y;
                assert!(apart, "{} and {} overlap", a.title, b.title);
            }
        }
    }

    #[test]
    fn boxes_are_inside_of_boxes_and_never_overlap() {
        let cells = |count| (0..count).map(Block::cell).collect::<Vec<_>>();
        for count in [0, 1, 7, 8, 9, 100] {
            let inner = || Block::around("a title".into(), "#fff", cells(count), 8);
            assert_inside(&Block::around("around".into(), "#fff", (0..5).map(|_| inner()).collect(), 2));
        }
    }

    #[test]
    fn each_cpu_is_drawn_once_and_names_are_escaped() {
        let machine = Machine::synthetic("package:2 node:2 core:9 pu:2").unwrap();
        let svg = draw(&machine, "<a> & \"b\"");
        for cpu in 0..72 {
            assert_eq!(svg.matches(&format!(">{cpu}</text>")).count(), 1, "CPU {cpu}");
        }
        assert!(svg.contains("<title>&lt;a&gt; &amp; &quot;b&quot;: 2 packages, 4 memory nodes"));
        assert_eq!((svg.matches("<rect").count(), svg.matches("<svg").count()), (1 + 2 + 4 + 4 + 36 + 72, 1));
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
