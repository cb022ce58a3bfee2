//! A value that is made at its first use: once, by one thread, or not at all and then again.
//!
//! The global runtime is one. Model: `loom-tests/tests/once.rs`.

use crate::sync::{left_out, lock, Mutex, OnceLock};

/// A value that is made at its first use, by one thread; when that fails, the next use tries again.
pub struct Once<T> {
    value: OnceLock<T>,
    making: Mutex<()>,
}

impl<T> Once<T> {
    /// Nothing yet.
    #[cfg(not(upbeat_loom))]
    pub const fn new() -> Self {
        Self { value: OnceLock::new(), making: Mutex::new(()) }
    }

    /// Nothing yet.
    #[cfg(upbeat_loom)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { value: OnceLock::new(), making: Mutex::new(()) }
    }

    /// The value, made by `make` when nobody has made it before.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let _one_at_a_time = lock(&self.making);
        // Who had the lock before may have made it.
        if let Some(value) = self.value.get().filter(|_| !left_out!("once_second_look")) {
            return Ok(value);
        }
        let value = make()?;
        Ok(self.value.get_or_init(|| value))
    }
}
