//! Multi-head attention in f32: forward, backward, and decoding against a key/value cache.
//!
//! [`Attention`] takes views of queries, keys and values ([`Heads`]) and says what queries see ([`Mask`]: everything,
//! causal, a window), what is added to logits ([`Bias`]), and where sequences of several lengths begin. Fewer key and
//! value heads than query heads are shared by neighbours. The functions of this module are those of
//! [`Element`](crate::Element), for projections packed into one tensor.
//!
//! Flash style (Dao et al., 2022): blocks of queries meet blocks of keys, the softmax is taken online, only the log of
//! each row's sum is kept, and the backward pass recomputes the probabilities. Keys that no query of a panel (as many
//! queries as two vectors have lanes) sees are skipped.
//!
//! A row's bits depend on its sequence, its head and its position there alone: not on the batch, the strides, the other
//! queries that are computed with it, or the number of workers.
//!
//! Logits of `-∞` have probability 0; a row of nothing else, or that sees nothing, gives zeros and a sum of `-∞`. A row
//! with a NaN or `+∞` logit is NaN, and so may be one that sees a value of probability 0 which is not finite. In the
//! forward pass nothing a row does not see by its mask can change it, not even a NaN (what a bias of `-∞` hides must be
//! finite); in the backward pass a NaN or infinity reaches every gradient of its head.

mod adaptive;
mod backward;
mod chunk;
mod decode;
mod forward;
mod mask;
mod packed;
mod problem;
mod softmax;
mod view;

pub use adaptive::{Adapted, Resolution, Summary, QUERIES as ADAPTIVE_QUERIES, TILE as ADAPTIVE_TILE};
pub use backward::{Gradients, Saved};
pub use decode::{decode, PagedCache};
pub use mask::Mask;
pub use packed::{backward, forward};
pub use problem::Attention;
pub use view::{Bias, Heads, HeadsMut};

pub(crate) use backward::check_backward;
pub(crate) use packed::{layout as packed_layout, problem as packed_problem};
pub(crate) use problem::{check_shape, Head, Items, Problem};
pub(crate) use view::Rows;
