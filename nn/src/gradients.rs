//! Gradients of a list of parameters, and where the tape keeps its memory between steps.
//!
//! A gradient is *absent* after [`Gradients::clear`] until a backward pass reaches its parameter: the first
//! contribution then overwrites the old numbers instead of being added to freshly written zeros, which saves two
//! passes over memory as large as the model. Later contributions are added.

use upbeat_kernels::pool::Tag;
use upbeat_kernels::{Buffer, Element, Write};

use crate::model::Transformer;
use crate::parameter::Parameter;
use crate::tape::Workspace;

/// One parameter's gradient.
struct Slot<E: Element> {
    name: String,
    values: Buffer<E::Wide>,
    present: bool,
}

/// Gradients of every parameter of a model, in the order of its parameters and in their type: those of a model that
/// computes in bf16 are summed and kept in f32.
pub struct Gradients<E: Element> {
    slots: Vec<Slot<E>>,
    pub(crate) workspace: Workspace<E>,
}

impl<E: Element> Gradients<E> {
    /// Room for the gradients of `model`, all absent.
    pub fn new(model: &Transformer<E>) -> Self {
        Self::from_parameters(model.parameters())
    }

    /// Room for the gradients of `parameters`, all absent.
    pub fn from_parameters(parameters: &[Parameter<E::Wide>]) -> Self {
        let slots = parameters
            .iter()
            .map(|p| Slot {
                name: p.name.clone(),
                values: Buffer::zeroed_as(Tag::Gradient, p.values.len()),
                present: false,
            })
            .collect();
        Self { slots, workspace: Workspace::default() }
    }

    /// Makes every gradient absent: the next backward pass starts anew instead of adding to the last one.
    pub fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.present = false;
        }
    }

    /// How many parameters there are, with or without a gradient.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The gradient of parameter `index`, `None` while it is absent.
    ///
    /// # Panics
    /// When there is no such parameter.
    pub fn get(&self, index: usize) -> Option<&[E::Wide]> {
        let slot = &self.slots[index];
        slot.present.then_some(&*slot.values)
    }

    /// The gradients that are present, each with its parameter's name, in the order of the parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[E::Wide])> {
        self.slots.iter().filter(|s| s.present).map(|s| (s.name.as_str(), &*s.values))
    }

    /// The Euclidean norm of all gradients together, accumulated in f64 in the order of the parameters.
    pub fn global_norm(&self) -> f64 {
        self.iter().map(|(_, values)| E::Wide::sum_of_squares(values)).sum::<f64>().sqrt()
    }

    /// Lends gradient `index` out, and says whether it is to be overwritten or added to.
    pub(crate) fn take(&mut self, index: usize) -> (Buffer<E::Wide>, Write) {
        let slot = &mut self.slots[index];
        let write = if slot.present { Write::Add } else { Write::Overwrite };
        (std::mem::replace(&mut slot.values, Buffer::unspecified(0)), write)
    }

    /// Takes back what [`take`](Self::take) lent; it is present from now on.
    pub(crate) fn give_back(&mut self, index: usize, values: Buffer<E::Wide>) {
        let slot = &mut self.slots[index];
        slot.values = values;
        slot.present = true;
    }
}
