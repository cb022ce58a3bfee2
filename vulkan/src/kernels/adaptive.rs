//! Adaptive attention: tiles of keys by their means where little is lost, with a bound on every output's error.

use bytemuck::{Pod, Zeroable};
use upbeat_kernels::attention::Resolution;
use upbeat_kernels::ShapeError;

use super::flash::{distances, AttentionLayout};
use super::flash_shapes::ROWS;
use super::{called, count, product, WORKGROUP};
use crate::commands::{Access, Commands, Operand};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

/// Keys of a tile, as in `shaders/adaptive.glsl`.
const TILE: usize = 32;

/// Summaries of the whole tiles of 32 keys of each head: means, radii and deviations of keys and values.
#[derive(Clone, Debug)]
pub struct TileSummary {
    numbers: Buffer<f32>,
    batch: usize,
    kv_heads: usize,
    dim: usize,
    tiles: usize,
    /// Keys that the values' reach takes in.
    keys: usize,
}

impl TileSummary {
    /// Whole tiles of each sequence.
    pub fn tiles(&self) -> usize {
        self.tiles
    }
}

/// What [`Commands::attention_adaptive`] leaves, once its commands have run.
#[derive(Debug)]
pub struct Adapted {
    /// `[batch, heads, queries]`: the most by which an output may differ from exact attention, `‖o − ô‖₂`, but for rounding, as on
    /// the CPU ([`Adapted`](upbeat_kernels::attention::Adapted)).
    pub bounds: Buffer<f32>,
    /// `[batch, heads, queries]`: a lower bound of `Ẑ/Z`, the part of the information that was kept.
    pub quality: Buffer<f32>,
    /// `[batch, heads, queries]`: `ln Ẑ`, the log of each row's sum of exponentials over means and keys; `-∞` for who sees nothing.
    pub lse: Buffer<f32>,
    list: Buffer<u32>,
    tiles: usize,
    queries: usize,
}

impl Adapted {
    /// Queries that share a choice: `[batch, heads]` have theirs in blocks of so many.
    pub fn queries_of_a_choice(&self) -> usize {
        self.queries
    }

    /// `[batch, heads, blocks of queries, tiles]`: 1 where a tile was taken for its mean. Waits for the device.
    ///
    /// # Errors
    /// As [`Buffer::to_vec`].
    pub fn coarse(&self) -> Result<Vec<u8>, VulkanError> {
        let list = self.list.to_vec()?;
        let mut marks = vec![0; list.len() / (self.tiles + 1) * self.tiles];
        for (list, marks) in list.chunks_exact(self.tiles + 1).zip(marks.chunks_exact_mut(self.tiles.max(1)))
        {
            list[1..][..list[0] as usize].iter().for_each(|&tile| marks[tile as usize] = 1);
        }
        Ok(marks)
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct OfSummary {
    batch: u32,
    kv_heads: u32,
    tiles: u32,
    first: u32,
    k: [u32; 3],
    v: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct OfCentre {
    batch: u32,
    kv_heads: u32,
    tiles: u32,
    keys: u32,
    v: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct OfRouter {
    batch: u32,
    queries: u32,
    keys: u32,
    heads: u32,
    tiles: u32,
    scale: f32,
    tolerance: f32,
    exact: u32,
    by_count: u32,
    q: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct OfProcessor {
    batch: u32,
    queries: u32,
    keys: u32,
    heads: u32,
    tiles: u32,
    scale: f32,
    q: [u32; 3],
    k: [u32; 3],
    v: [u32; 3],
    out: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct OfCertificate {
    batch: u32,
    queries: u32,
    heads: u32,
    tiles: u32,
    scale: f32,
    q: [u32; 3],
    out: [u32; 3],
}

/// A layout's distances as kernels take them, `[q, k, v, out]`.
fn all_distances(layout: &AttentionLayout) -> [[u32; 3]; 4] {
    let of_q = [layout.batch, layout.queries, layout.heads];
    let of_k = [layout.batch, layout.keys, layout.kv_heads];
    [
        distances(of_q, layout.q),
        distances(of_k, layout.k),
        distances(of_k, layout.v),
        distances(of_q, layout.out),
    ]
}

/// Whether all vectors begin at multiples of four numbers and have whole fours.
fn is_aligned(dim: usize, operands: &[&Operand], distances: &[[u32; 3]]) -> bool {
    dim.is_multiple_of(4)
        && distances.as_flattened().iter().all(|distance| distance % 4 == 0)
        && operands.iter().all(|operand| operand.is_aligned(16))
}

impl Commands {
    /// Summarises the tiles of `k` and `v`, laid out as `layout` says, for [`attention_adaptive`](Self::attention_adaptive).
    ///
    /// # Errors
    /// As [`attention_strided`](Self::attention_strided), of what concerns keys and values; heads of no width; what making a buffer can fail with.
    pub fn summarise_tiles(
        &mut self,
        layout: &AttentionLayout,
        k: &Buffer<f32>,
        v: &Buffer<f32>,
    ) -> Result<TileSummary, VulkanError> {
        let AttentionLayout { batch, keys, kv_heads, dim, .. } = *layout;
        if dim == 0 {
            return Err(ShapeError::Zero { what: "the width of a head" }.into());
        }
        let (q, out) = ("the least length of q", "the least length of out");
        let without = AttentionLayout { queries: 0, ..*layout };
        without.check([
            (q, 0),
            ("the least length of k", k.len()),
            ("the least length of v", v.len()),
            (out, 0),
        ])?;
        let (tiles, fours) = (keys / TILE, dim.div_ceil(4));
        let heads = product("heads of keys", &[batch, kv_heads])?;
        let per_head = product("a summary", &[tiles, 2 * fours + 2])?.saturating_add(fours + 1);
        let numbers = self.device().buffer::<f32>(product("a summary", &[heads, per_head, 4])?)?;
        let summary = TileSummary { numbers, batch, kv_heads, dim, tiles, keys };
        if tiles == 0 {
            return Ok(summary);
        }
        let [_, of_k, of_v, _] = all_distances(layout);
        let (k, v) = (k.operand(Access::Read), v.operand(Access::Read));
        let aligned = is_aligned(dim, &[&k, &v], &[of_k, of_v]);
        let constants = [WORKGROUP, aligned.into(), fours as u32, 4, dim as u32, 1, 0];
        let most = self.device().limits().groups[0] as usize;
        let groups = |items: usize| [items.min(most) as u32, 1, 1];
        let (batch, kv_heads) = (count("the batch", batch)?, count("the number of heads", kv_heads)?);
        let of_summary = OfSummary { batch, kv_heads, tiles: tiles as u32, first: 0, k: of_k, v: of_v };
        let of_centre = OfCentre { batch, kv_heads, tiles: tiles as u32, keys: keys as u32, v: of_v };
        let to = summary.numbers.operand(Access::Write);
        // Both or none: what the second can be refused for, the first one is.
        self.dispatch(
            Kernel::TileSummary,
            &constants,
            groups(heads * tiles),
            &[k, v.clone(), to.clone()],
            bytemuck::bytes_of(&of_summary),
        )
        .map_err(called("summarise_tiles"))?;
        self.dispatch(
            Kernel::TileCentre,
            &constants,
            groups(heads),
            &[v, to],
            bytemuck::bytes_of(&of_centre),
        )
        .map_err(called("summarise_tiles"))?;
        Ok(summary)
    }

    /// Attention as `layout` says at a [`Resolution`]: tiles of 32 keys whose logits hardly vary are taken for their means, the others are
    /// exact, and so is what `summary` does not have whole. See `docs/adaptive-attention.md`; on the CPU it is
    /// [`Attention::adaptive`](upbeat_kernels::attention::Attention::adaptive). Numbers are f32. A tolerance that is not above 0 is exact.
    ///
    /// ```no_run
    /// # fn attend(device: &upbeat_vulkan::Device) -> Result<(), upbeat_vulkan::VulkanError> {
    /// use upbeat_kernels::attention::Resolution;
    /// use upbeat_vulkan::AttentionLayout;
    ///
    /// let layout = AttentionLayout { causal: true, ..AttentionLayout::dense(1, 4096, 4096, 8, 8, 64) };
    /// let [q, k, v, out] = [0; 4].map(|_| device.buffer::<f32>(4096 * 8 * 64));
    /// let (q, k, v, out) = (q?, k?, v?, out?);
    /// let mut commands = device.commands();
    /// let summary = commands.summarise_tiles(&layout, &k, &v)?;
    /// let done = commands.attention_adaptive(&layout, Resolution::Tolerance(0.05), &summary, &q, &k, &v, &out)?;
    /// commands.submit()?.wait()?;
    /// println!("no output is farther off than {:?}", done.bounds.to_vec()?.into_iter().reduce(f32::max));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`attention_strided`](Self::attention_strided); a summary of another batch, number of heads, width or number of keys; what making
    /// buffers can fail with. Then nothing was added.
    #[allow(clippy::too_many_arguments)]
    pub fn attention_adaptive(
        &mut self,
        layout: &AttentionLayout,
        resolution: Resolution,
        summary: &TileSummary,
        q: &Buffer<f32>,
        k: &Buffer<f32>,
        v: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<Adapted, VulkanError> {
        let AttentionLayout { batch, queries, keys, heads, kv_heads, dim, causal, scale, .. } = *layout;
        layout.check([
            ("the least length of q", q.len()),
            ("the least length of k", k.len()),
            ("the least length of v", v.len()),
            ("the least length of out", out.len()),
        ])?;
        Self::check("the batch of the summary", batch, summary.batch)?;
        Self::check("the heads of the summary", kv_heads, summary.kv_heads)?;
        Self::check("the width of the summary", dim, summary.dim)?;
        Self::check("the keys of the summary", keys, summary.keys)?;
        let exact = resolution == Resolution::Exact
            || matches!(resolution, Resolution::Tolerance(most) if most.is_nan() || most <= 0.0);
        let tiles = if exact { 0 } else { summary.tiles };
        let rows = layout.rows(ROWS[0], self.device().limits().shared_bytes) as usize;
        let blocks = queries.div_ceil(8 * rows);
        let items = product("tiles of queries", &[batch, heads, blocks])?;
        let of_rows = product("queries", &[batch, heads, queries])?;
        let list_len = product("lists of tiles", &[items, tiles + 1])?;
        let device = self.device().clone();
        let adapted = Adapted {
            bounds: device.buffer(of_rows)?,
            quality: device.buffer(of_rows)?,
            lse: device.buffer(of_rows)?,
            list: device.buffer(list_len)?,
            tiles,
            queries: 8 * rows,
        };
        let shares = device.buffer::<f32>(items * tiles)?;

        let [of_q, of_k, of_v, of_out] = all_distances(layout);
        let (q, out_read) = (q.operand(Access::Read), out.operand(Access::Read));
        let (k, v) = (k.operand(Access::Read), v.operand(Access::Read));
        let aligned = is_aligned(dim, &[&q, &k, &v, &out_read], &[of_q, of_k, of_v, of_out]);
        let shared_by = (heads / kv_heads.max(1)) as u32;
        let constants = [
            WORKGROUP,
            aligned.into(),
            dim.div_ceil(4) as u32,
            rows as u32,
            dim as u32,
            shared_by,
            causal.into(),
        ];
        let most = device.limits().groups[0] as usize;
        let groups = [items.min(most) as u32, 1, 1];
        // Lengths fit buffers: where there are vectors, so do their numbers and distances.
        let (batch, heads) = (count("the batch", batch)?, count("the number of heads", heads)?);
        let (queries, keys, tiles) = (queries as u32, keys as u32, tiles as u32);
        let scale = scale.unwrap_or_else(|| (1.0 / (dim.max(1) as f64).sqrt()) as f32);
        let summaries = summary.numbers.operand(Access::Read);
        let (lse, list) = (&adapted.lse, &adapted.list);

        // All or nothing.
        let mut work = device.commands();
        if tiles > 0 {
            let (tolerance, exact, by_count) = match resolution {
                Resolution::Tolerance(most) => (most, 0, 0),
                Resolution::Budget(exact) => (0.0, exact.min(tiles as usize) as u32, 1),
                Resolution::Exact => unreachable!("it has no tiles"),
            };
            let of_router =
                OfRouter { batch, queries, keys, heads, tiles, scale, tolerance, exact, by_count, q: of_q };
            let operands =
                [q.clone(), summaries.clone(), list.operand(Access::Write), shares.operand(Access::Write)];
            work.dispatch(
                Kernel::CrossTileRouter,
                &constants,
                groups,
                &operands,
                bytemuck::bytes_of(&of_router),
            )
            .map_err(called("attention_adaptive"))?;
        }
        let of_processor =
            OfProcessor { batch, queries, keys, heads, tiles, scale, q: of_q, k: of_k, v: of_v, out: of_out };
        let operands = [
            q.clone(),
            k,
            v,
            summaries.clone(),
            list.operand(Access::Read),
            out.operand(Access::Write),
            lse.operand(Access::Write),
        ];
        work.dispatch(
            Kernel::TileProcessor,
            &constants,
            groups,
            &operands,
            bytemuck::bytes_of(&of_processor),
        )
        .map_err(called("attention_adaptive"))?;
        let of_certificate = OfCertificate { batch, queries, heads, tiles, scale, q: of_q, out: of_out };
        let operands = [
            q,
            summaries,
            list.operand(Access::Read),
            out_read,
            lse.operand(Access::Read),
            adapted.bounds.operand(Access::Write),
            adapted.quality.operand(Access::Write),
        ];
        work.dispatch(
            Kernel::TileCertificate,
            &constants,
            groups,
            &operands,
            bytemuck::bytes_of(&of_certificate),
        )
        .map_err(called("attention_adaptive"))?;
        self.append(work)?;
        Ok(adapted)
    }
}
