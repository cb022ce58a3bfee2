//! Serving a model: many requests at once, as few large batches.

mod batch_decoder;
mod pages;

pub use batch_decoder::{BatchDecoder, Feed, FeedError, Logits};
pub use pages::{KeyValuePages, PagesError, Sequence};

pub(crate) use pages::{LayerPages, PagedRows};
