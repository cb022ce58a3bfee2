//! Keys and values of many sequences in pages of one pool: a page holds some positions of one sequence in every layer.
//!
//! The pool's memory is taken once. A sequence takes a page when its last one is full and gives all of them back when it is
//! dropped; nothing is copied when it grows. How pages are read is [`PagedCache`]'s matter; `tests/serving.rs` has the proof.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use upbeat_kernels::attention::{Heads, PagedCache};
use upbeat_kernels::pool::PoolError;
use upbeat_kernels::{Buffer, Element, ShapeError};

use crate::model::Config;

/// Which pages are free.
#[derive(Debug)]
struct Ledger {
    free: Mutex<Vec<u32>>,
    /// All of them.
    pages: usize,
    /// Positions of a page.
    positions: usize,
}

impl Ledger {
    /// Taking and giving pages cannot panic in between, so a list that a panic left is whole.
    fn free(&self) -> MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool: memory for keys and values of a model's layers, cut into pages.
pub struct KeyValuePages<E: Element> {
    /// `[layers, pages, positions, width]`
    keys: Buffer<E>,
    /// `[layers, pages, positions, width]`
    values: Buffer<E>,
    layers: usize,
    width: usize,
    ledger: Arc<Ledger>,
}

impl<E: Element> KeyValuePages<E> {
    /// `pages` pages of `positions` positions each, for models of `config`. They take
    /// `2·layers·pages·positions·width` numbers, at once.
    ///
    /// # Errors
    /// A size of 0, more pages than `u32` counts, or memory that the pool or the system refuses.
    ///
    /// ```
    /// use upbeat_nn::serving::KeyValuePages;
    /// let config = upbeat_nn::Config::modern(65, 256, 64, 2, 4);
    /// let pages = KeyValuePages::<f32>::new(&config, 32, 16)?;
    /// assert_eq!((pages.pages(), pages.positions(), pages.free()), (32, 16, 32));
    /// assert_eq!(pages.bytes(), 2 * 2 * 32 * 16 * 64 * 4);
    /// # Ok::<(), upbeat_nn::serving::PagesError>(())
    /// ```
    pub fn new(config: &Config, pages: usize, positions: usize) -> Result<Self, PagesError> {
        let Config { layers, width, .. } = *config;
        if pages == 0 || positions == 0 {
            return Err(PagesError::Zero { what: if pages == 0 { "pages" } else { "positions of a page" } });
        }
        let most = u32::try_from(pages).map_err(|_| PagesError::TooMany { pages })?;
        // A product that overflows is too large for the pool as well.
        let len =
            [layers, pages, positions, width].iter().fold(1usize, |len, &size| len.saturating_mul(size));
        let (keys, values) = (Buffer::try_unspecified(len)?, Buffer::try_unspecified(len)?);
        // The lowest page is taken first, so that memory is touched only as it is needed.
        let ledger = Ledger { free: Mutex::new((0..most).rev().collect()), pages, positions };
        Ok(Self { keys, values, layers, width, ledger: Arc::new(ledger) })
    }

    /// A sequence without positions. Making it allocates its table; growing does not.
    pub fn sequence(&self, context: usize) -> Sequence {
        let most = context.div_ceil(self.ledger.positions).min(self.ledger.pages);
        Sequence { pages: Vec::with_capacity(most), position: 0, ledger: self.ledger.clone() }
    }

    /// All pages.
    pub fn pages(&self) -> usize {
        self.ledger.pages
    }

    /// Positions of a page.
    pub fn positions(&self) -> usize {
        self.ledger.positions
    }

    /// Pages that no sequence has.
    pub fn free(&self) -> usize {
        self.ledger.free().len()
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> usize {
        2 * size_of_val(&self.keys[..])
    }

    /// Whether a sequence has its pages here.
    pub(super) fn owns(&self, sequence: &Sequence) -> bool {
        Arc::ptr_eq(&self.ledger, &sequence.ledger)
    }

    /// Whether the pool was made for models of these sizes.
    pub(super) fn fits(&self, config: &Config) -> bool {
        (self.layers, self.width) == (config.layers, config.width)
    }

    /// A layer's part of all pages.
    pub(super) fn layer(&mut self, layer: usize) -> LayerPages<'_, E> {
        let Ledger { pages, positions, .. } = *self.ledger;
        let len = pages * positions * self.width;
        let part = layer * len..(layer + 1) * len;
        LayerPages { keys: &mut self.keys[part.clone()], values: &mut self.values[part], pages, positions }
    }
}

/// The positions that a model was fed for one text. Dropping it gives its pages back.
///
/// It may move between threads; a step borrows it alone.
#[derive(Debug)]
pub struct Sequence {
    /// Position `p` is in page `pages[p / positions]`.
    pages: Vec<u32>,
    position: usize,
    ledger: Arc<Ledger>,
}

impl Sequence {
    /// How many tokens were fed.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Takes the pages for `count` more positions. When there are too few, it takes none.
    pub(super) fn reserve(&mut self, count: usize) -> Result<(), OutOfPages> {
        let needed = (self.position + count).div_ceil(self.ledger.positions).saturating_sub(self.pages.len());
        if needed == 0 {
            return Ok(());
        }
        let mut free = self.ledger.free();
        let Some(left) = free.len().checked_sub(needed) else {
            return Err(OutOfPages { needed, free: free.len() });
        };
        self.pages.extend(free.drain(left..).rev());
        Ok(())
    }

    /// `count` positions were written.
    pub(super) fn advance(&mut self, count: usize) {
        self.position += count;
    }

    pub(super) fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Where a position lies among all positions of the pool.
    pub(super) fn place(&self, position: usize) -> usize {
        let positions = self.ledger.positions;
        self.pages[position / positions] as usize * positions + position % positions
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        self.ledger.free().extend(self.pages.drain(..).rev());
    }
}

/// A layer's keys and values.
pub(crate) struct LayerPages<'a, E> {
    keys: &'a mut [E],
    values: &'a mut [E],
    pages: usize,
    positions: usize,
}

impl<E: Copy> LayerPages<'_, E> {
    /// Writes the position at `place`.
    pub(crate) fn write(&mut self, place: usize, key: &[E], value: &[E]) {
        let at = place * key.len()..(place + 1) * key.len();
        self.keys[at.clone()].copy_from_slice(key);
        self.values[at].copy_from_slice(value);
    }

    /// What rows of queries see.
    pub(crate) fn cache<'c>(
        &'c self,
        heads: usize,
        dim: usize,
        rows: &'c PagedRows,
    ) -> Result<PagedCache<'c, E>, ShapeError> {
        let shape = [self.pages, self.positions, heads, dim];
        Ok(PagedCache {
            keys: Heads::new(self.keys, shape)?,
            values: Heads::new(self.values, shape)?,
            pages: &rows.tables,
            lengths: &rows.lengths,
            window: None,
            scale: None,
        })
    }
}

/// Where the rows of a step stand; several may be of one sequence.
#[derive(Debug, Default)]
pub(crate) struct PagedRows {
    /// Position of each row in its sequence.
    pub(crate) positions: Vec<usize>,
    /// Positions that each row sees, its own included.
    pub(super) lengths: Vec<usize>,
    /// Where each row's key and value go, among all positions of the pool.
    pub(crate) places: Vec<usize>,
    /// `[rows, most pages of a sequence]`
    pub(super) tables: Vec<u32>,
}

impl PagedRows {
    pub(super) fn clear(&mut self) {
        self.positions.clear();
        self.lengths.clear();
        self.places.clear();
        self.tables.clear();
    }
}

/// Too few pages are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfPages {
    pub(super) needed: usize,
    pub(super) free: usize,
}

/// A pool that cannot be made.
#[derive(Clone, PartialEq, Eq)]
pub enum PagesError {
    /// A size is 0.
    Zero {
        /// Which one.
        what: &'static str,
    },
    /// More pages than their numbers count.
    TooMany {
        /// Pages asked for.
        pages: usize,
    },
    /// There is no memory for them.
    Memory(PoolError),
}

impl fmt::Display for PagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { what } => write!(f, "the number of {what} must not be zero"),
            Self::TooMany { pages } => {
                write!(f, "{pages} pages are too many: at most {} are counted", u32::MAX)
            }
            Self::Memory(error) => {
                write!(f, "there is no memory for the key and value pages, so ask for fewer: {error}")
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for PagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PagesError({self})")
    }
}

impl std::error::Error for PagesError {}

impl From<PoolError> for PagesError {
    fn from(error: PoolError) -> Self {
        Self::Memory(error)
    }
}
