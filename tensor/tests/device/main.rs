//! What is promised of a Vulkan device as a whole: submissions, memory, faults. One test at a time, each with a device of its own.

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod memory;
mod order;

use std::sync::{Mutex, MutexGuard, PoisonError};

use upbeat_tensor::Opened;
use upbeat_vulkan::Options;

/// The device, which nobody else has open meanwhile.
struct Alone {
    opened: Opened,
    _turn: MutexGuard<'static, ()>,
}

/// Bytes that numbers travel through in each direction, and blocks of that.
const STAGING: u64 = 64 << 10;
const BLOCKS: u64 = 4;

fn alone_with(options: &Options) -> Option<Alone> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Some(Alone { opened: support::open(&options.clone().staging(STAGING as usize))?, _turn: turn })
}

/// The device as it is, then as one whose memory the host does not touch.
fn each_kind() -> impl Iterator<Item = Alone> {
    [false, true].into_iter().filter_map(|staged| alone_with(&support::options().always_stage(staged)))
}

impl Alone {
    fn device(&self) -> upbeat_tensor::Device {
        self.opened.device()
    }

    fn vulkan(&self) -> &upbeat_vulkan::Device {
        self.opened.vulkan().expect("it is no CPU")
    }

    /// Bytes of tensors, which must be less than a block that numbers travel through: the device keeps some of those for itself.
    fn bytes(&self) -> u64 {
        let used = self.vulkan().memory().used;
        assert!(used < 2 * STAGING + STAGING / BLOCKS, "{used} bytes");
        used % (STAGING / BLOCKS)
    }

    fn submissions(&self) -> u64 {
        self.vulkan().metrics().submissions
    }

    fn dispatches(&self) -> u64 {
        self.vulkan().metrics().dispatches
    }
}
