//! Serving a model: many requests at once, as few large batches.
//!
//! A [`Server`] takes requests on and answers each with its tokens as they are drawn; its engine forms a step of all that are there.
//! Below it a [`BatchDecoder`] makes one step for any set of sequences, whose keys and values lie in the pages of one pool
//! ([`KeyValuePages`]). How short memory is ([`upbeat::batch::pressure`]) scales the
//! server's caps.

mod batch_decoder;
mod engine;
mod pace;
mod pages;
mod request;
mod server;

pub use batch_decoder::{BatchDecoder, Feed, FeedError, Logits};
pub use pages::{KeyValuePages, PagesError, Sequence};
pub use request::{Reply, Request, RequestError};
pub use server::{Server, ServerError, ServerOptions, ServerStats};

pub(crate) use pages::{LayerPages, PagedRows};
