//! What a training leaves besides its checkpoint: the summary on the screen, the loss curve and the trace.

mod command;
pub(crate) mod summary;
pub(crate) mod svg;
pub(crate) mod trace;
