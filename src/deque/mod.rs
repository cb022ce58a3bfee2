//! The ring of a worker's public join tasks, and the ways of its thieves. The protocol is in `README.md` beside this file.

mod ring;

pub use ring::{Front, OwnerEnd, Requests, Ring, Taken};
