//! What a transformer is made of, and whether that makes sense. Errors are one clear sentence each.

use std::fmt;

/// Which normalisation stands before each part of a block and before the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// RMSNorm (Zhang and Sennrich, 2019).
    Rms,
    /// LayerNorm with a gain and no bias.
    Layer,
}

/// Which feed-forward part a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedForward {
    /// `down(SiLU(gate(x)) · up(x))` (Shazeer, 2020): three matrices.
    SwiGlu,
    /// `down(GELU(up(x)))`, exact GELU: two matrices.
    Gelu,
}

/// How the model knows where a token stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Positions {
    /// Queries and keys are turned by their position (Su et al., 2021).
    Rotary {
        /// Base of the frequencies, 10000 by custom.
        base: f64,
    },
    /// A trained table `[context, width]` is added to the tokens' embeddings.
    Learned,
}

/// The shape of a pre-norm, decoder-only transformer with tied embeddings and no biases.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Distinct tokens.
    pub vocabulary: usize,
    /// Most positions of a sequence.
    pub context: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads; they divide the width.
    pub heads: usize,
    /// Width inside the feed-forward part.
    pub hidden: usize,
    /// Normalisation.
    pub norm: Norm,
    /// Feed-forward part.
    pub feed_forward: FeedForward,
    /// Positions.
    pub positions: Positions,
    /// Added to a row's variance or mean square under the root.
    pub norm_epsilon: f64,
}

impl Config {
    /// The character-level GPT of nanoGPT with `bias = False`: 10.7M parameters, bias-free LayerNorm, GELU, learned
    /// positions.
    pub fn gpt_char() -> Self {
        Self {
            vocabulary: 65,
            context: 256,
            width: 384,
            layers: 6,
            heads: 6,
            hidden: 4 * 384,
            norm: Norm::Layer,
            feed_forward: FeedForward::Gelu,
            positions: Positions::Learned,
            norm_epsilon: 1e-5,
        }
    }

    /// A model of the modern kind (RMSNorm, SwiGLU, rotary positions) of any size; the hidden width is 8/3 of the
    /// width, rounded up to a multiple of 32, so that three matrices cost what two of four times the width would.
    pub fn modern(vocabulary: usize, context: usize, width: usize, layers: usize, heads: usize) -> Self {
        Self {
            vocabulary,
            context,
            width,
            layers,
            heads,
            hidden: (width.saturating_mul(8) / 3).div_ceil(32).saturating_mul(32),
            norm: Norm::Rms,
            feed_forward: FeedForward::SwiGlu,
            positions: Positions::Rotary { base: 10_000.0 },
            norm_epsilon: 1e-5,
        }
    }

    /// Checks every condition that [`Transformer::new`](super::Transformer::new) relies on, memory aside.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (what, size) in [
            ("vocabulary", self.vocabulary),
            ("context", self.context),
            ("width", self.width),
            ("number of layers", self.layers),
            ("number of heads", self.heads),
            ("hidden width", self.hidden),
        ] {
            if size == 0 {
                return Err(ConfigError::Zero { what });
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(ConfigError::Heads { heads: self.heads, width: self.width });
        }
        let dim = self.width / self.heads;
        if let Positions::Rotary { base } = self.positions {
            if !dim.is_multiple_of(2) {
                return Err(ConfigError::OddHead { dim });
            }
            if !(base.is_finite() && base > 1.0) {
                return Err(ConfigError::RotaryBase { base });
            }
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon > 0.0) {
            return Err(ConfigError::Epsilon { epsilon: self.norm_epsilon });
        }
        if u32::try_from(self.vocabulary).is_err() {
            return Err(ConfigError::Overflow { what: "vocabulary" });
        }
        self.checked_parameter_count().map(|_| ())
    }

    /// Parameters of a valid configuration, or which part makes them too many to address.
    pub(crate) fn checked_parameter_count(&self) -> Result<usize, ConfigError> {
        let product = |what, sizes: &[usize]| {
            sizes
                .iter()
                .try_fold(1usize, |product, &size| product.checked_mul(size))
                .filter(|&count| count <= MAX_PARAMETERS)
                .ok_or(ConfigError::Overflow { what })
        };
        let matrices = match self.feed_forward {
            FeedForward::SwiGlu => 3,
            FeedForward::Gelu => 2,
        };
        let positions = match self.positions {
            Positions::Rotary { .. } => 0,
            Positions::Learned => product("table of positions", &[self.context, self.width])?,
        };
        // Caches and activations of one sequence must be addressable too.
        product("key and value cache", &[self.context, self.width, self.layers, 4])?;
        product("feed-forward activations of a sequence", &[self.context, self.hidden, 4])?;
        product("logits of a sequence", &[self.context, self.vocabulary])?;
        let attention = product("attention", &[4, self.width, self.width])?;
        let feed_forward = product("feed-forward part", &[matrices, self.width, self.hidden])?;
        let norms = product("norms", &[2, self.width])?;
        let block = attention + feed_forward + norms;
        let blocks = product("stack of layers", &[self.layers, block])?;
        let embedding = product("embedding", &[self.vocabulary, self.width])?;
        product("model", &[blocks + embedding + positions + self.width])
    }
}

/// Parameters, their gradients and two moments in f64 stay below `isize::MAX` bytes.
const MAX_PARAMETERS: usize = isize::MAX as usize / 64;

/// A configuration that no model can have.
#[derive(Clone, PartialEq)]
pub enum ConfigError {
    /// A size is zero.
    Zero {
        /// Which one.
        what: &'static str,
    },
    /// The heads do not divide the width.
    Heads {
        /// Heads asked for.
        heads: usize,
        /// Width asked for.
        width: usize,
    },
    /// Rotary positions turn pairs, and a head has an odd width.
    OddHead {
        /// Width of a head.
        dim: usize,
    },
    /// The base of the rotary frequencies is not a number above 1.
    RotaryBase {
        /// What was asked for.
        base: f64,
    },
    /// The norms' epsilon is not a positive number.
    Epsilon {
        /// What was asked for.
        epsilon: f64,
    },
    /// A size is too large to address.
    Overflow {
        /// Which part of the model.
        what: &'static str,
    },
    /// The system has not enough memory for the parameters.
    Memory {
        /// Bytes the parameters take.
        bytes: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { what } => write!(f, "the {what} must not be zero"),
            Self::Heads { heads, width } => {
                write!(f, "{heads} heads do not divide a width of {width}")
            }
            Self::OddHead { dim } => {
                write!(f, "rotary positions need heads of even width, and a head is {dim} wide")
            }
            Self::RotaryBase { base } => {
                write!(f, "the base of rotary positions must be a number above 1, not {base}")
            }
            Self::Epsilon { epsilon } => {
                write!(f, "the epsilon of the norms must be a positive number, not {epsilon}")
            }
            Self::Overflow { what } => write!(f, "the {what} is too large to address"),
            Self::Memory { bytes } => write!(f, "there is not enough memory for {bytes} bytes of parameters"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigError({self})")
    }
}

impl std::error::Error for ConfigError {}
