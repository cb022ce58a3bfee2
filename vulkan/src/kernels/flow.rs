//! Steps of flows on periodic grids.

use bytemuck::{Pod, Zeroable};
use upbeat_kernels::flow::{FlowError, GrayScott, Ricci};

use super::{called, count, product, WORKGROUP};
use crate::commands::{Access, Commands};
use crate::error::VulkanError;
use crate::memory::Buffer;
use crate::pipeline::Kernel;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Reaction {
    rows: u32,
    cols: u32,
    rate_u: f32,
    rate_v: f32,
    feed: f32,
    kept: f32,
    drain: f32,
    dt: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Conformal {
    rows: u32,
    cols: u32,
    rate: f32,
}

impl Commands {
    /// One step of the Gray–Scott reaction, as [`upbeat_kernels::flow::gray_scott`] has it, from the fields `[u, v]` to `[next_u, next_v]`, all
    /// `[rows, cols]` and periodic. `(1, 0)` stays exactly what it is.
    ///
    /// # Errors
    /// What [`GrayScott::check`] refuses; lengths that do not fit; buffers of another device, or that overlap.
    pub fn gray_scott(
        &mut self,
        params: &GrayScott,
        shape: [usize; 2],
        [u, v]: [&Buffer<f32>; 2],
        [next_u, next_v]: [&Buffer<f32>; 2],
    ) -> Result<&mut Self, VulkanError> {
        params.check()?;
        let [rows, cols] = grid(shape, &[("u", u), ("v", v), ("next_u", next_u), ("next_v", next_v)])?;
        let (rate_u, rate_v) = params.rates();
        let feed = (params.feed * params.dt) as f32;
        let parameters = Reaction {
            rows,
            cols,
            rate_u: rate_u as f32,
            rate_v: rate_v as f32,
            feed,
            kept: 1.0 - feed,
            drain: (-(params.feed + params.kill) * params.dt) as f32,
            dt: params.dt as f32,
        };
        let read = [u, v].map(|field| field.operand(Access::Read));
        let [read_u, read_v] = read;
        let groups = self.groups_for_grid(rows, cols);
        self.dispatch(
            Kernel::PatternCompute,
            &[WORKGROUP],
            groups,
            &[read_u, read_v, next_u.operand(Access::Write), next_v.operand(Access::Write)],
            bytemuck::bytes_of(&parameters),
        )
        .map_err(called("gray_scott"))
    }

    /// One step of conformal Ricci flow, as [`upbeat_kernels::flow::ricci`] has it, from `w` to `next`, both `[rows, cols]` and periodic.
    ///
    /// `least` is what `w` is nowhere below: the step is checked against it. It never falls, so the smallest number of the first `w` does for
    /// all steps; that it is true is the caller's word, as asking the device would stop it.
    ///
    /// # Errors
    /// What [`Ricci::check`] refuses; lengths that do not fit; buffers of another device, or that overlap.
    pub fn ricci(
        &mut self,
        params: &Ricci,
        least: f64,
        shape: [usize; 2],
        w: &Buffer<f32>,
        next: &Buffer<f32>,
    ) -> Result<&mut Self, VulkanError> {
        params.check(least)?;
        let [rows, cols] = grid(shape, &[("w", w), ("next", next)])?;
        let groups = self.groups_for_grid(rows, cols);
        self.dispatch(
            Kernel::FlowCompute,
            &[WORKGROUP],
            groups,
            &[w.operand(Access::Read), next.operand(Access::Write)],
            bytemuck::bytes_of(&Conformal { rows, cols, rate: params.rate() as f32 }),
        )
        .map_err(called("ricci"))
    }

    /// A workgroup for each `WORKGROUP` cells of a row; kernels stride over rows beyond what there may be.
    fn groups_for_grid(&self, rows: u32, cols: u32) -> [u32; 3] {
        [cols.div_ceil(WORKGROUP), rows.min(self.device().limits().groups[1]), 1]
    }
}

/// That the fields hold the grid.
fn grid([rows, cols]: [usize; 2], fields: &[(&'static str, &Buffer<f32>)]) -> Result<[u32; 2], VulkanError> {
    let len = product("the grid", &[rows, cols])?;
    for (what, field) in fields {
        Commands::check(what, len, field.len())?;
    }
    Ok([count("the number of rows", rows)?, count("the number of columns", cols)?])
}

impl From<FlowError> for VulkanError {
    fn from(error: FlowError) -> Self {
        Self::Flow(error)
    }
}
