//! Graphs of tasks in text files: what was recorded from a real run, or written by hand.
//!
//! ```text
//! upbeat-graph 1
//! # node 0 works 1200 ns, then forks into 1 and 2, and goes on with 3 when both are done
//! fork 1200 1 2 3
//! work 5000
//! fork 300 4 5
//! work 800
//! work 2000
//! work 2100
//! ```
//!
//! A line a node, numbered from 0, the first one the root: `work NS`, or `fork NS LEFT RIGHT [THEN]`. Each node but the root is named once, by a
//! node before it; so the whole is a tree, and what a worker may begin is what `join` gives it. `#` begins a comment.

use std::fmt::{self, Write};

use crate::program::{Cost, Program, Start, Step, Task};

/// The first line.
const MAGIC: &str = "upbeat-graph 1";
/// Most nodes of a graph.
const MOST_NODES: usize = 1 << 28;

/// A node: what it works before it forks or ends, ns, and what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// ns.
    pub ns: u64,
    /// Left and right side of its fork.
    pub sides: Option<[u32; 2]>,
    /// What follows when both are done.
    pub then: Option<u32>,
}

/// A graph of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph(Vec<Node>);

/// Why a text is no graph: the number of the line, from 1, and what is wrong with it.
#[derive(Clone, PartialEq, Eq)]
pub struct GraphError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GraphError({self})")
    }
}

impl std::error::Error for GraphError {}

impl Graph {
    /// A graph of nodes that the recorder has made.
    pub(crate) fn of(nodes: Vec<Node>) -> Self {
        Self(nodes)
    }

    /// Its nodes, the root first.
    pub fn nodes(&self) -> &[Node] {
        &self.0
    }

    /// Reads a graph.
    ///
    /// # Errors
    /// Another first line, a line that is no node, a node that is named twice, never, by itself, by a later one, or that does not exist.
    pub fn parse(text: &str) -> Result<Self, GraphError> {
        let error = |line, why: String| GraphError { line, why };
        let mut lines =
            text.lines().enumerate().map(|(at, line)| (at + 1, line.split('#').next().unwrap_or("").trim()));
        match lines.next() {
            Some((_, MAGIC)) => {}
            _ => return Err(error(1, format!("a graph begins with the line \"{MAGIC}\""))),
        }
        let mut nodes = Vec::new();
        let mut places = Vec::new();
        for (at, line) in lines.filter(|(_, line)| !line.is_empty()) {
            if nodes.len() == MOST_NODES {
                return Err(error(at, format!("a graph has {MOST_NODES} nodes at most")));
            }
            nodes.push(node(line).ok_or_else(|| {
                error(at, format!("\"{line}\" is neither \"work NS\" nor \"fork NS LEFT RIGHT [THEN]\""))
            })?);
            places.push(at);
        }
        if nodes.is_empty() {
            return Err(error(1, "a graph has one node at least".into()));
        }
        let mut is_named = vec![false; nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            for child in node.sides.into_iter().flatten().chain(node.then) {
                let named = is_named.get_mut(child as usize);
                let Some(named) = named else {
                    return Err(error(
                        places[i],
                        format!("there is no node {child}: the last one is {}", nodes.len() - 1),
                    ));
                };
                if child as usize <= i {
                    return Err(error(
                        places[i],
                        format!("node {i} names node {child}, which is not after it"),
                    ));
                }
                if std::mem::replace(named, true) {
                    return Err(error(places[i], format!("node {child} is named twice")));
                }
            }
        }
        match is_named.iter().skip(1).position(|named| !named) {
            Some(orphan) => Err(error(places[orphan + 1], format!("no node leads to node {}", orphan + 1))),
            None => Ok(Self(nodes)),
        }
    }

    /// The text that [`parse`](Self::parse) reads.
    pub fn to_text(&self) -> String {
        let mut text = format!("{MAGIC}\n");
        for Node { ns, sides, then } in &self.0 {
            let _ = match (sides, then) {
                (None, _) => writeln!(text, "work {ns}"),
                (Some([left, right]), None) => writeln!(text, "fork {ns} {left} {right}"),
                (Some([left, right]), Some(then)) => writeln!(text, "fork {ns} {left} {right} {then}"),
            };
        }
        text
    }
}

fn node(line: &str) -> Option<Node> {
    let mut words = line.split_whitespace();
    let kind = words.next()?;
    let ns = words.next()?.parse().ok().filter(|&ns: &u64| ns <= 1 << 40)?;
    let rest: Vec<u32> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    match (kind, &*rest) {
        ("work", []) => Some(Node { ns, sides: None, then: None }),
        ("fork", &[left, right]) => Some(Node { ns, sides: Some([left, right]), then: None }),
        ("fork", &[left, right, then]) => Some(Node { ns, sides: Some([left, right]), then: Some(then) }),
        _ => None,
    }
}

impl Program for Graph {
    fn start(&self) -> Start {
        Start::Root(task(0))
    }

    fn step(&self, of: Task) -> Step {
        let node = &self.0[of.lo as usize];
        let step = match node.sides {
            Some([left, right]) => Step::fork(node.ns, task(left), task(right)),
            None => Step::leaf(Cost::compute(node.ns)),
        };
        Step { then: node.then.map(task), ..step }
    }
}

fn task(node: u32) -> Task {
    Task::new(1, 0, node, node, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::walk;

    const TEXT: &str =
        "upbeat-graph 1\nfork 1200 1 2 3\nwork 5000\nfork 300 4 5\nwork 800\nwork 2000\nwork 2100\n";

    #[test]
    fn a_text_is_read_written_and_walked() {
        let graph = Graph::parse(TEXT).unwrap();
        assert_eq!(graph.to_text(), TEXT);
        let total = walk(&graph);
        assert_eq!((total.leaves, total.forks, total.ns), (4, 2, 11_400));
        assert_eq!(total.span, 1200 + 5000 + 800);
        let commented = TEXT.replace("work 800", "\n  # the end\nwork 800 # ns");
        assert_eq!(Graph::parse(&commented).unwrap(), graph);
    }

    #[test]
    fn what_is_no_graph_is_refused_with_its_line() {
        for (text, words) in [
            ("", "line 1: a graph begins with the line"),
            ("upbeat-graph 2\nwork 1", "line 1: a graph begins with"),
            ("upbeat-graph 1\n", "one node at least"),
            ("upbeat-graph 1\nwork", "line 2: \"work\" is neither"),
            ("upbeat-graph 1\nwork -1", "is neither"),
            ("upbeat-graph 1\nwork 99999999999999999999", "is neither"),
            ("upbeat-graph 1\nwork 1 2", "is neither"),
            ("upbeat-graph 1\nfork 1 1", "is neither"),
            ("upbeat-graph 1\nfork 1 1 2 3 4", "is neither"),
            ("upbeat-graph 1\nfork 1 1 2\nwork 1", "line 2: there is no node 2"),
            ("upbeat-graph 1\nfork 1 0 1\nwork 1", "node 0 names node 0, which is not after it"),
            ("upbeat-graph 1\nfork 1 1 1\nwork 1", "node 1 is named twice"),
            ("upbeat-graph 1\nwork 1\n\nwork 1", "line 4: no node leads to node 1"),
        ] {
            let error = Graph::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
