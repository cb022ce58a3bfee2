//! Where barriers are needed: what was read and written since the last one.
//!
//! Two pieces of work may run at once unless one writes bytes that the other reads or writes. A barrier orders everything before it
//! before everything after it, so it empties the list. So does one for its own sake where the list grew long: work that never meets, on ever new
//! buffers, would let it grow for ever.

use std::collections::HashMap;
use std::ops::Range;

use super::{meet, Access};

/// Ranges that are kept at most. A barrier costs some microseconds of a device; so many pieces of work take more.
const MOST: usize = 1024;

/// What was read and written since the last barrier, by block.
#[derive(Debug, Default)]
pub(crate) struct Hazards {
    touched: HashMap<u64, Vec<(Range<u64>, Access)>>,
    /// Ranges in it.
    kept: usize,
    /// What happened is not known: the next piece of work needs a barrier.
    unknown: bool,
}

impl Hazards {
    /// Notes that a piece of work which touches these ranges of blocks comes next. Whether it needs a barrier before it, which then
    /// empties the list.
    pub(crate) fn next(&mut self, ranges: &[(u64, Range<u64>, Access)]) -> bool {
        let barrier = self.unknown
            || self.kept + ranges.len() > MOST
            || ranges.iter().any(|(id, range, access)| self.conflicts(*id, range, *access));
        if barrier {
            self.touched.clear();
            self.kept = 0;
            self.unknown = false;
        }
        for (id, range, access) in ranges {
            self.note(*id, range, *access);
        }
        barrier
    }

    fn conflicts(&self, id: u64, range: &Range<u64>, access: Access) -> bool {
        self.touched.get(&id).is_some_and(|touched| {
            touched
                .iter()
                .any(|(other, how)| (access == Access::Write || *how == Access::Write) && meet(range, other))
        })
    }

    fn note(&mut self, id: u64, range: &Range<u64>, access: Access) {
        let touched = self.touched.entry(id).or_default();
        // The same operand again, as weights are: one entry says as much.
        if !touched.iter().any(|(other, how)| other == range && *how == access) {
            touched.push((range.clone(), access));
            self.kept += 1;
        }
    }

    /// The work noted last may not run: barriers in it may never come.
    pub(crate) fn forget(&mut self) {
        self.touched.clear();
        self.kept = 0;
        self.unknown = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of work as `(block, range, access)` and the places of the barriers among them.
    fn barriers(work: &[&[(u64, Range<u64>, Access)]]) -> Vec<usize> {
        let mut hazards = Hazards::default();
        work.iter().enumerate().filter(|(_, ranges)| hazards.next(ranges)).map(|(at, _)| at).collect()
    }

    use Access::{Read, Write};

    #[test]
    fn reading_what_was_written_needs_one() {
        assert_eq!(barriers(&[&[(0, 0..8, Write)], &[(0, 0..8, Read)]]), [1]);
        assert_eq!(barriers(&[&[(0, 0..8, Write)], &[(0, 7..9, Read)]]), [1]);
    }

    #[test]
    fn writing_what_was_read_or_written_needs_one() {
        assert_eq!(barriers(&[&[(0, 0..8, Read)], &[(0, 0..8, Write)]]), [1]);
        assert_eq!(barriers(&[&[(0, 0..8, Write)], &[(0, 4..5, Write)]]), [1]);
    }

    #[test]
    fn what_does_not_meet_runs_at_once() {
        assert!(barriers(&[&[(0, 0..8, Read)], &[(0, 0..8, Read)]]).is_empty(), "two readers");
        assert!(barriers(&[&[(0, 0..8, Write)], &[(1, 0..8, Read)]]).is_empty(), "two blocks");
        assert!(barriers(&[&[(0, 0..8, Write)], &[(0, 8..16, Read)]]).is_empty(), "two parts");
    }

    #[test]
    fn one_barrier_orders_all_before_it() {
        let (a, b) = ((0, 0..8), (1, 0..8));
        let work: [&[_]; 4] = [
            &[(a.0, a.1.clone(), Write)],
            &[(b.0, b.1.clone(), Write)],
            &[(a.0, a.1.clone(), Read), (2, 0..8, Write)],
            &[(b.0, b.1.clone(), Read), (3, 0..8, Write)],
        ];
        assert_eq!(barriers(&work), [2], "the second result needs none: the barrier was for both");
    }

    #[test]
    fn work_that_never_meets_is_not_remembered_for_ever() {
        let mut hazards = Hazards::default();
        let mut barriers = 0;
        for id in 0..100_000 {
            barriers += usize::from(hazards.next(&[(7, 0..8, Read), (8 + id, 0..8, Write)]));
            let kept: usize = hazards.touched.values().map(Vec::len).sum();
            assert!(kept <= MOST && hazards.touched.len() <= MOST, "{kept} after {id}");
        }
        assert!(barriers < 100, "{barriers}");
    }

    /// A piece of work: the barriers before it, and what it touches.
    type Piece = (usize, Vec<(u64, Range<u64>, Access)>);

    /// Random work over few blocks, and every pair of it: who must wait for another has a barrier between, and no barrier is without need.
    #[test]
    fn every_pair_that_meets_has_a_barrier_between_and_each_barrier_has_its_pair() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let mut hazards = Hazards::default();
            let mut work: Vec<Piece> = Vec::new();
            let mut barriers = 0;
            for _ in 0..40 {
                let ranges: Vec<_> = (0..random(4))
                    .map(|_| {
                        let start = random(12);
                        let access = [Read, Access::ReadInPlace, Write][random(3) as usize];
                        (random(3), start..start + random(5), access)
                    })
                    .collect();
                let meets = |from: usize, other: &Piece| {
                    other.0 == from
                        && other.1.iter().any(|a| {
                            ranges.iter().any(|b| {
                                let bytes = |x: &Range<u64>| x.clone().collect::<Vec<_>>();
                                a.0 == b.0
                                    && (a.2 == Write || b.2 == Write)
                                    && bytes(&a.1).iter().any(|byte| bytes(&b.1).contains(byte))
                            })
                        })
                };
                let needed = work.iter().any(|other| meets(barriers, other));
                let found = hazards.next(&ranges);
                assert_eq!(found, needed, "{work:?}, then {ranges:?}");
                barriers += usize::from(found);
                work.push((barriers, ranges));
            }
        }
    }

    #[test]
    fn a_list_that_did_not_run_is_followed_by_a_barrier() {
        let mut hazards = Hazards::default();
        hazards.forget();
        assert!(hazards.next(&[]));
        assert!(!hazards.next(&[]));
    }
}
