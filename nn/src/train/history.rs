//! The losses of a training so far: one a step, and the held-out ones where they were measured.

/// Losses in nats a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Training loss of each step, the first step first.
    pub losses: Vec<f64>,
    /// `(steps made, held-out loss)` for each evaluation.
    pub held_out: Vec<(u64, f64)>,
}

const LOSSES: &str = "history.losses";
const HELD_OUT_STEPS: &str = "history.held_out.steps";
const HELD_OUT_LOSSES: &str = "history.held_out.losses";

impl History {
    /// Named columns for a checkpoint. Steps fit an f64 exactly up to 2⁵³.
    pub(super) fn to_columns(&self) -> [(&'static str, Vec<f64>); 3] {
        [
            (LOSSES, self.losses.clone()),
            (HELD_OUT_STEPS, self.held_out.iter().map(|h| h.0 as f64).collect()),
            (HELD_OUT_LOSSES, self.held_out.iter().map(|h| h.1).collect()),
        ]
    }

    /// Reads what [`to_columns`](Self::to_columns) gave.
    pub(super) fn from_columns(column: impl Fn(&str) -> Result<Vec<f64>, String>) -> Result<Self, String> {
        let (steps, held_out) = (column(HELD_OUT_STEPS)?, column(HELD_OUT_LOSSES)?);
        if steps.len() != held_out.len() {
            return Err(format!("{} held-out losses at {} steps", held_out.len(), steps.len()));
        }
        let held_out = steps.into_iter().map(|s| s as u64).zip(held_out).collect();
        Ok(Self { losses: column(LOSSES)?, held_out })
    }

    /// Mean training loss of the last `steps` steps; `None` before the first one.
    pub fn recent_loss(&self, steps: usize) -> Option<f64> {
        let recent = &self.losses[self.losses.len().saturating_sub(steps.max(1))..];
        (!recent.is_empty()).then(|| recent.iter().sum::<f64>() / recent.len() as f64)
    }
}
