//! A binary tree whose nodes lie in the heap in a chosen order.
//!
//! Order matters as much as the runtime does: a walk that runs linearly through memory is up to three times as fast as the
//! same walk in the other order, so a comparison with the wrong sequential order proves nothing.

use super::mix;

/// In which order the nodes lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As a walk that goes left first meets them.
    LeftFirst,
    /// As a walk that goes right first meets them.
    RightFirst,
    /// At random, the same for the same number of nodes.
    Shuffled,
}

/// A node, and the tree below it.
#[derive(Debug)]
pub struct Node {
    pub(super) value: u64,
    pub(super) left: Option<Box<Node>>,
    pub(super) right: Option<Box<Node>>,
}

impl Node {
    /// A balanced tree of `nodes` nodes, at least one; each has the value 1.
    pub fn balanced(nodes: usize, layout: Layout) -> Box<Self> {
        let nodes = nodes.max(1);
        let mut boxes: Vec<_> =
            (0..nodes).map(|_| Box::new(Node { value: 1, left: None, right: None })).collect();
        // The allocator gives ascending addresses or nearly so; sorting makes sure of it.
        boxes.sort_by_key(|node| std::ptr::from_ref::<Node>(node));
        if layout == Layout::Shuffled {
            for i in (1..nodes).rev() {
                boxes.swap(i, (mix(i as u64) % (i as u64 + 1)) as usize);
            }
        }
        // Taken from the end, so the first in memory comes first.
        boxes.reverse();
        link(&mut boxes, nodes, layout).expect("a tree has a root")
    }
}

/// Makes a tree of the last `nodes` boxes.
#[expect(clippy::vec_box, reason = "where each node lies is the point")]
fn link(boxes: &mut Vec<Box<Node>>, nodes: usize, layout: Layout) -> Option<Box<Node>> {
    if nodes == 0 {
        return None;
    }
    let mut root = boxes.pop()?;
    let below = nodes - 1;
    let (left, right) = (below - below / 2, below / 2);
    if layout == Layout::RightFirst {
        root.right = link(boxes, right, layout);
        root.left = link(boxes, left, layout);
    } else {
        root.left = link(boxes, left, layout);
        root.right = link(boxes, right, layout);
    }
    Some(root)
}
