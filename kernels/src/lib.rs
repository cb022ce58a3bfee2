//! Tensor and attention kernels for CPUs, run as tasks on the [`upbeat`] runtime.
//!
//! Every kernel exists twice: a fast `f32` version built from [`simd`] vectors of the instruction set chosen at
//! run time ([`isa`]), and a slow `f64` twin ([`twin`]) that states what it computes. [`Element`] puts both behind
//! one set of names, so that code above (a tape, a model) can run in either precision, or store in [`bf16`] and compute in f32.
//!
//! Results have the same bits for any number of workers: every sum has an order that depends on shapes alone.
//!
//! The functions in the modules of this crate are those of [`Element`], whose documentation gives shapes, formulas and
//! errors; the modules say how accurate they are and what they do with NaN and infinities.

pub mod activation;
pub mod attention;
mod blocks;
mod contract;
pub mod conv;
pub mod convert;
pub mod cross_entropy;
pub mod dropout;
pub mod element;
mod element_bf16;
mod element_decode;
mod element_f32;
pub mod elementwise;
pub mod embedding;
pub mod error;
#[doc(hidden)]
pub mod files;
pub mod flow;
pub mod gemm;
#[allow(unsafe_code)]
pub mod grid;
pub mod isa;
mod lanes;
pub mod math;
pub mod matrix;
pub mod norm;
pub mod optimizer;
#[allow(unsafe_code)]
pub mod pool;
pub mod pooling;
pub mod reduce;
pub mod rope;
#[allow(unsafe_code)]
pub mod simd;
pub mod softmax;
pub mod tuning;
pub mod twin;
pub mod view;

pub use element::{Activation, AdamW, AttentionShape, Element, Epilogue, Gemm, RopeShape, Write};
pub use element_decode::DecodeElement;
pub use error::ShapeError;
pub use half::{bf16, f16};
pub use isa::Isa;
pub use matrix::{Mat, MatMut};
pub use pool::Buffer;
