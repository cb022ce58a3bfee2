//! Decoding for many sequences at once: a step feeds each of any set of sequences one token, or several of a prompt, so that every
//! weight is read once for all of them.
//!
//! Each projection is one product over all rows, attention is one task a row, a head and a chunk of its pages, everything else
//! works row by row. How the set is chosen is not decided here. A row has the bits that [`Decoder`](crate::Decoder) gives it, whatever
//! else is in the step: `tests/serving.rs` compares them.

use std::fmt;

use upbeat_kernels::{Activation, Buffer, Element};

use super::pages::{KeyValuePages, PagedRows, Sequence};
use crate::model::{ModelError, Transformer};

/// What a step feeds to one sequence.
pub trait Feed {
    /// The tokens, in order; at least one.
    fn tokens(&self) -> &[u32];
    /// The sequence that they continue.
    fn sequence(&mut self) -> &mut Sequence;
    /// Whether the logits after the last of these tokens are wanted; they are not within a prompt.
    fn wants_logits(&self) -> bool {
        true
    }
}

impl Feed for (&mut Sequence, &[u32]) {
    fn tokens(&self) -> &[u32] {
        self.1
    }

    fn sequence(&mut self) -> &mut Sequence {
        self.0
    }
}

/// Feeds tokens to a model for many sequences at once; see [`step`](Self::step).
///
/// ```
/// use upbeat_nn::serving::{BatchDecoder, KeyValuePages};
/// use upbeat_nn::{Config, Transformer};
///
/// let model = Transformer::<f32>::new(Config::modern(11, 64, 16, 2, 2), 1)?;
/// let mut decoder = BatchDecoder::new(&model, KeyValuePages::new(model.config(), 8, 16)?);
/// let (mut a, mut b) = (decoder.sequence(), decoder.sequence());
/// // A prompt of three tokens for one, a single token for the other.
/// let logits = decoder.step(&mut [(&mut a, &[1, 2, 3][..]), (&mut b, &[7][..])])?;
/// assert_eq!(logits.of(0).unwrap().unwrap().len(), 11);
/// let second = logits.of(1).unwrap().unwrap().to_vec();
/// assert_eq!(second, model.decoder().step(7)?);
/// assert_eq!((a.position(), b.position()), (3, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BatchDecoder<'a, E: Element> {
    model: &'a Transformer<E>,
    pages: KeyValuePages<E::Wide>,
    rows: PagedRows,
    tokens: Vec<u32>,
    outcomes: Vec<Outcome>,
    /// `[sequences that want them, vocabulary]`, or longer.
    logits: Buffer<E::Wide>,
}

/// What became of one feed.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// Its rows in the step.
    first: usize,
    count: usize,
    /// The row of logits, if wanted.
    logits: Result<Option<usize>, FeedError>,
}

impl<'a, E: Element> BatchDecoder<'a, E> {
    /// A decoder for `model` with its sequences in `pages`. It computes in the parameters' own type.
    ///
    /// # Panics
    /// When `pages` were made for a model of other sizes.
    pub fn new(model: &'a Transformer<E>, pages: KeyValuePages<E::Wide>) -> Self {
        assert!(pages.fits(model.config()), "the pages were made for a model of other sizes");
        Self {
            model,
            pages,
            rows: PagedRows::default(),
            tokens: Vec::new(),
            outcomes: Vec::new(),
            logits: Buffer::unspecified(0),
        }
    }

    /// A sequence without tokens.
    pub fn sequence(&self) -> Sequence {
        self.pages.sequence(self.model.config().context)
    }

    /// The pages of all sequences.
    pub fn pages(&self) -> &KeyValuePages<E::Wide> {
        &self.pages
    }

    /// Feeds every sequence its tokens, and gives the logits of the token after the last of each.
    ///
    /// A feed that cannot be worked on has its error in the logits; its sequence is then as before, and the others go on.
    /// Allocates nothing once as many rows were fed.
    ///
    /// # Errors
    /// When a kernel refuses a shape, which means that the model's parameters were given other lengths. No sequence has advanced then.
    pub fn step<F: Feed>(&mut self, feeds: &mut [F]) -> Result<Logits<'_, E::Wide>, ModelError> {
        self.collect(feeds);
        if !self.tokens.is_empty() {
            self.compute()?;
        }
        for (feed, outcome) in feeds.iter_mut().zip(&self.outcomes) {
            feed.sequence().advance(outcome.count);
        }
        let Self { outcomes, logits, .. } = self;
        Ok(Logits { outcomes, values: logits, vocabulary: self.model.config().vocabulary })
    }

    /// Writes down the rows of the step, and takes the pages that they need.
    fn collect<F: Feed>(&mut self, feeds: &mut [F]) {
        let Self { rows, tokens, outcomes, .. } = self;
        rows.clear();
        tokens.clear();
        outcomes.clear();
        let (mut wanted, mut most) = (0, 0);
        for feed in feeds.iter_mut() {
            let first = self.tokens.len();
            let outcome = match admit(feed, &self.pages, self.model) {
                Err(error) => Outcome { first, count: 0, logits: Err(error) },
                Ok(count) => {
                    let logits = feed.wants_logits().then(|| {
                        wanted += 1;
                        wanted - 1
                    });
                    self.tokens.extend_from_slice(feed.tokens());
                    let sequence = feed.sequence();
                    most = most.max(sequence.pages().len());
                    for position in sequence.position()..sequence.position() + count {
                        self.rows.positions.push(position);
                        self.rows.lengths.push(position + 1);
                        self.rows.places.push(sequence.place(position));
                    }
                    Outcome { first, count, logits: Ok(logits) }
                }
            };
            self.outcomes.push(outcome);
        }
        for (feed, outcome) in feeds.iter_mut().zip(&self.outcomes) {
            let pages = feed.sequence().pages();
            for _ in 0..outcome.count {
                self.rows.tables.extend_from_slice(pages);
                // Entries behind the last page are not looked at.
                self.rows.tables.resize(self.rows.tables.len() + most - pages.len(), u32::MAX);
            }
        }
    }

    /// The pass over all rows.
    fn compute(&mut self) -> Result<(), ModelError> {
        let Self { model, pages, rows, tokens, outcomes, logits } = self;
        let (parameters, width) = (model.parameters(), model.config().width);
        let mut x = Buffer::<E::Wide>::unspecified(tokens.len() * width);
        let (mut next, mut normed) = (Buffer::unspecified(x.len()), Buffer::unspecified(x.len()));
        for ((to, &token), &position) in x.chunks_exact_mut(width).zip(&*tokens).zip(&rows.positions) {
            let row = model.embedding.row(parameters, token as usize)?;
            match &model.positions {
                Some(table) => E::Wide::add(row, table.row(parameters, position)?, to)?,
                None => to.copy_from_slice(row),
            }
        }
        for (layer, block) in model.blocks.iter().enumerate() {
            block.attention_norm.apply(parameters, &x, &mut normed)?;
            block.attention.apply_paged(parameters, pages.layer(layer), rows, &normed, &x, &mut next)?;
            std::mem::swap(&mut x, &mut next);
            block.feed_forward_norm.apply(parameters, &x, &mut normed)?;
            block.feed_forward.apply(parameters, &normed, &x, &mut next)?;
            std::mem::swap(&mut x, &mut next);
        }
        // Only rows whose logits are wanted go through the head.
        let mut wanted = 0;
        for outcome in outcomes.iter().filter(|outcome| matches!(outcome.logits, Ok(Some(_)))) {
            let last = (outcome.first + outcome.count - 1) * width;
            next[wanted * width..][..width].copy_from_slice(&x[last..][..width]);
            wanted += 1;
        }
        if wanted == 0 {
            return Ok(());
        }
        let len = wanted * model.config().vocabulary;
        if logits.len() < len {
            *logits = Buffer::unspecified(len);
        }
        let last = wanted * width;
        model.norm.apply(parameters, &next[..last], &mut normed[..last])?;
        model.head.apply(parameters, &normed[..last], Activation::Identity, None, &mut logits[..len])?;
        Ok(())
    }
}

/// Checks a feed and takes the pages that it needs; gives the number of its rows.
fn admit<E: Element, F: Feed>(
    feed: &mut F,
    pages: &KeyValuePages<E::Wide>,
    model: &Transformer<E>,
) -> Result<usize, FeedError> {
    let (vocabulary, context) = (model.config().vocabulary, model.config().context);
    let count = feed.tokens().len();
    if count == 0 {
        return Err(FeedError::Empty);
    }
    if let Some(&token) = feed.tokens().iter().find(|&&token| token as usize >= vocabulary) {
        return Err(FeedError::Token { token, vocabulary });
    }
    let sequence = feed.sequence();
    if !pages.owns(sequence) {
        return Err(FeedError::Foreign);
    }
    if count > context - sequence.position() {
        return Err(FeedError::Context { positions: sequence.position() + count, context });
    }
    match sequence.reserve(count) {
        Ok(()) => Ok(count),
        Err(error) => Err(FeedError::Pages { needed: error.needed, free: error.free }),
    }
}

/// The logits of a step.
#[derive(Clone, Copy)]
pub struct Logits<'a, T> {
    outcomes: &'a [Outcome],
    values: &'a [T],
    vocabulary: usize,
}

impl<'a, T> Logits<'a, T> {
    /// `[vocabulary]` of the token that follows feed `index`; `None` when they were not wanted.
    ///
    /// # Errors
    /// What was wrong with this feed.
    ///
    /// # Panics
    /// When the step had no such feed.
    pub fn of(&self, index: usize) -> Result<Option<&'a [T]>, FeedError> {
        let row = self.outcomes[index].logits?;
        Ok(row.map(|row| &self.values[row * self.vocabulary..][..self.vocabulary]))
    }
}

/// A feed that a step cannot work on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FeedError {
    /// It has no token.
    Empty,
    /// A token is outside the vocabulary.
    Token {
        /// The token.
        token: u32,
        /// Tokens there are.
        vocabulary: usize,
    },
    /// The sequence would be longer than the model's context.
    Context {
        /// Positions asked for.
        positions: usize,
        /// Positions the model has.
        context: usize,
    },
    /// Too few pages are free; some are when other sequences end.
    Pages {
        /// Pages that the sequence needs now.
        needed: usize,
        /// Pages that are free.
        free: usize,
    },
    /// The sequence is another decoder's.
    Foreign,
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "there are no tokens to feed"),
            Self::Token { token, vocabulary } => {
                write!(f, "token {token} is outside the vocabulary of {vocabulary}")
            }
            Self::Context { positions, context } => {
                write!(f, "{positions} positions do not fit the model's context of {context}")
            }
            Self::Pages { needed, free } => {
                write!(f, "{needed} more pages are needed and {free} are free: end other sequences first, or make more pages")
            }
            Self::Foreign => write!(f, "the sequence belongs to another decoder"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeedError({self})")
    }
}

impl std::error::Error for FeedError {}
