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

fn alone_with(options: &Options) -> Option<Alone> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Some(Alone { opened: support::open(options)?, _turn: turn })
}

fn alone() -> Option<Alone> {
    alone_with(&support::options())
}

impl Alone {
    fn device(&self) -> upbeat_tensor::Device {
        self.opened.device()
    }

    fn vulkan(&self) -> &upbeat_vulkan::Device {
        self.opened.vulkan().expect("it is no CPU")
    }

    fn submissions(&self) -> u64 {
        self.vulkan().metrics().submissions
    }

    fn dispatches(&self) -> u64 {
        self.vulkan().metrics().dispatches
    }
}
