//! A device's memory: reused along a chain, free when nobody has a tensor, and enough where some can be given back.

use std::time::Duration;

use upbeat_tensor::{f16, Device, Indices, Rope, Tensor, TensorError};
use upbeat_vulkan::VulkanError;

use crate::support::{assert_valid, numbers, options, tensor};
use crate::{alone_with, each_kind};

#[test]
fn a_thousand_chains_leave_nothing() {
    for alone in each_kind() {
        let device = alone.device();
        let mut early = 0;
        for round in 0..1000_u64 {
            let x = tensor(&numbers(200, round), &[2, 100], &device);
            let mut y = x.clone();
            for _ in 0..10 {
                y = y.add(&x).unwrap().softmax().unwrap();
            }
            // Some are read, some are dropped as they are, some while they are read.
            match round % 3 {
                0 => assert_eq!(y.to_vec().unwrap().len(), 200),
                1 => drop(y),
                _ => drop(y.read()),
            }
            if round == 10 {
                early = alone.vulkan().memory().peak;
            }
        }
        let late = alone.vulkan().memory().peak;
        assert!(late <= 4 * early, "nothing gathers: {late} bytes after {early}");
        alone.opened.finish().unwrap();
        assert_eq!(alone.bytes(), 0);
        assert_valid(&alone.opened);
    }
}

#[test]
fn a_chain_goes_around_in_few_blocks() {
    for alone in each_kind() {
        let x = tensor(&numbers(1 << 16, 1), &[1 << 16], &alone.device());
        let mut y = x.clone();
        for _ in 0..50 {
            y = y.add(&x).unwrap();
        }
        // One is read and one written; x stays; numbers travel through up to eight.
        let blocks = alone.vulkan().memory().buffers;
        assert!(blocks <= 11, "{blocks} blocks for 51 results");
        assert_eq!(y.to_vec().unwrap()[7], (0..50).fold(numbers(8, 1)[7], |y, _| y + numbers(8, 1)[7]));
        // Spare blocks stay for who comes next as long as somebody is there, and go with the last one.
        drop(y);
        alone.opened.finish().unwrap();
        assert!(alone.vulkan().memory().used >= 2 * 4 * (1 << 16));
        drop(x);
        alone.opened.finish().unwrap();
        assert_eq!(alone.bytes(), 0);
        assert_valid(&alone.opened);
    }
}

#[test]
fn what_nobody_can_read_is_not_run() {
    for alone in each_kind() {
        let x = tensor(&[1.0], &[1], &alone.device());
        let before = alone.dispatches();
        drop((x.scale(2.0).unwrap(), x));
        alone.opened.finish().unwrap();
        assert_eq!(alone.dispatches(), before);
        assert_eq!(alone.bytes(), 0);
    }
}

#[test]
fn tables_and_16_bits_are_given_back_too() {
    for alone in each_kind() {
        let device = alone.device();
        for _ in 0..3 {
            let weight = tensor(&numbers(64, 1), &[8, 8], &device).to_f16().unwrap();
            let zeros = Tensor::<f16>::zeros(&[3], &device).unwrap();
            let tokens = Indices::from_slice(&[1, 2], &device).unwrap();
            let rope = Rope::new(2, 2, 4, 100.0, &device).unwrap();
            let x = weight.embedding(&tokens).unwrap().reshape(&[2, 2, 2, 2]);
            assert!(x.unwrap().rope(&rope, 0).is_err(), "heads of 2, not of 4");
            let x =
                weight.embedding(&tokens).unwrap().reshape(&[1, 2, 2, 4]).unwrap().rope(&rope, 0).unwrap();
            assert_eq!((x.to_vec().unwrap().len(), zeros.to_vec().unwrap()), (16, vec![f16::ZERO; 3]));
        }
        alone.opened.finish().unwrap();
        assert_eq!(alone.bytes(), 0);
        assert_valid(&alone.opened);
    }
}

#[test]
fn a_limit_is_told_and_what_is_spare_is_used_first() {
    const MIB: u64 = 1 << 20;
    let Some(alone) = alone_with(&options().memory_limit(8 * MIB)) else { return };
    let device = alone.device();
    let error = Tensor::<f32>::zeros(&[3 << 20], &device).err();
    let told = TensorError::Vulkan {
        operation: "zeros",
        device,
        error: VulkanError::OutOfMemory { asked: 12 * MIB, used: 0, limit: Some(8 * MIB), budget: None },
    };
    assert_eq!(error, Some(told));
    // 3 MiB each: with one spare and one in recorded work there is no room for another size before both are given back.
    let small = Tensor::<f32>::zeros(&[3 << 18], &device).unwrap();
    drop(small.scale(2.0).unwrap());
    drop(small.scale(2.0).unwrap());
    let other = Tensor::<f32>::zeros(&[4 << 18], &device).unwrap();
    assert_eq!(other.sum().unwrap().item(), Ok(0.0));
    assert_eq!(small.sum().unwrap().item(), Ok(0.0));
    assert_eq!(Tensor::from_slice(&[1.0], &[1], &Device::Cpu).unwrap().item(), Ok(1.0));
    assert_valid(&alone.opened);
}

/// What an operation needs besides its result may have to wait for the device; a worker that waits runs other tasks, and they record.
#[test]
fn who_waits_for_memory_lets_others_record() {
    const LEN: usize = 1 << 20;
    const SIDE: usize = 1024;
    // What is made below but for the second sum's pieces: those wait for the first one's, which are behind a product.
    let [result, pieces] = [64, LEN / 8192];
    let room = LEN + 2 * SIDE * SIDE + 2 * result + pieces;
    let Some(alone) = alone_with(&options().memory_limit(4 * room as u64)) else { return };
    let device = alone.device();
    let runtime = upbeat::Runtime::builder().workers(1).build().unwrap();
    let (x, a) = (tensor(&[1.0; LEN], &[LEN], &device), tensor(&[1.0; SIDE * SIDE], &[SIDE, SIDE], &device));
    let (tell, told) = std::sync::mpsc::channel();
    let opened = alone.opened.clone();
    let task = runtime.spawn(move || {
        let product = a.matmul(&a).unwrap();
        let first = x.sum().unwrap();
        opened.flush().unwrap();
        let other = upbeat::spawn(move || opened.flush());
        let second = x.sum();
        let sums = [first.item(), second.and_then(|second| second.item())];
        assert_eq!(other.join().unwrap(), Ok(()));
        drop(product);
        tell.send(sums).unwrap();
    });
    let Ok(sums) = told.recv_timeout(Duration::from_secs(60)) else {
        // Its worker would be waited for.
        std::mem::forget(runtime);
        panic!("who waits for memory holds a lock that the other task needs");
    };
    assert_eq!(sums, [Ok(LEN as f32), Ok(LEN as f32)]);
    task.join().unwrap();
    assert_valid(&alone.opened);
}

/// What an operation needs besides its result is made room for as results are: nobody but us could give up what is spare.
#[test]
fn memory_that_is_spare_is_given_to_who_needs_it_in_between() {
    // 16 MiB that stay, 30 that become spare, and room for two results and no partial sums.
    let limit = (16 << 20) + (30 << 20) + 1024;
    let Some(alone) = alone_with(&options().memory_limit(limit)) else { return };
    let device = alone.device();
    let x = Tensor::<f32>::zeros(&[4 << 20], &device).unwrap();
    drop(Tensor::<f32>::zeros(&[30 << 18], &device).unwrap());
    assert!(alone.vulkan().memory().used >= 46 << 20, "it is kept for who comes next");
    assert_eq!(x.sum().unwrap().item(), Ok(0.0));
    assert_valid(&alone.opened);
}
