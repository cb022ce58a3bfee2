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

/// The row's name.
pub(super) fn work() -> String {
    format!("{DISPATCHES} dependent dispatches of {SMALL} numbers in one submission")
}

/// Adds 1 to `x`, `DISPATCHES` times, in submissions of `together` dispatches; waits for each where `awaited`, else for the last.
fn add_ones(
    device: &Device,
    x: &Buffer<f32>,
    one: &Buffer<f32>,
    together: usize,
    awaited: bool,
) -> Result<f64, VulkanError> {
    let start = Instant::now();
    let mut last = None;
    for _ in 0..DISPATCHES / together {
        let mut commands = device.commands();
        for _ in 0..together {
            commands.add(x, one, x)?;
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

/// Measures them, in as many rounds.
pub(super) fn run(device: &Device, rounds: usize) -> Result<Vec<Record>, VulkanError> {
    let (x, one) = (device.buffer::<f32>(SMALL)?, device.upload(&[1.0; SMALL])?);
    let ways = [(DISPATCHES, false), (1, false), (1, true)];
    let mut times = [const { Vec::new() }; 3];
    // One round more, which compiles and warms up.
    for round in 0..=rounds {
        for (&(together, awaited), times) in ways.iter().zip(&mut times) {
            let time = add_ones(device, &x, &one, together, awaited)?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    let expected = ((rounds + 1) * ways.len() * DISPATCHES) as f32;
    assert!(x.to_vec()?.iter().all(|&x| x == expected), "every dispatch adds 1");
    let [one, each, awaited] = times.map(median);
    let record = |peer: &'static str, peer_value| Record {
        bench: "vulkan",
        work: work(),
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
