//! The backward pass: visits operations from last to first and collects gradients where they belong.
//!
//! A gradient that nobody has written yet is overwritten, never zeroed first; one that exists is added to. A whole
//! gradient that passes through unchanged (a residual) is moved, not copied.

use upbeat_kernels::pool::Tag;
use upbeat_kernels::{Buffer, Element, ShapeError, Write};

use super::{Node, Op, Value, Var};
use crate::gradients::Gradients;

/// One operation's step of the backward pass.
pub(super) trait Step<E: Element> {
    /// Hands the gradient of the result on to what it was computed from. `out` is the operation's own result; it is
    /// readable if the operation saved it.
    fn backward(self, pass: &mut Pass<'_, '_, E>, out: &[E], d_out: Buffer<E>) -> Result<(), ShapeError>;
}

/// The tape and the gradients during a backward pass.
pub(super) struct Pass<'p, 'a, E: Element> {
    nodes: &'p mut [Node<'a, E>],
    gradients: &'p mut Gradients<E>,
}

impl<'p, 'a, E: Element> Pass<'p, 'a, E> {
    pub(super) fn new(nodes: &'p mut [Node<'a, E>], gradients: &'p mut Gradients<E>) -> Self {
        Self { nodes, gradients }
    }

    /// Takes the backward step of value `index`, if it got a gradient, and frees the value and its gradient.
    pub(super) fn step(&mut self, index: usize) -> Result<(), ShapeError> {
        let node = &mut self.nodes[index];
        if matches!(node.op, Op::Constant | Op::Variable | Op::Parameter(_)) {
            return Ok(());
        }
        let value = std::mem::replace(&mut node.value, Value::Released);
        let op = std::mem::replace(&mut node.op, Op::Constant);
        let Some(d_out) = node.gradient.take() else { return Ok(()) };
        // What the operation did not save may have been released; its step does not look at it.
        let out: &[E] = if matches!(value, Value::Released) { &[] } else { &value };
        match op {
            Op::Constant | Op::Variable | Op::Parameter(_) => Ok(()),
            Op::Linear(op) => op.backward(self, out, d_out),
            Op::Attention(op) => op.backward(self, out, d_out),
            Op::Rope(op) => op.backward(self, out, d_out),
            Op::LayerNorm(op) => op.backward(self, out, d_out),
            Op::RmsNorm(op) => op.backward(self, out, d_out),
            Op::Softmax(op) => op.backward(self, out, d_out),
            Op::Gelu(op) => op.backward(self, out, d_out),
            Op::Silu(op) => op.backward(self, out, d_out),
            Op::SwiGlu(op) => op.backward(self, out, d_out),
            Op::Embedding(op) => op.backward(self, out, d_out),
            Op::CrossEntropy(op) => op.backward(self, out, d_out),
            Op::Add(op) => op.backward(self, out, d_out),
            Op::Mul(op) => op.backward(self, out, d_out),
            Op::Scale(op) => op.backward(self, out, d_out),
            Op::AddBias(op) => op.backward(self, out, d_out),
        }
    }

    /// The numbers of a value that was saved for this step.
    pub(super) fn value(&self, var: Var) -> &[E] {
        &self.nodes[var.0].value
    }

    /// Whether anybody wants the gradient of `var`.
    pub(super) fn needs(&self, var: Var) -> bool {
        self.nodes[var.0].needs_gradient
    }

    /// Lets `kernel` write the gradient of `var`, overwriting or adding as it is told. Does nothing when nobody
    /// wants the gradient.
    pub(super) fn write(
        &mut self,
        var: Var,
        kernel: impl FnOnce(&Self, &mut [E], Write) -> Result<(), ShapeError>,
    ) -> Result<(), ShapeError> {
        if !self.needs(var) {
            return Ok(());
        }
        let node = &mut self.nodes[var.0];
        let len = node.shape.len();
        if let Op::Parameter(_) = node.op {
            // Parameters' gradients are of another type than what this kernel writes.
            let mut own = Buffer::unspecified_as(Tag::Gradient, len);
            kernel(self, &mut own, Write::Overwrite)?;
            return self.accumulate(var, own);
        }
        let (mut gradient, write) = match node.gradient.take() {
            Some(gradient) => (gradient, Write::Add),
            None => (Buffer::unspecified_as(Tag::Gradient, len), Write::Overwrite),
        };
        let done = kernel(self, &mut gradient, write);
        self.nodes[var.0].gradient = Some(gradient);
        done
    }

    /// As [`write`](Self::write) for kernels that sum over a batch, in the type that parameters' gradients have: what
    /// they write into a parameter's gradient is rounded to no other type.
    pub(super) fn write_wide(
        &mut self,
        var: Var,
        kernel: impl FnOnce(&Self, &mut [E::Wide], Write) -> Result<(), ShapeError>,
    ) -> Result<(), ShapeError> {
        if !self.needs(var) {
            return Ok(());
        }
        let node = &self.nodes[var.0];
        let len = node.shape.len();
        let Op::Parameter(slot) = node.op else {
            let mut own = Buffer::unspecified_as(Tag::Gradient, len);
            kernel(self, &mut own, Write::Overwrite)?;
            return self.accumulate(var, E::narrowed(own));
        };
        let (mut gradient, write) = self.gradients.take(slot);
        let done = if gradient.len() < len {
            Err(ShapeError::Mismatch {
                what: "the length of a gradient",
                expected: len,
                found: gradient.len(),
            })
        } else {
            if write == Write::Overwrite {
                // A parameter of which only the first part was used has no gradient in the rest.
                gradient[len..].fill(E::Wide::default());
            }
            kernel(self, &mut gradient[..len], write)
        };
        self.gradients.give_back(slot, gradient);
        done
    }

    /// As [`write`](Self::write) for kernels with other results too: they run even when nobody wants this one.
    pub(super) fn write_or_drop(
        &mut self,
        var: Var,
        kernel: impl FnOnce(&Self, &mut [E], Write) -> Result<(), ShapeError>,
    ) -> Result<(), ShapeError> {
        if self.needs(var) {
            return self.write(var, kernel);
        }
        let mut unwanted = Buffer::scratch(self.nodes[var.0].shape.len());
        kernel(self, &mut unwanted, Write::Overwrite)
    }

    /// As [`write`](Self::write) for kernels that only add: a gradient nobody has written yet is zeroed first.
    pub(super) fn add(
        &mut self,
        var: Var,
        kernel: impl FnOnce(&Self, &mut [E]) -> Result<(), ShapeError>,
    ) -> Result<(), ShapeError> {
        self.write(var, |pass, gradient, write| {
            if write == Write::Overwrite {
                gradient.fill(E::default());
            }
            kernel(pass, gradient)
        })
    }

    /// As [`write_wide`](Self::write_wide) for kernels that only add.
    pub(super) fn add_wide(
        &mut self,
        var: Var,
        kernel: impl FnOnce(&Self, &mut [E::Wide]) -> Result<(), ShapeError>,
    ) -> Result<(), ShapeError> {
        self.write_wide(var, |pass, gradient, write| {
            if write == Write::Overwrite {
                gradient.fill(E::Wide::default());
            }
            kernel(pass, gradient)
        })
    }

    /// Adds a whole gradient to that of `var`, or moves it there when it is the first one.
    pub(super) fn accumulate(&mut self, var: Var, gradient: Buffer<E>) -> Result<(), ShapeError> {
        if !self.needs(var) {
            return Ok(());
        }
        let node = &mut self.nodes[var.0];
        if let Op::Parameter(_) = node.op {
            return self.add_wide(var, |_, sum| E::add_to_wide(&gradient, sum));
        }
        if node.gradient.is_none() {
            node.gradient = Some(gradient);
            return Ok(());
        }
        self.add(var, |_, sum| E::add_scaled(&gradient, 1.0, sum))
    }

    /// As [`accumulate`](Self::accumulate) for a gradient that was summed over a batch.
    pub(super) fn accumulate_wide(&mut self, var: Var, gradient: Buffer<E::Wide>) -> Result<(), ShapeError> {
        if !self.needs(var) {
            return Ok(());
        }
        if let Op::Parameter(_) = self.nodes[var.0].op {
            return self.add_wide(var, |_, sum| E::Wide::add_scaled(&gradient, 1.0, sum));
        }
        self.accumulate(var, E::narrowed(gradient))
    }
}
