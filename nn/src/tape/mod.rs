//! A reverse-mode tape: operations run at once and are recorded; [`Tape::backward`] then visits them from last to
//! first and hands each value's gradient to the values that it was computed from.
//!
//! The tape borrows parameters and token ids and owns everything computed. It never copies an activation: a value is
//! kept while a backward step may read it and goes back to the pool right after its own step, as does its gradient.
//! Each family of operations has a file; how gradients are collected is in `pass.rs`.

mod activation;
mod arithmetic;
mod attention;
mod linear;
mod lookup;
mod loss;
mod norm;
mod pass;

use std::ops::Deref;

use upbeat_kernels::element::Stored;
use upbeat_kernels::pool::Tag;
use upbeat_kernels::{Buffer, Element, ShapeError};

use crate::gradients::Gradients;
use crate::tensor::{check, Shape, Tensor};
use pass::Pass;

/// A value on a [`Tape`]. Using it with another tape than the one that made it is an error of the program: it
/// names another value there, or panics when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var(usize);

/// Where a value's numbers are.
enum Value<'a, E: Element> {
    Borrowed(&'a [E]),
    Owned(Buffer<E>),
    /// Given back to the pool: nothing recorded reads it again.
    Released,
}

impl<E: Element> Deref for Value<'_, E> {
    type Target = [E];
    fn deref(&self) -> &[E] {
        match self {
            Self::Borrowed(values) => values,
            Self::Owned(values) => values,
            Self::Released => panic!("a value was used after Tape::release"),
        }
    }
}

/// How a value came about, with what its backward step needs beyond the values themselves.
enum Op<'a, E: Element> {
    /// A constant, or a step already taken.
    Constant,
    /// A variable whose gradient stays on the tape.
    Variable,
    /// A parameter, whose gradient goes to this slot of [`Gradients`].
    Parameter(usize),
    Linear(linear::Linear),
    Attention(attention::Attention<E>),
    Rope(attention::Rope),
    LayerNorm(norm::LayerNorm<E>),
    RmsNorm(norm::RmsNorm<E>),
    Softmax(activation::Softmax),
    Gelu(activation::Gelu),
    Silu(activation::Silu),
    SwiGlu(activation::SwiGlu),
    Embedding(lookup::Embedding<'a>),
    CrossEntropy(loss::CrossEntropy<'a, E>),
    Add(arithmetic::Add),
    Mul(arithmetic::Mul),
    Scale(arithmetic::Scale),
    AddBias(arithmetic::AddBias),
}

struct Node<'a, E: Element> {
    op: Op<'a, E>,
    value: Value<'a, E>,
    shape: Shape,
    /// Whether a variable or a parameter is among what this was computed from.
    needs_gradient: bool,
    /// Whether some backward step reads the value.
    saved: bool,
    gradient: Option<Buffer<E>>,
}

/// The memory of a finished tape, for the next one: with it a warm step records without allocating.
pub struct Workspace<E: Element>(Vec<Node<'static, E>>);

impl<E: Element> Default for Workspace<E> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Records operations on borrowed parameters and computed values, see the module's documentation.
///
/// # Errors
/// An operation returns [`ShapeError`] when the shapes of what it is given do not fit; nothing is then recorded.
///
/// # Panics
/// Every operation panics when a value it is given was released.
pub struct Tape<'a, E: Element> {
    nodes: Vec<Node<'a, E>>,
    recording: bool,
}

impl<'a, E: Element> Tape<'a, E> {
    /// A tape that records for [`backward`](Self::backward), in the memory of an earlier one.
    pub fn new(workspace: Workspace<E>) -> Self {
        Self { nodes: workspace.0, recording: true }
    }

    /// A tape that only computes: nothing needs a gradient, and [`release`](Self::release) always frees.
    pub fn forward_only() -> Self {
        Self { nodes: Vec::new(), recording: false }
    }

    /// Frees every value and keeps the tape's own memory for the next one.
    pub fn into_workspace(mut self) -> Workspace<E> {
        self.nodes.clear();
        // Collecting an emptied vector in place keeps its memory while the borrows' lifetime changes.
        Workspace(self.nodes.into_iter().map(|_| unreachable!("the vector is empty")).collect())
    }

    /// A value without a gradient.
    pub fn constant(&mut self, tensor: Tensor<E>) -> Var {
        let (shape, values) = tensor.into_parts();
        self.push(Op::Constant, Value::Owned(values), shape, false)
    }

    /// A value whose gradient [`gradient`](Self::gradient) gives after the backward pass.
    pub fn variable(&mut self, tensor: Tensor<E>) -> Var {
        let (shape, values) = tensor.into_parts();
        self.push(Op::Variable, Value::Owned(values), shape, true)
    }

    /// Parameter `slot` of the [`Gradients`] handed to the backward pass, or its first `values.len()` elements.
    /// The values are borrowed where they are of the tape's type, and rounded to it otherwise; one parameter may be recorded
    /// more than once: its gradients add up.
    ///
    /// # Errors
    /// When `values` do not fill `dims`.
    pub fn parameter(
        &mut self,
        slot: usize,
        values: &'a [E::Wide],
        dims: &[usize],
    ) -> Result<Var, ShapeError> {
        let shape = Shape::new(dims)?;
        check("the length of a parameter", shape.len(), values.len())?;
        let value = match E::stored(values) {
            Stored::Same(values) => Value::Borrowed(values),
            Stored::Rounded(values) => Value::Owned(values),
        };
        Ok(self.push(Op::Parameter(slot), value, shape, true))
    }

    /// The dimensions of a value.
    pub fn shape(&self, var: Var) -> Shape {
        self.nodes[var.0].shape
    }

    /// The numbers of a value.
    ///
    /// # Panics
    /// When the value was released or freed by the backward pass.
    pub fn value(&self, var: Var) -> &[E] {
        &self.nodes[var.0].value
    }

    /// A value's numbers as a tensor of its own; the tape keeps nothing of it.
    ///
    /// # Panics
    /// When the value was released or freed by the backward pass.
    pub fn into_tensor(mut self, var: Var) -> Tensor<E> {
        let node = &mut self.nodes[var.0];
        let values = match std::mem::replace(&mut node.value, Value::Released) {
            Value::Owned(values) => values,
            Value::Borrowed(values) => Buffer::copied(values),
            Value::Released => panic!("a value was used after Tape::release"),
        };
        Tensor::new(node.shape.dims(), values).expect("a value on the tape fills its shape")
    }

    /// The gradient of a [`variable`](Self::variable) after the backward pass; `None` when nothing depended on it.
    pub fn gradient(&self, var: Var) -> Option<&[E]> {
        self.nodes[var.0].gradient.as_deref()
    }

    /// Says that no operation recorded from now on uses `var`: its memory is freed unless a backward step reads it.
    pub fn release(&mut self, var: Var) {
        let node = &mut self.nodes[var.0];
        if !node.saved {
            node.value = Value::Released;
        }
    }

    /// Gradients of the single number `loss` with respect to every variable and parameter it was computed from.
    ///
    /// Gradients of parameters are added to those present in `gradients`. Values and gradients in between are freed
    /// on the way, so a tape goes backward once.
    ///
    /// # Errors
    /// When `loss` is not a single number, or a gradient in `gradients` is shorter than its parameter. They then hold a
    /// part of the sum and are to be cleared.
    ///
    /// # Panics
    /// When `gradients` have no slot for a parameter that was recorded.
    pub fn backward(&mut self, loss: Var, gradients: &mut Gradients<E>) -> Result<(), ShapeError> {
        let mut one = Buffer::<E>::unspecified_as(Tag::Gradient, 1);
        one[0] = E::from_f64(1.0);
        self.backward_from(loss, one, gradients)
    }

    /// As [`backward`](Self::backward) for `Σ seed · output`: `seed` is the gradient of `output`.
    ///
    /// # Errors
    /// As [`backward`](Self::backward), and a seed of another length than the output's.
    ///
    /// # Panics
    /// As [`backward`](Self::backward).
    pub fn backward_from(
        &mut self,
        output: Var,
        seed: Buffer<E>,
        gradients: &mut Gradients<E>,
    ) -> Result<(), ShapeError> {
        check("the length of the output's gradient", self.nodes[output.0].shape.len(), seed.len())?;
        if !self.nodes[output.0].needs_gradient {
            return Ok(());
        }
        let mut pass = Pass::new(&mut self.nodes[..=output.0], gradients);
        pass.accumulate(output, seed)?;
        for index in (0..=output.0).rev() {
            pass.step(index)?;
        }
        Ok(())
    }

    /// Records `op`, unless nothing it was computed from (`inputs`) needs a gradient; `saved` are the values that its
    /// backward step reads.
    fn record<const N: usize, const M: usize>(
        &mut self,
        op: Op<'a, E>,
        values: Buffer<E>,
        shape: Shape,
        inputs: [Option<Var>; N],
        saved: [Var; M],
    ) -> Var {
        let needs_gradient =
            self.recording && inputs.into_iter().flatten().any(|v| self.nodes[v.0].needs_gradient);
        if needs_gradient {
            for var in saved {
                self.nodes[var.0].saved = true;
            }
        }
        let op = if needs_gradient { op } else { Op::Constant };
        self.push(op, Value::Owned(values), shape, needs_gradient)
    }

    fn push(&mut self, op: Op<'a, E>, value: Value<'a, E>, shape: Shape, needs_gradient: bool) -> Var {
        let needs_gradient = needs_gradient && self.recording;
        self.nodes.push(Node { op, value, shape, needs_gradient, saved: false, gradient: None });
        Var(self.nodes.len() - 1)
    }

    /// Keeps the value of `var` for its own backward step, which reads the result rather than the inputs.
    fn save_output(&mut self, var: Var) {
        let node = &mut self.nodes[var.0];
        node.saved = node.needs_gradient;
    }
}
