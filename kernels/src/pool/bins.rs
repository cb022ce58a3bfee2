//! Free blocks by size: lists, and bits that say which lists are not empty.
//!
//! Two-level segregated fit (TLSF; Masmano, Ripoll, Crespo and Real, 2004): 32 bins a doubling, found by two bit
//! searches, so a search takes the same time whatever is free. Sizes within a bin differ by at most 1/32.

use super::block::{Block, HEADER};

/// Bins a doubling; the first row holds sizes below 32 units exactly.
const COLUMNS: usize = 32;
/// Rows for blocks below 2⁴⁷ bytes, more than a process can address.
const ROWS: usize = 37;
/// Most bytes a block may have.
pub(super) const LARGEST: usize = (1 << 47) - HEADER;
/// Blocks of the request's own bin that are looked at: one may just fit, such as the one freed last.
const LOOKED_AT: usize = 16;

/// All free blocks.
pub(super) struct Bins {
    heads: [[Option<Block>; COLUMNS]; ROWS],
    columns: [u32; ROWS],
    rows: u64,
}

/// Row and column of blocks of `total` bytes.
fn place(total: usize) -> (usize, usize) {
    let units = total / HEADER;
    if units < COLUMNS {
        return (0, units);
    }
    let row = (units.ilog2() - COLUMNS.ilog2()) as usize;
    (row + 1, (units >> row) % COLUMNS)
}

impl Bins {
    pub(super) const fn new() -> Self {
        Self { heads: [[None; COLUMNS]; ROWS], columns: [0; ROWS], rows: 0 }
    }

    /// Files a block.
    pub(super) fn insert(&mut self, block: Block) {
        let (row, column) = place(block.get().total);
        let head = self.heads[row][column].replace(block);
        block.change(|header| {
            header.free = true;
            header.links = [None, head];
        });
        if let Some(head) = head {
            head.change(|header| header.links[0] = Some(block));
        }
        self.columns[row] |= 1 << column;
        self.rows |= 1 << row;
    }

    /// Takes a filed block out.
    pub(super) fn remove(&mut self, block: Block) {
        let header = block.get();
        let [before, after] = header.links;
        block.change(|header| header.free = false);
        if let Some(after) = after {
            after.change(|header| header.links[0] = before);
        }
        if let Some(before) = before {
            before.change(|header| header.links[1] = after);
            return;
        }
        let (row, column) = place(header.total);
        self.heads[row][column] = after;
        if after.is_none() {
            self.columns[row] &= !(1 << column);
            if self.columns[row] == 0 {
                self.rows &= !(1 << row);
            }
        }
    }

    /// A filed block of at least `total` bytes, of the smallest size but for what a bin's sizes differ by.
    pub(super) fn find(&self, total: usize) -> Option<Block> {
        let (row, column) = place(total);
        let fitting = self.list(row, column).take(LOOKED_AT).filter(|block| block.get().total >= total);
        if let Some(block) = fitting.min_by_key(|block| block.get().total) {
            return Some(block);
        }
        let right = self.columns[row] & (!0u32).checked_shl(column as u32 + 1).unwrap_or(0);
        if right != 0 {
            return self.heads[row][right.trailing_zeros() as usize];
        }
        let below = self.rows & (!0u64 << (row + 1));
        let row = (below != 0).then(|| below.trailing_zeros() as usize)?;
        self.heads[row][self.columns[row].trailing_zeros() as usize]
    }

    fn list(&self, row: usize, column: usize) -> impl Iterator<Item = Block> {
        std::iter::successors(self.heads[row][column], |block| block.get().links[1])
    }

    /// Calls `visit` with every filed block, those of large bins first, while it returns `true`. It may take that one
    /// block out.
    pub(super) fn visit(&mut self, mut visit: impl FnMut(&mut Self, Block) -> bool) {
        for row in (0..ROWS).rev() {
            for column in (0..COLUMNS).rev() {
                let mut at = self.heads[row][column];
                while let Some(block) = at {
                    at = block.get().links[1];
                    if !visit(self, block) {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every size has a bin, bins are in the order of sizes, and none is wider than 1/32 of its sizes.
    #[test]
    fn bins_are_in_order_and_narrow() {
        let (mut last, mut smallest) = ((0, 0), 0);
        for units in (1..20_000usize).chain((15..41).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 1])) {
            let at = place(units * HEADER);
            assert!(at.0 < ROWS && at.1 < COLUMNS && at >= last, "{units}: {at:?} after {last:?}");
            if at != last {
                (last, smallest) = (at, units);
            }
            assert!((units - smallest) * COLUMNS <= smallest, "{units} shares a bin with {smallest}");
        }
        assert!(place(LARGEST).0 < ROWS);
    }
}
