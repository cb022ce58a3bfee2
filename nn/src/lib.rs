//! Autograd and training.
