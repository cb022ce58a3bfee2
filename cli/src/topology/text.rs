//! The machine as text: a line for each last-level cache, with a bracket for each core.

use std::fmt::Write;

use upbeat::topology::Machine;

use super::tree::{cache_name, node_name, packages, summary, without_cpus};

/// Columns after which a row of cores goes on in the next line.
const COLUMNS: usize = 100;

/// Draws `machine`, which is called `name`.
pub(super) fn draw(machine: &Machine, name: &str) -> String {
    let mut text = format!("{name}\n{}\n[a b] is a core with CPUs a and b\n\n", summary(machine));
    for (package, nodes) in packages(machine) {
        let _ = writeln!(text, "package {package}");
        for (node, caches) in nodes {
            let _ = writeln!(text, "  {}", node_name(machine, node));
            for cores in caches.values() {
                let first = cores.values().flatten().next().copied().unwrap_or_default();
                let head = format!("    {:<14}", cache_name(machine, first));
                let mut line = head.clone();
                for cpus in cores.values() {
                    let cpus: Vec<_> = cpus.iter().map(usize::to_string).collect();
                    let core = format!(" [{}]", cpus.join(" "));
                    if line.len() + core.len() > COLUMNS {
                        let _ = writeln!(text, "{line}");
                        line = " ".repeat(head.len());
                    }
                    line += &core;
                }
                let _ = writeln!(text, "{line}");
            }
        }
    }
    for node in without_cpus(machine) {
        let _ = writeln!(text, "{}, no CPUs", node_name(machine, node.id));
    }
    if machine.nodes.len() > 1 {
        text += "\ndistances (10 is the node itself, 20 twice as long)\n";
        let _ = write!(text, "{:>8}", "from");
        machine.nodes.iter().for_each(|to| text += &format!("{:>5}", to.id));
        text.push('\n');
        for from in &machine.nodes {
            let _ = write!(text, "{:>8}", from.id);
            from.distances.iter().for_each(|distance| text += &format!("{distance:>5}"));
            text.push('\n');
        }
    }
    for note in &machine.notes {
        let _ = writeln!(text, "\nnote: {note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_is_in_its_core_and_every_line_is_short() {
        let machine = Machine::synthetic("package:2 node:2 cache:2 core:16 pu:2").unwrap();
        let text = draw(&machine, "a server");
        assert!(text.starts_with("a server\n2 packages, 4 memory nodes, 128 cores, 256 CPUs\n"), "{text}");
        for first in (0..256).step_by(2) {
            assert_eq!(text.matches(&format!("[{first} {}]", first + 1)).count(), 1, "{text}");
        }
        assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
        assert_eq!(text.matches("L3 32 MiB").count(), 8);
        assert!(text.contains("from    0    1    2    3\n       0   10   12   32   32\n"), "{text}");
    }

    #[test]
    fn one_node_has_no_distances() {
        let text = draw(&Machine::synthetic("core:2").unwrap(), "two cores");
        assert_eq!(
            text,
            "two cores\n1 package, 1 memory node, 2 cores, 2 CPUs\n[a b] is a core with CPUs a and b\n\n\
             package 0\n  node 0\n    L3 32 MiB      [0] [1]\n"
        );
    }
}
