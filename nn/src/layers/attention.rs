//! Causal self-attention: packed projections, optional rotary positions, attention, and the projection back, which
//! adds the residual.

use upbeat_kernels::{Activation, AttentionShape, Buffer, DecodeElement, Element, RopeShape, ShapeError};

use super::Linear;
use crate::model::{Config, Positions};
use crate::parameter::{Parameter, ParameterList};
use crate::serving::{LayerPages, PagedRows};
use crate::tape::{Tape, Var};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    pub(crate) qkv: Linear,
    pub(crate) out: Linear,
    heads: usize,
    dim: usize,
    rotary_base: Option<f64>,
}

/// Positions that a cache has room for at first.
const FIRST_POSITIONS: usize = 64;

/// Keys and values of the positions decoded so far. The room doubles when it is full, up to the context: what a model
/// *could* read, which is but a number in its settings, takes no memory.
pub(crate) struct Cache<E: Element> {
    /// `[room, width]`
    keys: Buffer<E>,
    /// `[room, width]`
    values: Buffer<E>,
    /// `context · width`: the room never exceeds it.
    most: usize,
}

impl<E: Element> Cache<E> {
    pub(crate) fn new(config: &Config) -> Self {
        let len = config.context.min(FIRST_POSITIONS) * config.width;
        let most = config.context * config.width;
        Self { keys: Buffer::unspecified(len), values: Buffer::unspecified(len), most }
    }

    /// Writes the row that follows `start` numbers, and makes room for it where there is none.
    fn write(&mut self, start: usize, key: &[E], value: &[E]) {
        let end = start + key.len();
        for (rows, row) in [(&mut self.keys, key), (&mut self.values, value)] {
            if rows.len() < end {
                let mut wider = Buffer::unspecified((2 * rows.len()).min(self.most));
                wider[..start].copy_from_slice(&rows[..start]);
                *rows = wider;
            }
            rows[start..end].copy_from_slice(row);
        }
    }
}

impl Attention {
    pub(crate) fn new<E: Element>(list: &mut ParameterList<E>, name: &str, config: &Config) -> Self {
        let width = config.width;
        Self {
            qkv: Linear::new(list, &format!("{name}.qkv"), width, 3 * width),
            out: Linear::new(list, &format!("{name}.out"), width, width),
            heads: config.heads,
            dim: width / config.heads,
            rotary_base: match config.positions {
                Positions::Rotary { base } => Some(base),
                Positions::Learned => None,
            },
        }
    }

    /// `residual + attention(x)`; `x` and the residual are `[batch·seq, width]`. Both may be released afterwards.
    pub(crate) fn forward<'a, E: Element>(
        &self,
        tape: &mut Tape<'a, E>,
        parameters: &'a [Parameter<E::Wide>],
        x: Var,
        residual: Var,
        seq: usize,
    ) -> Result<Var, ShapeError> {
        let batch = tape.shape(x).rows() / seq.max(1);
        let mut qkv = self.qkv.forward(tape, parameters, x, None)?;
        if let Some(shape) = self.rope(seq, 0) {
            let turned = tape.rope(qkv, shape)?;
            tape.release(qkv);
            qkv = turned;
        }
        let shape = AttentionShape { batch, seq, heads: self.heads, dim: self.dim, causal: true };
        let mixed = tape.attention(qkv, shape)?;
        tape.release(qkv);
        let out = self.out.forward(tape, parameters, mixed, Some(residual))?;
        tape.release(mixed);
        Ok(out)
    }

    /// `out = residual + attention(x)` of the row at `position`, whose key and value join the cache.
    /// `x`, the residual and `out` are `[width]`; scratch is taken from the pool.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn apply<E: Element>(
        &self,
        parameters: &[Parameter<E>],
        cache: &mut Cache<E>,
        position: usize,
        x: &[E],
        residual: &[E],
        out: &mut [E],
    ) -> Result<(), ShapeError> {
        let width = self.heads * self.dim;
        let mut qkv = Buffer::unspecified(3 * width);
        self.qkv.apply(parameters, x, Activation::Identity, None, &mut qkv)?;
        if let Some(shape) = self.rope(1, position) {
            let mut turned = Buffer::unspecified(3 * width);
            E::rope_forward(&qkv, shape, &mut turned)?;
            qkv = turned;
        }
        let (query, rest) = qkv.split_at(width);
        let (key, value) = rest.split_at(width);
        let end = (position + 1) * width;
        cache.write(end - width, key, value);
        let mut mixed = Buffer::unspecified(width);
        let (keys, values) = (&cache.keys[..end], &cache.values[..end]);
        E::attention_decode(self.heads, self.dim, query, keys, values, &mut mixed)?;
        self.out.apply(parameters, &mixed, Activation::Identity, Some(residual), out)
    }

    /// `out = residual + attention(x)` of rows of many sequences, whose keys and values join their pages. `x`, the residual and `out`
    /// are `[rows, width]`; scratch is taken from the pool. Each row's bits are those that [`apply`](Self::apply) gives it.
    pub(crate) fn apply_paged<E: Element + DecodeElement>(
        &self,
        parameters: &[Parameter<E>],
        mut pages: LayerPages<'_, E>,
        rows: &PagedRows,
        x: &[E],
        residual: &[E],
        out: &mut [E],
    ) -> Result<(), ShapeError> {
        let (width, count) = (self.heads * self.dim, rows.positions.len());
        let mut qkv = Buffer::unspecified(count * 3 * width);
        self.qkv.apply(parameters, x, Activation::Identity, None, &mut qkv)?;
        if let Some(shape) = self.rope(count, 0) {
            let mut turned = Buffer::unspecified(count * 3 * width);
            E::rope_at(&qkv, &rows.positions, shape, &mut turned)?;
            qkv = turned;
        }
        let mut queries = Buffer::unspecified(count * width);
        for ((packed, query), &place) in
            qkv.chunks_exact(3 * width).zip(queries.chunks_exact_mut(width)).zip(&rows.places)
        {
            let (from, rest) = packed.split_at(width);
            let (key, value) = rest.split_at(width);
            query.copy_from_slice(from);
            pages.write(place, key, value);
        }
        let mut mixed = Buffer::unspecified(count * width);
        E::attention_decode_paged(
            &pages.cache(self.heads, self.dim, rows)?,
            self.heads,
            &queries,
            &mut mixed,
        )?;
        self.out.apply(parameters, &mixed, Activation::Identity, Some(residual), out)
    }

    /// How packed rows are turned, if they are: queries and keys, not values.
    fn rope(&self, seq: usize, first: usize) -> Option<RopeShape> {
        let (heads, dim) = (self.heads, self.dim);
        self.rotary_base.map(|base| RopeShape { seq, first, heads: 3 * heads, rotate: 2 * heads, dim, base })
    }
}
