//! How far a measurement or a search is: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// Parts of the bar; only its picture is that fine.
const PARTS: u64 = 1000;

/// The bar, on standard error.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(PARTS);
        let style = ProgressStyle::with_template("{bar:28} {percent:>3} %  {msg}");
        bar.set_style(style.expect("the template is valid"));
        Self(bar)
    }

    /// `share` of everything is done, and `work` is being measured.
    pub(crate) fn at(&self, share: f64, work: &str) {
        self.0.set_position((share * PARTS as f64) as u64);
        self.0.set_message(work.to_owned());
    }

    /// Writes text above the bar.
    pub(crate) fn text(&self, output: &mut Output, text: &str) {
        self.0.suspend(|| output.text(text));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
