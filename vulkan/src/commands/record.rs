//! Lists of work as a command buffer: barriers, pipelines, push constants, dispatches.

use ash::vk;

use super::{Access, Hazards, Piece, Work};
use crate::device::Inner;
use crate::pipeline::Kernel;

/// What a command buffer has.
#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) dispatches: u64,
    /// Those that are steps of another.
    pub(crate) merged: u64,
    pub(crate) transfers: u64,
    pub(crate) barriers: u64,
    /// The kernels in order, where they are measured: each has two ticks.
    pub(crate) measured: Vec<Kernel>,
}

/// What barriers name: where work of ours runs, and what it does to memory.
pub(crate) struct Scope {
    pub(crate) stages: vk::PipelineStageFlags2,
    writes: vk::AccessFlags2,
    reads: vk::AccessFlags2,
}

impl Scope {
    /// Of a queue that only copies: it knows no other stages.
    pub(crate) const COPIES: Self = Self {
        stages: vk::PipelineStageFlags2::ALL_TRANSFER,
        writes: vk::AccessFlags2::TRANSFER_WRITE,
        reads: vk::AccessFlags2::TRANSFER_READ,
    };
    /// Of a queue that computes, too.
    pub(crate) const COMPUTE: Self = Self {
        stages: vk::PipelineStageFlags2::from_raw(
            Self::COPIES.stages.as_raw() | vk::PipelineStageFlags2::COMPUTE_SHADER.as_raw(),
        ),
        writes: vk::AccessFlags2::from_raw(
            Self::COPIES.writes.as_raw() | vk::AccessFlags2::SHADER_STORAGE_WRITE.as_raw(),
        ),
        reads: vk::AccessFlags2::from_raw(
            Self::COPIES.reads.as_raw() | vk::AccessFlags2::SHADER_STORAGE_READ.as_raw(),
        ),
    };

    /// Before what comes next.
    fn barrier(&self, device: &Inner, to: vk::CommandBuffer) {
        self.barrier_before(device, to, self.stages, self.writes | self.reads);
    }

    /// Before the host reads.
    fn barrier_before_host(&self, device: &Inner, to: vk::CommandBuffer) {
        self.barrier_before(device, to, vk::PipelineStageFlags2::HOST, vk::AccessFlags2::HOST_READ);
    }

    fn barrier_before(
        &self,
        device: &Inner,
        to: vk::CommandBuffer,
        stages: vk::PipelineStageFlags2,
        access: vk::AccessFlags2,
    ) {
        let barriers = [vk::MemoryBarrier2::default()
            .src_stage_mask(self.stages)
            .src_access_mask(self.writes)
            .dst_stage_mask(stages)
            .dst_access_mask(access)];
        let dependency = vk::DependencyInfo::default().memory_barriers(&barriers);
        // SAFETY: the command buffer is being recorded, for a queue that knows the stages, and synchronization2 is enabled.
        unsafe { device.raw.cmd_pipeline_barrier2(to, &dependency) };
    }
}

/// Records `pieces` in order into `to`, which is being recorded; `pipelines` are those of the dispatches. With `queries`, each
/// dispatch writes two of them.
#[allow(clippy::too_many_arguments)]
pub(crate) fn record(
    device: &Inner,
    scope: &Scope,
    to: vk::CommandBuffer,
    pieces: &[Piece<'_>],
    pipelines: &[vk::Pipeline],
    hazards: &mut Hazards,
    queries: Option<vk::QueryPool>,
) -> Recorded {
    let layout = device.pipelines.layout();
    let mut pipelines = pipelines.iter().copied();
    let mut bound = None;
    let mut recorded = Recorded::default();
    let mut host_reads = false;
    let mut ranges = Vec::new();
    for piece in pieces {
        ranges.clear();
        ranges.extend(
            piece.operands().map(|operand| (operand.block().id, operand.range.clone(), operand.access)),
        );
        if hazards.next(&ranges) {
            scope.barrier(device, to);
            recorded.barriers += 1;
        }
        host_reads |= piece.operands().any(|o| o.access == Access::Write && o.block().has_host_access());
        // The addresses of now, with the queue's lock: blocks may have moved since a dispatch was added.
        let (kernel, push, [x, y, z]) = match piece {
            Piece::Steps(chain) => {
                recorded.merged += chain.len() as u64 - 1;
                recorded.dispatches += chain.len() as u64;
                (chain.kernel().0, chain.push_constants(), [1, 1, 1])
            }
            Piece::Work(Work::Dispatch(dispatch)) => {
                recorded.dispatches += 1;
                (dispatch.kernel, dispatch.push_constants(), dispatch.groups)
            }
            Piece::Work(Work::Copy { from, to: target }) => {
                let region = [vk::BufferCopy {
                    src_offset: from.range.start,
                    dst_offset: target.range.start,
                    size: from.range.end - from.range.start,
                }];
                // SAFETY: the command buffer is being recorded, both ranges are within their buffers and as long.
                unsafe { device.raw.cmd_copy_buffer(to, from.block().raw(), target.block().raw(), &region) };
                recorded.transfers += 1;
                continue;
            }
            Piece::Work(Work::Fill { to: target, word }) => {
                let (at, bytes) = (target.range.start, target.range.end - target.range.start);
                // SAFETY: the command buffer is being recorded, the range is in the buffer and of whole words.
                unsafe { device.raw.cmd_fill_buffer(to, target.block().raw(), at, bytes, *word) };
                recorded.transfers += 1;
                continue;
            }
            Piece::Work(Work::Move { block, to: target }) => {
                let region = [vk::BufferCopy { src_offset: 0, dst_offset: 0, size: block.block().bytes }];
                // SAFETY: the command buffer is being recorded; both buffers have that many bytes, and none in common.
                unsafe { device.raw.cmd_copy_buffer(to, block.block().raw(), target.raw, &region) };
                recorded.transfers += 1;
                continue;
            }
        };
        let pipeline = pipelines.next().expect("one for each dispatch");
        if bound != Some(pipeline) {
            // SAFETY: the command buffer is being recorded; the pipeline lives as long as the device, or until the device is done.
            unsafe { device.raw.cmd_bind_pipeline(to, vk::PipelineBindPoint::COMPUTE, pipeline) };
            bound = Some(pipeline);
        }
        // All of them, though few kernels read all: validation takes what the layout has for what is read.
        // SAFETY: the layout has 128 bytes for the compute stage.
        unsafe { device.raw.cmd_push_constants(to, layout, vk::ShaderStageFlags::COMPUTE, 0, &push) };
        let tick = |number: usize, stage| {
            if let Some(queries) = queries {
                // SAFETY: the pool has two queries for each dispatch and was reset.
                unsafe { device.raw.cmd_write_timestamp2(to, stage, queries, number as u32) };
            }
        };
        let first = 2 * recorded.measured.len();
        tick(first, vk::PipelineStageFlags2::COMPUTE_SHADER);
        // SAFETY: a pipeline is bound; the counts were checked; the kernel stays within its operands, which outlive the work.
        unsafe { device.raw.cmd_dispatch(to, x, y, z) };
        tick(first + 1, vk::PipelineStageFlags2::COMPUTE_SHADER);
        if queries.is_some() {
            recorded.measured.push(kernel);
        }
    }
    if host_reads {
        scope.barrier_before_host(device, to);
    }
    recorded
}
