//! How many items to run before looking up, found by reading the clock once a chunk.

use crate::sync::now;
use crate::task::cancel::CancelToken;

/// A chunk shorter than this is doubled, ns: looking up costs about 30 ns.
const SHORT: u64 = 2_000;
/// A chunk longer than this is halved, ns: an idle worker waits that long for an answer.
const LONG: u64 = 10_000;

/// The pace of one loop on one worker.
pub(super) struct Pace<'a> {
    /// What may stop the loop.
    token: Option<&'a CancelToken>,
    chunk: usize,
    /// Leaves until the chunk is done, where they are counted one by one.
    left: usize,
    since: u64,
    coarse: bool,
}

impl<'a> Pace<'a> {
    pub(super) fn new(token: Option<&'a CancelToken>) -> Self {
        Self { token, chunk: 1, left: 1, since: now(), coarse: false }
    }

    /// How many items to run next.
    pub(super) fn chunk(&self) -> usize {
        self.chunk
    }

    /// The chunk is done: adapts the next one. Unwinds when the loop was cancelled.
    pub(super) fn step(&mut self) {
        if let Some(token) = self.token {
            token.check();
        }
        let now = now();
        let took = now.saturating_sub(self.since);
        self.since = now;
        self.coarse = self.chunk == 1 && took > LONG;
        if took < SHORT {
            self.chunk = self.chunk.saturating_mul(2);
        } else if took > LONG {
            self.chunk = (self.chunk / 2).max(1);
        }
    }

    /// One leaf of a tree is done; reads the clock only when a chunk's worth of leaves is.
    pub(super) fn leaf(&mut self) {
        self.left -= 1;
        if self.left == 0 {
            self.step();
            self.left = self.chunk;
        }
    }

    /// Whether a single item takes so long that the rest should be on offer before anybody asks.
    pub(super) fn is_coarse(&self) -> bool {
        self.coarse
    }
}
