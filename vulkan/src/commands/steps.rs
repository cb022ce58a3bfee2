//! Small element-wise steps that depend on each other, merged into one dispatch: `shaders/steps.comp`. One workgroup runs them with a barrier of
//! its own between them, which costs it far less than a dispatch and a barrier of the device cost for each.
//!
//! What is merged follows from the work alone, and every number comes out as if nothing were.

use super::{meet, Access, Dispatch, Operand, Work, PUSH_BYTES};
use crate::kernels::{RELU as ACTIVATION_RELU, WORKGROUP};
use crate::pipeline::{Constants, Kernel};

/// Numbers up to which a step is small: one workgroup has them done before another would have started.
const SMALL: usize = 1024;
/// What the push constants have room for, as in `shaders/steps.comp`: so many different operands and scalars.
const KNOWN: usize = 8;
const STEPS: usize = 12;
/// Up to which of the operations of `shaders/map.comp` they are in `shaders/steps.comp` too: all but the quotient.
const MAPS: u32 = 4;
/// ReLU's number, after those.
const RELU: u16 = 5;

/// A piece of a command buffer.
pub(crate) enum Piece<'a> {
    /// As it was asked for.
    Work(&'a Work),
    /// Two dispatches or more as one.
    Steps(Chain<'a>),
}

impl Piece<'_> {
    pub(crate) fn operands(&self) -> impl Iterator<Item = &Operand> {
        let (one, steps) = match self {
            Self::Work(work) => (Some(*work), &[][..]),
            Self::Steps(chain) => (None, &chain.steps[..]),
        };
        one.into_iter().flat_map(Work::operands).chain(steps.iter().flat_map(|step| &step.operands))
    }
}

/// Where an operand begins, whose address is looked up when it is recorded: until then its block may move.
#[derive(Clone, Copy)]
struct Start<'a>(&'a Operand);

impl PartialEq for Start<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.start() == other.0.start()
    }
}

/// What a small dispatch computes.
struct Step<'a> {
    op: u16,
    count: u32,
    scalar: f32,
    starts: [Start<'a>; 3],
}

impl<'a> Step<'a> {
    /// `None` where the dispatch is large, or something else.
    fn of(dispatch: &'a Dispatch) -> Option<Self> {
        let word = |at: usize| u32::from_ne_bytes(dispatch.push[at..at + 4].try_into().expect("four bytes"));
        let (op, count, scalar, operands) = match (dispatch.kernel, &dispatch.operands[..]) {
            // Of numbers beside numbers: nothing is spread.
            (Kernel::Map, [a, b, out])
                if dispatch.constants.value(1) <= MAPS && dispatch.constants.value(2) == 0 =>
            {
                (dispatch.constants.value(1) as u16, word(24), f32::from_bits(word(28)), [a, b, out])
            }
            (Kernel::Activation, [x, out]) if dispatch.constants.value(1) == ACTIVATION_RELU => {
                (RELU, word(16), 0.0, [x, x, out])
            }
            _ => return None,
        };
        (count as usize <= SMALL).then(|| Self { op, count, scalar, starts: operands.map(Start) })
    }
}

/// A few different things, each with its place.
#[derive(Clone, Copy)]
struct Known<T> {
    things: [Option<T>; KNOWN],
    len: usize,
}

impl<T: Copy + PartialEq> Known<T> {
    const NONE: Self = Self { things: [None; KNOWN], len: 0 };

    /// The place of `x`, which is added where it is not there and there is room.
    fn place(&mut self, x: T) -> Option<u16> {
        let known = &self.things[..self.len];
        let found = known.iter().position(|known| *known == Some(x)).unwrap_or(self.len);
        if found == self.len {
            *self.things.get_mut(found)? = Some(x);
            self.len += 1;
        }
        Some(found as u16)
    }
}

/// Steps over the same count of numbers, in order.
pub(crate) struct Chain<'a> {
    steps: Vec<&'a Dispatch>,
    count: u32,
    starts: Known<Start<'a>>,
    /// Bits: `-0` is another scalar than 0, and a NaN is one.
    scalars: Known<u32>,
    words: [u16; STEPS],
}

impl<'a> Chain<'a> {
    fn new(dispatch: &'a Dispatch) -> Option<Self> {
        let step = Step::of(dispatch)?;
        let (starts, scalars, words) = (Known::NONE, Known::NONE, [0; STEPS]);
        let mut chain = Self { steps: Vec::new(), count: step.count, starts, scalars, words };
        chain.push(dispatch, &step).then_some(chain)
    }

    /// Adds a step if it waits for one that is there, and there is room for it. What waits for nothing may run beside, as a dispatch of its own.
    fn try_add(&mut self, dispatch: &'a Dispatch) -> bool {
        let Some(step) = Step::of(dispatch) else { return false };
        step.count == self.count && self.is_needed_by(dispatch) && self.push(dispatch, &step)
    }

    fn is_needed_by(&self, dispatch: &Dispatch) -> bool {
        self.steps.iter().flat_map(|step| &step.operands).any(|mine| {
            dispatch.operands.iter().any(|its| {
                let written = mine.access == Access::Write || its.access == Access::Write;
                written && mine.block().id == its.block().id && meet(&mine.range, &its.range)
            })
        })
    }

    fn push(&mut self, dispatch: &'a Dispatch, step: &Step<'a>) -> bool {
        let (mut starts, mut scalars) = (self.starts, self.scalars);
        let mut word = || {
            let scalar = scalars.place(step.scalar.to_bits())?;
            let [a, b, out] = step.starts.map(|start| starts.place(start));
            Some(step.op | a? << 4 | b? << 7 | out? << 10 | scalar << 13)
        };
        match (self.words.get_mut(self.steps.len()), word()) {
            (Some(to), Some(word)) => *to = word,
            _ => return false,
        }
        (self.starts, self.scalars) = (starts, scalars);
        self.steps.push(dispatch);
        true
    }

    /// How many steps it has.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// What runs it: no more invocations than it has numbers, as all of them wait for each other after each step.
    pub(crate) fn kernel(&self) -> (Kernel, Constants) {
        (Kernel::Steps, Constants::new(&[self.count.next_power_of_two().clamp(32, WORKGROUP)]))
    }

    /// The push constants of `shaders/steps.comp`, with the addresses of the moment: with the queue's lock and the blocks' turns.
    pub(crate) fn push_constants(&self) -> [u8; PUSH_BYTES] {
        let mut push = [0; PUSH_BYTES];
        let (addresses, rest) = push.split_at_mut(8 * KNOWN);
        let (scalars, rest) = rest.split_at_mut(4 * KNOWN);
        let (counts, words) = rest.split_at_mut(8);
        for (to, start) in addresses.chunks_exact_mut(8).zip(self.starts.things.iter().flatten()) {
            to.copy_from_slice(&start.0.address().to_ne_bytes());
        }
        for (to, scalar) in scalars.chunks_exact_mut(4).zip(self.scalars.things.iter().flatten()) {
            to.copy_from_slice(&scalar.to_ne_bytes());
        }
        counts[..4].copy_from_slice(&self.count.to_ne_bytes());
        counts[4..].copy_from_slice(&(self.steps.len() as u32).to_ne_bytes());
        for (to, pair) in words.chunks_exact_mut(4).zip(self.words.chunks(2)) {
            to.copy_from_slice(&(u32::from(pair[0]) | u32::from(pair[1]) << 16).to_ne_bytes());
        }
        push
    }
}

/// The pieces of `lists`, one after the other; with `merge`, small steps that follow each other and depend on each other are one.
pub(crate) fn pieces(lists: &[Vec<Work>], merge: bool) -> Vec<Piece<'_>> {
    let mut pieces = Vec::with_capacity(lists.iter().map(Vec::len).sum());
    // The last piece as a chain, of one step until there is a second.
    let mut chain: Option<Chain<'_>> = None;
    for work in lists.iter().flatten() {
        let step = match work {
            Work::Dispatch(dispatch) if merge => Some(dispatch),
            _ => None,
        };
        if step.zip(chain.as_mut()).is_some_and(|(step, chain)| chain.try_add(step)) {
            continue;
        }
        if let Some(chain) = chain.take().filter(|chain| chain.len() > 1) {
            pieces.pop();
            pieces.push(Piece::Steps(chain));
        }
        pieces.push(Piece::Work(work));
        chain = step.and_then(Chain::new);
    }
    if let Some(chain) = chain.filter(|chain| chain.len() > 1) {
        pieces.pop();
        pieces.push(Piece::Steps(chain));
    }
    pieces
}
