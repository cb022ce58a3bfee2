//! A plain number that threads share without ordering of its own: whatever orders its accesses is the protocol under test.

use loom::cell::UnsafeCell;

/// Data that one thread writes and another one reads; loom fails the model if nothing orders the two.
#[derive(Debug)]
pub struct Datum(UnsafeCell<usize>);

// SAFETY: loom checks each access against all others and fails the model at the first race.
unsafe impl Sync for Datum {}

impl Datum {
    /// With a first value.
    pub fn new(value: usize) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Writes.
    pub fn write(&self, value: usize) {
        // SAFETY: loom has just checked that no other thread accesses the cell meanwhile.
        self.0.with_mut(|at| unsafe { *at = value });
    }

    /// Reads and writes.
    pub fn update(&self, change: impl FnOnce(usize) -> usize) {
        // SAFETY: as for `write`.
        self.0.with_mut(|at| unsafe { *at = change(*at) });
    }

    /// Reads.
    pub fn read(&self) -> usize {
        // SAFETY: loom has just checked that no other thread writes the cell meanwhile.
        self.0.with(|at| unsafe { *at })
    }
}
