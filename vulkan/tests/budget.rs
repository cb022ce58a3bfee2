//! Budgets: what the driver says is told, new memory keeps to it, and who asks for too much hears of it.

mod support;

use support::{device, numbers, open, options};
use upbeat_vulkan::{Buffer, Device, MemoryBudget, VulkanError};

const MIB: u64 = 1 << 20;

fn unspecified(device: &Device, bytes: u64) -> Result<Buffer<f32>, VulkanError> {
    device.unspecified((bytes / 4) as usize)
}

#[test]
fn what_the_driver_says_is_told() {
    let Some(device) = device() else { return };
    if let Some(budget) = device.memory_budget() {
        assert!(budget.bytes > 0 && budget.left() <= budget.bytes, "{budget:?}");
        assert!(budget.bytes <= device.info().memory, "{budget:?}");
    }
    // What there is plenty of is not refused.
    let x = numbers(1 << 20, 3);
    assert!(device.upload(&x).unwrap().to_vec().unwrap() == x);
}

#[test]
fn what_exceeds_the_budget_is_refused() {
    for stage in [false, true] {
        let Some(device) = open(options().budget_of_test(20 * MIB).always_stage(stage).staging(64 << 10))
        else {
            return;
        };
        let mut held = Vec::new();
        let refused = loop {
            match unspecified(&device, MIB) {
                Ok(buffer) => held.push(buffer),
                Err(refused) => break refused,
            }
            assert!(device.memory().reserved <= 20 * MIB, "{:?}", device.memory());
        };
        let budget = device.memory_budget().unwrap();
        assert_eq!(budget, MemoryBudget { bytes: 20 * MIB, used: device.memory().reserved });
        let (asked, used) = (MIB, device.memory().used);
        assert_eq!(refused, VulkanError::OutOfMemory { asked, used, limit: None, budget: Some(budget) });
        assert_eq!(
            refused.to_string(),
            format!(
                "1048576 bytes more than the {} in use exceed the driver's budget of 20971520 bytes for this program; drop buffers, end \
                 other programs on the device, or allow it by Options::over_budget",
                budget.used
            )
        );
        // All of it can be used: what a part for several buffers would exceed is taken for each.
        assert_eq!(held.len(), 20);
        held.pop();
        assert!(unspecified(&device, MIB).is_ok(), "what was dropped makes room");
        assert!(unspecified(&device, 2 * MIB).is_err());
    }
}

#[test]
fn who_says_so_may_exceed_it() {
    let Some(device) = open(options().budget_of_test(MIB).over_budget(true)) else { return };
    let x = numbers(1 << 20, 5);
    let buffer = device.upload(&x).unwrap();
    assert!(buffer.to_vec().unwrap() == x);
    let metrics = device.memory();
    let budget = device.memory_budget().unwrap();
    assert!(budget.used > budget.bytes && budget.left() == 0, "{budget:?}, {metrics:?}");
}

#[test]
fn holes_are_used_though_nothing_new_may_be_taken_and_moves_make_room() {
    let Some(device) = open(options().budget_of_test(300 * MIB)) else { return };
    let mut held: Vec<_> = (0..160).map(|i| device.upload(&numbers(64 << 10, i)).unwrap()).collect();
    let shared = device.memory().reserved;
    let large = unspecified(&device, 300 * MIB - shared).unwrap();
    assert_eq!(device.memory_budget().unwrap().left(), 0);
    // Two of four go: their places are there for who fits in.
    let mut place = 0;
    held.retain(|_| {
        place += 1;
        place % 4 < 2
    });
    let metrics = device.memory();
    held.push(device.upload(&numbers(64 << 10, 1000)).unwrap());
    assert_eq!(device.memory().reserved, metrics.reserved);
    // Nowhere so much together before.
    let bytes = metrics.largest_free + MIB;
    assert!(bytes < metrics.free, "{metrics:?}");
    let made = unspecified(&device, bytes).unwrap();
    assert!(device.memory().reserved <= 300 * MIB, "{:?}", device.memory());
    for (at, buffer) in held.iter().enumerate().take(80) {
        let of = 4 * (at as u64 / 2) + [0, 3][at % 2];
        // The places that were kept: those whose count from 1 leaves 0 or 1 by four.
        assert!(buffer.to_vec().unwrap() == numbers(64 << 10, of), "buffer {at}");
    }
    drop((large, made));
}
