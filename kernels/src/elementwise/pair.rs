//! Two cheap operations in one loop: the second takes what the first gave, which saves storing and loading it. Each is
//! rounded as it is alone, so the bits are those of two loops.

use std::marker::PhantomData;

use super::op::Op;
use super::step::{Abs, Add, Max, Min, Mul, Relu, Square, Sub};
use super::sweep::{run, Run};
use crate::simd::each::Step;
use crate::simd::Simd;

/// `b - a`
#[derive(Clone, Copy)]
struct SubFrom;

impl Step for SubFrom {
    const ARITY: usize = 2;
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b, _]: [S::F; 3]) -> S::F {
        simd.sub(b, a)
    }
}

/// `B(A(x, y), z)`, or `B(A(x, y))`; `A` takes two operands.
#[derive(Clone, Copy)]
struct Pair<A, B>(PhantomData<(A, B)>);

impl<A: Step, B: Step> Step for Pair<A, B> {
    const ARITY: usize = 1 + B::ARITY;
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [x, y, z]: [S::F; 3]) -> S::F {
        B::apply(simd, [A::apply(simd, [x, y, y]), z, z])
    }
}

/// The loop of `second` on what `first` gave as its operand `position`, where there is one. Its operands are those of
/// `first`, then the other one of `second`.
pub(crate) fn pair(first: Op, second: Op, position: usize) -> Option<Run> {
    match first {
        Op::Add => then::<Add>(second, position),
        Op::Sub => then::<Sub>(second, position),
        Op::Mul => then::<Mul>(second, position),
        Op::Max => then::<Max>(second, position),
        Op::Min => then::<Min>(second, position),
        _ => None,
    }
}

fn then<A: Step>(second: Op, position: usize) -> Option<Run> {
    Some(match (second, position) {
        (Op::Add, _) => run::<Pair<A, Add>>,
        (Op::Mul, _) => run::<Pair<A, Mul>>,
        (Op::Sub, 0) => run::<Pair<A, Sub>>,
        (Op::Sub, _) => run::<Pair<A, SubFrom>>,
        (Op::Max, 0) => run::<Pair<A, Max>>,
        (Op::Min, 0) => run::<Pair<A, Min>>,
        (Op::Relu, _) => run::<Pair<A, Relu>>,
        (Op::Abs, _) => run::<Pair<A, Abs>>,
        (Op::Square, _) => run::<Pair<A, Square>>,
        _ => return None,
    })
}
