//! Standard output that may fail at any time, because its reader has gone (`upbeat info | head -1`) or its disk is full:
//! the work goes on without it, and the end of the command reports what a closed pipe does not explain.

use std::fmt::Display;
use std::io::{self, Write};

use crate::failure::Failure;

/// Writes to standard output until that fails once.
#[derive(Debug, Default)]
pub(crate) struct Output {
    failed: Option<io::Error>,
}

impl Output {
    /// Whether nothing that is written arrives any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.failed.is_some()
    }

    /// Writes a text and flushes it.
    pub(crate) fn text(&mut self, text: impl Display) {
        if self.failed.is_none() {
            let mut out = io::stdout().lock();
            self.failed = write!(out, "{text}").and_then(|()| out.flush()).err();
        }
    }

    /// Writes a line and flushes it.
    pub(crate) fn line(&mut self, line: impl Display) {
        self.text(format_args!("{line}\n"));
    }

    /// What kept text from being written, a reader that has gone excepted.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::Input(format!("standard output cannot be written: {error}")))
            }
            _ => Ok(()),
        }
    }
}

/// Writes a line to standard error; nothing can be done when that fails.
pub(crate) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
