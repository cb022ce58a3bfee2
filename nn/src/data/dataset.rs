//! Tokens split into a part to train on and a held-out part, and the random windows of a batch.
//!
//! The last tenth of every file is held out, so that both parts hold the same kinds of text and no window of one part
//! overlaps the other. Files are joined by a line break.

use super::error::DataError;
use super::files::Text;
use super::tokenizer::Tokenizer;
use crate::checkpoint::hash::hash;
use crate::random::Random;

/// One part in this many is held out.
const HELD_OUT: usize = 10;

/// Tokens to train on and to evaluate on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    train: Vec<u32>,
    held_out: Vec<u32>,
    context: usize,
    fingerprint: u64,
}

impl Dataset {
    /// Encodes and splits `texts` for windows of `context` tokens.
    ///
    /// # Errors
    /// [`DataError::TooShort`] when either part is shorter than a window and its target.
    pub fn new(texts: &[Text], tokenizer: &Tokenizer, context: usize) -> Result<Self, DataError> {
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for text in texts {
            let mut tokens = tokenizer.encode(&text.content);
            if !tokens.is_empty() && !text.content.ends_with('\n') {
                tokens.extend(tokenizer.encode("\n"));
            }
            // Counted over all files so far, so that many short files together hold out a tenth too.
            let due = (train.len() + held_out.len() + tokens.len()) / HELD_OUT - held_out.len();
            let cut = tokens.len() - due.min(tokens.len());
            train.extend_from_slice(&tokens[..cut]);
            held_out.extend_from_slice(&tokens[cut..]);
        }
        let needed = context.saturating_add(1);
        if train.len() < needed || held_out.len() < needed {
            return Err(DataError::TooShort {
                tokens: train.len() + held_out.len(),
                needed: needed.saturating_mul(HELD_OUT),
                context,
            });
        }
        let bytes: Vec<u8> = train.iter().chain(&held_out).flat_map(|t| t.to_le_bytes()).collect();
        Ok(Self { train, held_out, context, fingerprint: hash(&bytes) })
    }

    /// Tokens to train on.
    pub fn train(&self) -> &[u32] {
        &self.train
    }

    /// Tokens held out.
    pub fn held_out(&self) -> &[u32] {
        &self.held_out
    }

    /// Tokens in a window.
    pub fn context(&self) -> usize {
        self.context
    }

    /// A hash of all tokens: a resumed training must see the text that it began with.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Evenly spread windows of the held-out part, the same ones every time: `(tokens, targets)`, each
    /// `[windows, context]`. There are at most `most` windows, and at least one.
    pub fn held_out_windows(&self, most: usize) -> (Vec<u32>, Vec<u32>) {
        let last = self.held_out.len() - self.context - 1;
        let windows = (self.held_out.len() / self.context).clamp(1, most.max(1));
        let (mut tokens, mut targets) = (Vec::new(), Vec::new());
        for window in 0..windows {
            let start = if windows == 1 { 0 } else { window * last / (windows - 1) };
            tokens.extend_from_slice(&self.held_out[start..][..self.context]);
            targets.extend_from_slice(&self.held_out[start + 1..][..self.context]);
        }
        (tokens, targets)
    }
}

/// Draws random windows of the training part. Its state is one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    random: Random,
}

impl Windows {
    /// The sequence of `seed`; equal seeds draw equal windows.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed) }
    }

    /// What [`Windows::new`] needs to go on from here.
    pub fn state(&self) -> u64 {
        self.random.state()
    }

    /// Fills `tokens` and `targets` (cleared first) with `batch` windows, each `[batch, context]`.
    pub fn draw(&mut self, dataset: &Dataset, batch: usize, tokens: &mut Vec<u32>, targets: &mut Vec<u32>) {
        tokens.clear();
        targets.clear();
        let context = dataset.context;
        let starts = (dataset.train.len() - context) as u64;
        for _ in 0..batch {
            let start = self.random.below(starts) as usize;
            tokens.extend_from_slice(&dataset.train[start..][..context]);
            targets.extend_from_slice(&dataset.train[start + 1..][..context]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(characters: usize, context: usize) -> Result<Dataset, DataError> {
        let content: String = (0..characters).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
        let texts = [Text { path: "a".into(), content: content + "\n" }];
        Dataset::new(&texts, &Tokenizer::from_texts(&texts), context)
    }

    #[test]
    fn a_tenth_is_held_out_and_nothing_is_lost() {
        let data = dataset(999, 8).unwrap();
        assert_eq!((data.train().len(), data.held_out().len()), (900, 100));
    }

    #[test]
    fn a_text_of_the_needed_length_is_enough_and_one_less_is_not() {
        let Err(DataError::TooShort { tokens, needed, context: 31 }) = dataset(100, 31) else { panic!() };
        assert_eq!((tokens, needed), (101, 320));
        assert!(dataset(needed - 1, 31).is_ok());
        assert!(matches!(dataset(needed - 2, 31), Err(DataError::TooShort { .. })));
        assert!(matches!(dataset(100, usize::MAX), Err(DataError::TooShort { .. })));
    }

    #[test]
    fn windows_are_pieces_of_the_training_part_and_targets_follow_them() {
        let data = dataset(500, 16).unwrap();
        let (mut windows, mut tokens, mut targets) = (Windows::new(7), Vec::new(), Vec::new());
        let mut starts = std::collections::BTreeSet::new();
        for _ in 0..200 {
            windows.draw(&data, 3, &mut tokens, &mut targets);
            assert_eq!((tokens.len(), targets.len()), (48, 48));
            for (x, y) in tokens.chunks(16).zip(targets.chunks(16)) {
                assert_eq!(x[1..], y[..15]);
                let at = data.train().windows(17).position(|w| w[..16] == *x && w[16] == y[15]);
                starts.insert(at.expect("the window is a piece of the text"));
            }
        }
        assert_eq!(starts.len(), 23, "every phase of the text's period is drawn");
    }

    #[test]
    fn a_restored_state_draws_what_would_have_been_drawn() {
        let data = dataset(5000, 8).unwrap();
        let (mut a, mut tokens, mut targets) = (Windows::new(1), Vec::new(), Vec::new());
        a.draw(&data, 4, &mut tokens, &mut targets);
        let mut b = Windows::new(a.state());
        let (mut tokens_b, mut targets_b) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            a.draw(&data, 4, &mut tokens, &mut targets);
            b.draw(&data, 4, &mut tokens_b, &mut targets_b);
            assert_eq!((&tokens, &targets), (&tokens_b, &targets_b));
        }
    }

    #[test]
    fn held_out_windows_stay_inside_and_repeat() {
        for (characters, most, expected) in [(999, 4, 4), (999, 1000, 12), (90, 3, 1)] {
            let data = dataset(characters, 8).unwrap();
            let (tokens, targets) = data.held_out_windows(most);
            assert_eq!((tokens.len(), targets.len()), (expected * 8, expected * 8));
            assert_eq!(data.held_out_windows(most), (tokens, targets));
        }
    }
}
