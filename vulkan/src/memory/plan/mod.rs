//! Which buffers to move where, so that parts of the device's memory become empty and what is free lies together. Nothing of Vulkan is in it, and the
//! allocator is behind [`Lender`]: where it puts what is its own affair, a plan takes what suits and gives the rest back. The copies are made
//! by `moving.rs`.
//!
//! Memories are ranked, the fullest first, and a place is a rank and an offset. Every move goes to an earlier place. So repeated plans come to an
//! end: moves between memories make the sum of `used² / size` over them larger, moves within one do not change it and make its offsets smaller.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// What lies at `at` of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Piece {
    pub(super) memory: u64,
    pub(super) at: u64,
}

/// What is in a memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    pub(super) at: u64,
    pub(super) size: u64,
    pub(super) align: u64,
    pub(super) is_movable: bool,
}

/// A memory, with what is in it in the order of offsets.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) memory: u64,
    pub(super) size: u64,
    pub(super) lent: Vec<Lent>,
}

impl Layout {
    fn used(&self) -> u64 {
        self.lent.iter().map(|lent| lent.size).sum()
    }
}

/// An allocator, of one kind of memory.
pub(super) trait Lender {
    /// Bytes at a multiple of `align`, in any memory, a new one too. `None` where there are none.
    fn ask(&mut self, size: u64, align: u64) -> Option<Piece>;
    /// Takes back what it lent.
    fn give(&mut self, piece: Piece);
}

/// One move. Its goal is asked for, and what lies at `from` stays lent until it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) from: Piece,
    pub(super) to: Piece,
    size: u64,
}

/// The rank of a memory, then an offset.
type Place = (usize, u64);

/// What is free before and during a plan, by its place.
#[derive(Default)]
struct Holes(BTreeMap<Place, u64>);

impl Holes {
    fn of(layouts: &[&Layout]) -> Self {
        let mut holes = Self::default();
        for (rank, layout) in layouts.iter().enumerate() {
            let mut end = 0;
            for lent in &layout.lent {
                holes.add(rank, end..lent.at);
                end = lent.at + lent.size;
            }
            holes.add(rank, end..layout.size);
        }
        holes
    }

    fn add(&mut self, rank: usize, hole: Range<u64>) {
        if !hole.is_empty() {
            self.0.insert((rank, hole.start), hole.end);
        }
    }

    /// Whether there is one for `size` bytes before `place`.
    fn fits_before(&self, place: Place, size: u64, align: u64) -> bool {
        self.0.range(..place).any(|(&(_, at), &end)| at.next_multiple_of(align) + size <= end)
    }

    /// These bytes are lent now. Gives back what is left of the hole after them.
    fn take(&mut self, (rank, at): Place, size: u64) -> Option<Range<u64>> {
        let (&(_, start), &end) = self.0.range((rank, 0)..=(rank, at)).next_back()?;
        if at + size > end {
            return None;
        }
        self.0.remove(&(rank, start));
        self.add(rank, start..at);
        self.add(rank, at + size..end);
        Some(at + size..end)
    }
}

/// What of `layouts` to move. They are all memories there are of the lender's.
///
/// From the last buffer to the first, each gets bytes in a fuller memory, if the lender has some; then those that stay get bytes before their own.
pub(super) fn plan(layouts: &[Layout], lender: &mut impl Lender) -> Vec<Move> {
    let mut ranked: Vec<_> = layouts.iter().collect();
    ranked.sort_by(|a, b| {
        let of = |x: &Layout, y: &Layout| u128::from(x.used()) * u128::from(y.size);
        of(b, a).cmp(&of(a, b)).then(a.memory.cmp(&b.memory))
    });
    let mut movable = Vec::new();
    for (rank, layout) in ranked.iter().enumerate() {
        let lent = layout.lent.iter().filter(|lent| lent.is_movable);
        movable.extend(lent.map(|&lent| Stays { rank, memory: layout.memory, lent }));
    }
    movable.reverse();
    let mut planning = Planning {
        lender,
        ranks: ranked.iter().enumerate().map(|(rank, layout)| (layout.memory, rank)).collect(),
        smallest: movable.iter().map(|stays| stays.lent.size).min().unwrap_or(0),
        moves: Vec::new(),
        is_over: false,
    };
    planning.pass(&mut movable, Holes::of(&ranked), |rank, _| (rank, 0));
    let mut holes = Holes::of(&ranked);
    for made in &planning.moves {
        holes.take((planning.ranks[&made.to.memory], made.to.at), made.size);
    }
    planning.pass(&mut movable, holes, |rank, at| (rank, at));
    planning.moves
}

/// What has not moved.
struct Stays {
    rank: usize,
    memory: u64,
    lent: Lent,
}

struct Planning<'a, L> {
    lender: &'a mut L,
    ranks: HashMap<u64, usize>,
    smallest: u64,
    moves: Vec<Move>,
    /// There is nothing more to be had.
    is_over: bool,
}

impl<L: Lender> Planning<'_, L> {
    fn ask(&mut self, size: u64, align: u64) -> Option<(Piece, Place)> {
        let asked = self.lender.ask(size, align).map(|piece| (piece, self.ranks.get(&piece.memory)));
        if let Some((piece, Some(&rank))) = asked {
            return Some((piece, (rank, piece.at)));
        }
        // New memory is what nobody wants.
        asked.into_iter().for_each(|(piece, _)| self.lender.give(piece));
        self.is_over = true;
        None
    }

    /// Gives each of `movable` bytes before its `limit`, which falls from one to the next. What the lender offers after that, nobody who follows
    /// wants either: it stays lent until the end, so that the lender has to offer something else. Where it would take new memory, it ends.
    fn pass(&mut self, movable: &mut Vec<Stays>, mut holes: Holes, limit: impl Fn(usize, u64) -> Place) {
        // Each answer is a move, or uses up a hole or its beginning, were the lender not of another mind about holes.
        let most = 4 * (holes.0.len() + movable.len());
        let (mut plugs, mut asked) = (Vec::new(), 0);
        movable.retain(|stays| {
            let Stays { rank, lent: Lent { at, size, align, .. }, .. } = *stays;
            let limit = limit(rank, at);
            while !self.is_over && asked < most && holes.fits_before(limit, size, align) {
                asked += 1;
                let Some((to, there)) = self.ask(size, align) else { break };
                let rest = holes.take(there, size);
                if there < limit {
                    let from = Piece { memory: stays.memory, at };
                    self.moves.push(Move { from, to, size });
                    return false;
                }
                plugs.push(to);
                // The rest of that hole at once, not a buffer's size at a time.
                let rest = rest.map(|rest| rest.start.next_multiple_of(align)..rest.end);
                let Some(rest) = rest.filter(|rest| rest.end >= rest.start + self.smallest) else { continue };
                let size = rest.end - rest.start;
                asked += 1;
                match self.ask(size, align) {
                    Some((plug, there)) if there >= limit => {
                        holes.take(there, size);
                        plugs.push(plug);
                    }
                    Some((plug, _)) => self.lender.give(plug),
                    None => break,
                }
            }
            true
        });
        plugs.into_iter().for_each(|plug| self.lender.give(plug));
    }
}

#[cfg(test)]
mod tests;
