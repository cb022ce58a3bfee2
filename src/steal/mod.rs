//! Whom a thief asks, and in which order.
//!
//! A policy is pure: it sees the topology and random numbers and returns an order of victims. The same code runs in
//! workers, in simulation and in tests. An order that is wrong can only be slow: it is checked where it is used.

pub(crate) mod learned;
mod nearest;
mod random;

use crate::topology::Topology;

pub use nearest::Nearest;
pub use random::Random;

/// A seeded generator of random numbers (SplitMix64; Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Generator(u64);

impl Generator {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (multiply and shift, Lemire 2019; the bias is below `bound / 2^32`). 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (((self.next_u64() >> 32) * bound as u64) >> 32) as usize
    }
}

/// An order of victims for a thief; [`Builder::stealing`](crate::Builder::stealing) takes one.
///
/// It is asked in each round of an idle worker, many times a millisecond, so it should neither allocate nor wait. It must not use the
/// runtime, and a panic of it ends the process.
///
/// ```
/// use upbeat::topology::Topology;
/// use upbeat::{Generator, Runtime, StealPolicy};
///
/// /// Each worker asks the next ones in turn.
/// struct Next;
///
/// impl StealPolicy for Next {
///     fn victims(&self, thief: usize, topology: &Topology, _: &mut Generator, order: &mut Vec<usize>) {
///         let workers = topology.workers();
///         order.extend((1..workers).map(|step| (thief + step) % workers));
///     }
/// }
///
/// let runtime = Runtime::builder().workers(3).stealing(Next).build()?;
/// assert_eq!(runtime.join(|| 1, || 2), (1, 2));
/// # Ok::<(), upbeat::BuildError>(())
/// ```
pub trait StealPolicy: Send + Sync {
    /// Appends to `order` (given empty) the workers that `thief` should try, first one first; workers that it leaves out are not tried.
    /// An order that names nobody, the thief itself or a worker that does not exist is replaced by a random one, with one warning on
    /// stderr a runtime.
    fn victims(&self, thief: usize, topology: &Topology, generator: &mut Generator, order: &mut Vec<usize>);
}

/// The built-in policies, as [`Builder::stealing`](crate::Builder::stealing) takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stealing {
    /// Every other worker in random order.
    Random,
    /// Nearest first: shared core, shared cache, same NUMA node, other nodes; random among equals.
    #[default]
    Nearest,
}

impl StealPolicy for Stealing {
    fn victims(&self, thief: usize, topology: &Topology, generator: &mut Generator, order: &mut Vec<usize>) {
        match self {
            Stealing::Random => Random.victims(thief, topology, generator, order),
            Stealing::Nearest => Nearest.victims(thief, topology, generator, order),
        }
    }
}

impl<P: StealPolicy + ?Sized> StealPolicy for Box<P> {
    fn victims(&self, thief: usize, topology: &Topology, generator: &mut Generator, order: &mut Vec<usize>) {
        (**self).victims(thief, topology, generator, order);
    }
}

/// Whether `order` names other workers of `workers` than the thief, and any if there are such.
pub(crate) fn is_order(order: &[usize], thief: usize, workers: usize) -> bool {
    order.iter().all(|&victim| victim < workers && victim != thief) && (!order.is_empty() || workers < 2)
}
