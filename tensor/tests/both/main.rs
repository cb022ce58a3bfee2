//! Every operation on both devices, against each other and against plain f64.

#[path = "../support/mod.rs"]
mod support;

mod adaptive;
mod apply;
mod errors;
mod heads;
mod maps;
mod products;
mod rows;
mod shapes;
