//! What submissions cost: dependent small dispatches in one of them, beside one each.

use std::time::Instant;

use upbeat_vulkan::{Buffer, Device, VulkanError};

use super::measure::median;
use crate::bench::record::Record;

/// Dependent dispatches, the work of must 3.
const DISPATCHES: usize = 100;
/// Numbers of a small dispatch.
const SMALL: usize = 64;
/// One submission for all of them is to take at most this part of one each.
const SUBMIT_GOAL: f64 = 0.2;

/// What a dispatch does.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// Adds 1: such steps are merged.
    Addition,
    /// A softmax of all numbers, which stays alone.
    Softmax,
}

impl Step {
    fn work(self) -> String {
        let name = match self {
            Self::Addition => "additions",
            Self::Softmax => "softmaxes",
        };
        format!("{DISPATCHES} dependent dispatches ({name} of {SMALL} numbers) in one submission")
    }
}

/// The rows' names.
pub(super) fn works() -> [String; 2] {
    [Step::Addition, Step::Softmax].map(Step::work)
}

/// Does `step` on `x`, `DISPATCHES` times, in submissions of `together` dispatches; waits for each where `awaited`, else for the last.
fn round(
    device: &Device,
    step: Step,
    x: &[Buffer<f32>; 2],
    one: &Buffer<f32>,
    together: usize,
    awaited: bool,
) -> Result<f64, VulkanError> {
    let start = Instant::now();
    let mut last = None;
    for submission in 0..DISPATCHES / together {
        let mut commands = device.commands();
        for dispatch in 0..together {
            match step {
                Step::Addition => commands.add(&x[0], one, &x[0])?,
                Step::Softmax => {
                    let from = (submission * together + dispatch) % 2;
                    commands.softmax(&x[from], SMALL, &x[1 - from])?
                }
            };
        }
        let done = commands.submit()?;
        if awaited {
            done.wait()?;
        } else {
            last = Some(done);
        }
    }
    last.map_or(Ok(()), |done| done.wait())?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

/// Measures the work called `work`, in as many rounds.
pub(super) fn run(device: &Device, work: &str, rounds: usize) -> Result<Vec<Record>, VulkanError> {
    let step = if work == Step::Softmax.work() { Step::Softmax } else { Step::Addition };
    let (x, one) = (device.buffer::<f32>(SMALL)?, device.upload(&[1.0; SMALL])?);
    let x = [x, device.buffer::<f32>(SMALL)?];
    let ways = [(DISPATCHES, false), (1, false), (1, true)];
    let mut times = [const { Vec::new() }; 3];
    // One round more, which compiles and warms up.
    for at in 0..=rounds {
        for (&(together, awaited), times) in ways.iter().zip(&mut times) {
            let time = round(device, step, &x, &one, together, awaited)?;
            if at > 0 {
                times.push(time);
            }
        }
    }
    let found = x[0].to_vec()?;
    match step {
        Step::Addition => {
            let expected = ((rounds + 1) * ways.len() * DISPATCHES) as f32;
            assert!(found.iter().all(|&x| x == expected), "every dispatch adds 1");
        }
        // Equal numbers give equal shares.
        Step::Softmax => assert!(found.iter().all(|&x| x == 1.0 / SMALL as f32), "{found:?}"),
    }
    let [one, each, awaited] = times.map(median);
    let record = |peer: &'static str, peer_value| Record {
        bench: "vulkan",
        work: work.to_owned(),
        unit: "us",
        value: one,
        limit: None,
        peer: Some(peer.into()),
        peer_value: Some(peer_value),
        goal: Some(SUBMIT_GOAL),
        met: Some(one <= SUBMIT_GOAL * peer_value),
    };
    Ok(vec![
        record("a submission each, the last awaited", each),
        record("a submission each, each awaited", awaited),
    ])
}
