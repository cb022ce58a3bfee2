//! The host's memory as a device's, without a copy: numbers are where they were, end with the last use, and whoever cannot is told.

mod support;

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use ash::vk;
use support::{device, numbers, open, options, Gpu};
use upbeat_vulkan::{f16, Call, Fault, HostMemory, VulkanError};

/// A device that takes host memory.
struct Importing(Gpu);

impl Deref for Importing {
    type Target = Gpu;
    fn deref(&self) -> &Gpu {
        &self.0
    }
}

impl Drop for Importing {
    fn drop(&mut self) {
        // The layer's advice is to cut small buffers from larger memory, which the host's is not; all else counts.
        let messages = self.messages();
        let other = messages.iter().find(|told| !told.contains("sub-allocate"));
        assert!(other.is_none() || std::thread::panicking(), "the validation layer says: {other:?}");
    }
}

/// `None` where the device takes no host memory, and says so.
fn importing(opened: Option<Gpu>) -> Option<Importing> {
    let device = opened?;
    if device.limits().import_alignment.is_none() {
        let refused = device.import(HostMemory::<f32>::zeroed(1)).unwrap_err();
        assert_eq!(refused, VulkanError::NoImport);
        return None;
    }
    Some(Importing(device))
}

#[test]
fn host_memory_is_a_slice_at_the_bounds_of_pages() {
    for len in [0, 1, 1000, 16 << 10, 100_001] {
        let x = numbers(len, 3);
        let mut memory = HostMemory::from(&x[..]);
        assert_eq!(memory[..], x[..]);
        assert!(memory.as_ptr().cast::<u8>().align_offset(64 << 10) == 0, "{len}");
        memory.iter_mut().for_each(|x| *x += 1.0);
        assert!(memory.iter().zip(&x).all(|(memory, x)| *memory == x + 1.0));
        assert!(HostMemory::<u32>::zeroed(len).iter().all(|x| *x == 0));
        assert_eq!(HostMemory::<f16>::zeroed(len).len(), len);
    }
}

#[test]
fn imported_numbers_are_read_and_written_where_they_lie() {
    for stage in [false, true] {
        let Some(device) = importing(open(options().always_stage(stage))) else { return };
        for len in [1, 3, 1000, 100_001] {
            let before = device.memory();
            let transfers = device.metrics().transfers;
            let x = numbers(len, 3);
            let buffer = device.import(HostMemory::from(&x[..])).unwrap();
            assert_eq!(buffer.to_vec().unwrap(), x, "{len}");
            let mut commands = device.commands();
            commands.scale(&buffer, 2.0, &buffer).unwrap();
            commands.submit().unwrap().wait().unwrap();
            let twice: Vec<_> = x.iter().map(|x| 2.0 * x).collect();
            assert_eq!(buffer.to_vec().unwrap(), twice, "{len}");
            buffer.slice(0..1).write(&[7.0]).unwrap();
            let sum = device.unspecified::<f32>(len).unwrap();
            commands = device.commands();
            commands.add(&buffer, &buffer, &sum).unwrap();
            commands.submit().unwrap().wait().unwrap();
            let found = sum.to_vec().unwrap();
            assert_eq!(found[0], 14.0);
            assert!(found[1..].iter().zip(&x[1..]).all(|(found, x)| *found == 4.0 * x));
            let now = device.memory();
            assert_eq!(now.imported - before.imported, (4 * len as u64).next_multiple_of(16));
            assert_eq!(
                now.buffers - before.buffers,
                2 + u64::from(stage),
                "and what the sum travels through"
            );
            assert_eq!(device.metrics().transfers - transfers, u64::from(stage), "of the sum");
            drop((buffer, sum));
            assert_eq!(device.memory().imported, 0);
            device.defragment().unwrap();
            assert_eq!(device.memory().used, 0);
        }
        // None at all is a buffer, too.
        assert_eq!(device.import(HostMemory::<u32>::zeroed(0)).unwrap().to_vec().unwrap(), []);
        if device.limits().f16_storage {
            let halves: Vec<f16> = (0..4097).map(|i| f16::from_bits(i as u16)).collect();
            let found = device.import(HostMemory::from(&halves[..])).unwrap().to_vec().unwrap();
            assert!(found.iter().zip(&halves).all(|(found, half)| found.to_bits() == half.to_bits()));
        }
    }
}

#[test]
fn work_under_way_keeps_what_was_dropped() {
    let Some(device) = importing(device()) else { return };
    let x = numbers(1 << 20, 5);
    let out = device.buffer::<f32>(x.len()).unwrap();
    {
        let a = device.import(HostMemory::from(&x[..])).unwrap();
        let mut commands = device.commands();
        for _ in 0..20 {
            commands.add(&a, &a, &out).unwrap();
        }
        drop(commands.submit().unwrap());
    }
    // Were its pages free, these would take their place.
    let others: Vec<_> = (0..4).map(|i| HostMemory::from(&numbers(1 << 20, i)[..])).collect();
    let twice: Vec<f32> = x.iter().map(|x| x + x).collect();
    assert!(out.to_vec().unwrap() == twice);
    assert_eq!(device.memory().imported, 0);
    drop(others);
}

/// Bytes of this process that are in memory.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let told = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
#[cfg(target_os = "linux")]
fn what_has_ended_goes_back_to_the_host() {
    let Some(device) = importing(device()) else { return };
    let round = |i| {
        let x = device.import(HostMemory::from(&vec![i as f32; 2 << 20][..])).unwrap();
        let mut commands = device.commands();
        commands.scale(&x, 2.0, &x).unwrap();
        commands.submit().unwrap().wait().unwrap();
    };
    round(0);
    let before = resident();
    (0..60).for_each(round);
    let more = resident().saturating_sub(before);
    assert!(more < 128 << 20, "{more} bytes more after 60 times 8 MiB");
}

#[test]
fn it_stays_where_it_is_while_others_move() {
    let Some(device) = importing(device()) else { return };
    let x = numbers(64 << 10, 1);
    let imported = device.import(HostMemory::from(&x[..])).unwrap();
    let all: Vec<_> = (0..100).map(|_| device.upload(&x).unwrap()).collect();
    let kept: Vec<_> = all.into_iter().step_by(5).collect();
    let mut commands = device.commands();
    for kept in &kept {
        commands.add(&imported, kept, kept).unwrap();
    }
    assert!(device.defragment().unwrap().moved > 0);
    commands.submit().unwrap().wait().unwrap();
    let twice: Vec<f32> = x.iter().map(|x| x + x).collect();
    assert!(kept.iter().all(|kept| kept.to_vec().unwrap() == twice));
    assert!(imported.to_vec().unwrap() == x);
}

#[test]
fn an_import_that_fails_leaves_nothing() {
    let calls = [Call::HostPointerProperties, Call::CreateBuffer, Call::AllocateMemory, Call::BindMemory];
    for call in calls {
        let count = Arc::new(AtomicUsize::new(0));
        let made = count.clone();
        let fault: Arc<Fault> = Arc::new(move |is: Call| {
            let first = is == call && made.fetch_add(1, Ordering::Relaxed) == 0;
            first.then_some(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE)
        });
        let opened = open(options().fault(fault));
        let Some(opened) = opened.filter(|device| device.limits().import_alignment.is_some()) else { return };
        let opened = Importing(opened);
        let x = numbers(1000, 1);
        let refused = opened.import(HostMemory::from(&x[..])).unwrap_err();
        let result = "ERROR_INVALID_EXTERNAL_HANDLE".to_owned();
        assert_eq!(refused, VulkanError::Call { call, result });
        assert_eq!((opened.memory().imported, opened.memory().buffers), (0, 0));
        assert_eq!(opened.import(HostMemory::from(&x[..])).unwrap().to_vec().unwrap(), x);
    }
}

/// A device that is given up may go on writing: its pages are kept.
#[test]
fn a_device_that_was_given_up_keeps_what_it_may_use() {
    let limit = std::time::Duration::from_millis(50);
    let stuck: Arc<Fault> = Arc::new(|call| match call {
        Call::WaitSemaphores => Some(vk::Result::TIMEOUT),
        Call::SemaphoreCounter => Some(vk::Result::NOT_READY),
        _ => None,
    });
    let Some(device) = importing(open(options().timeout(limit).fault(stuck))) else { return };
    let x = device.import(HostMemory::from(&numbers(1 << 20, 1)[..])).unwrap();
    let mut commands = device.commands();
    for _ in 0..50 {
        commands.scale(&x, 1.5, &x).unwrap();
    }
    assert!(commands.submit().unwrap().wait().is_err());
    drop((x, device));
    // The device still works on them.
    std::thread::sleep(limit);
}
