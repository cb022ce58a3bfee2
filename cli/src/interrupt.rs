//! Ctrl-C and requests to terminate: the first one asks the work to save and end, the second one ends the process.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::failure::Failure;

static ASKED: AtomicBool = AtomicBool::new(false);

/// Starts listening.
pub(crate) fn listen() -> Result<(), Failure> {
    let handler = || {
        if ASKED.swap(true, Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Failure::Work(format!("Ctrl-C cannot be listened to: {e}")))
}

/// Whether the work was asked to end.
pub(crate) fn asked() -> bool {
    ASKED.load(Relaxed)
}
