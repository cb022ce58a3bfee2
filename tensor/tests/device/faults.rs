//! Calls of Vulkan that fail: whoever asks for what was to be computed is told, and nobody else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use ash::vk;
use upbeat_tensor::{Device, Tensor, TensorError};
use upbeat_vulkan::{Call, VulkanError};

use crate::support::{assert_valid, options, tensor};
use crate::{alone_with, each_kind, Alone};

/// A device on which `call` gives back `result` while the switch is on.
fn failing(call: Call, result: vk::Result) -> Option<(Alone, Arc<AtomicBool>)> {
    let on = Arc::new(AtomicBool::new(false));
    let switch = on.clone();
    let fault = move |made: Call| (made == call && switch.load(Ordering::Relaxed)).then_some(result);
    Some((alone_with(&options().fault(Arc::new(fault)))?, on))
}

fn told(operation: &'static str, device: Device, error: VulkanError) -> Option<TensorError> {
    Some(TensorError::Vulkan { operation, device, error })
}

#[test]
fn work_that_was_not_handed_over_is_told_to_who_asks_for_it() {
    let Some((alone, on)) = failing(Call::Submit, vk::Result::ERROR_OUT_OF_HOST_MEMORY) else { return };
    let device = alone.device();
    let x = tensor(&[1.0, 2.0], &[2], &device);
    let before = x.scale(2.0).unwrap();
    assert_eq!(before.to_vec(), Ok(vec![2.0, 4.0]));
    let (lost, also) = (x.scale(3.0).unwrap(), x.add(&x).unwrap());
    on.store(true, Ordering::Relaxed);
    let error = VulkanError::Call { call: Call::Submit, result: "ERROR_OUT_OF_HOST_MEMORY".to_owned() };
    assert_eq!(lost.to_vec().err(), told("read", device, error.clone()));
    on.store(false, Ordering::Relaxed);
    // For ever, for everything of that work, and for what would be computed of it.
    assert_eq!(lost.to_vec().err(), told("read", device, error.clone()));
    assert_eq!(upbeat::block_on(also.read()).err(), told("read", device, error.clone()));
    assert_eq!(also.to(&Device::Cpu).err(), told("read", device, error.clone()));
    assert_eq!(also.softmax().err(), told("softmax", device, error));
    // The device and everything else go on.
    assert_eq!(before.add(&x).unwrap().to_vec(), Ok(vec![3.0, 6.0]));
    assert_valid(&alone.opened);
}

#[test]
fn a_lost_device_is_told_and_opened_anew() {
    let Some((alone, on)) = failing(Call::Submit, vk::Result::ERROR_DEVICE_LOST) else { return };
    let device = alone.device();
    let x = tensor(&[1.0, 2.0], &[2], &device);
    let y = x.scale(2.0).unwrap();
    on.store(true, Ordering::Relaxed);
    assert_eq!(y.to_vec().err(), told("read", device, VulkanError::DeviceLost));
    assert!(y.to_vec().unwrap_err().to_string().ends_with("open it anew, or go on on the CPU"));
    on.store(false, Ordering::Relaxed);
    assert_eq!(alone.opened.flush(), Ok(()), "nothing is left to hand over");
    assert_eq!(alone.opened.finish().err(), told("finish", device, VulkanError::DeviceLost));
    // What is made from now on is on a new one, and the two do not mix.
    let z = tensor(&[5.0, 6.0], &[2], &device);
    assert_eq!(z.scale(2.0).unwrap().to_vec(), Ok(vec![10.0, 12.0]));
    assert_eq!(z.add(&x).err(), Some(TensorError::Stale { operation: "add", device }));
}

#[test]
fn a_device_is_opened_once_and_options_come_before() {
    for alone in each_kind() {
        let device = alone.device();
        assert_eq!(device.open_with(&options()).err(), Some(TensorError::AlreadyOpen { device }));
        let again = device.open().unwrap();
        let x = tensor(&[1.0], &[1], &device);
        assert!(alone.bytes() > 0, "the tensor is there");
        assert_eq!(again.vulkan().unwrap().memory(), alone.vulkan().memory(), "of both handles");
        drop(x);
    }
}

#[test]
fn a_device_without_memory_says_so_and_goes_on() {
    for staged in [false, true] {
        // No new buffer once it is full.
        let full = Arc::new(AtomicBool::new(false));
        let switch = full.clone();
        let fault = move |call: Call| {
            let refused = call == Call::CreateBuffer && switch.load(Ordering::Relaxed);
            refused.then_some(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)
        };
        let options = options().always_stage(staged).fault(Arc::new(fault));
        let Some(alone) = alone_with(&options) else { return };
        let device = alone.device();
        let x = tensor(&[1.0, 2.0], &[2], &device);
        let y = x.scale(2.0).unwrap();
        assert_eq!(y.to_vec(), Ok(vec![2.0, 4.0]));
        full.store(true, Ordering::Relaxed);
        for refused in [Tensor::from_slice(&[1.0], &[1], &device), x.add(&y), Tensor::zeros(&[3], &device)] {
            let full =
                matches!(&refused, Err(TensorError::Vulkan { error: VulkanError::OutOfMemory { .. }, .. }));
            assert!(full, "{refused:?}");
            let said = refused.unwrap_err().to_string();
            assert!(said.contains(&format!(" on {device}: the device has no ")), "{said}");
            assert!(said.ends_with("; Device::Cpu always works"), "{said}");
        }
        assert_eq!((x.to_vec(), y.to_vec()), (Ok(vec![1.0, 2.0]), Ok(vec![2.0, 4.0])));
        full.store(false, Ordering::Relaxed);
        assert_eq!(x.add(&y).unwrap().to_vec(), Ok(vec![3.0, 6.0]));
        assert_valid(&alone.opened);
    }
}

/// The device seems busy until a task of the same, only, worker has run: a read that blocked it would last for ever.
#[test]
fn no_worker_blocks_while_a_device_works() {
    let released = Arc::new(AtomicBool::new(false));
    let looked = released.clone();
    let fault = move |call: Call| {
        (call == Call::WaitSemaphores && !looked.load(Ordering::Relaxed)).then_some(vk::Result::TIMEOUT)
    };
    let limit = Duration::from_secs(20);
    let Some(alone) = alone_with(&options().timeout(limit).fault(Arc::new(fault))) else { return };
    let device = alone.device();
    let runtime = upbeat::Runtime::builder().workers(1).build().unwrap();
    let x = tensor(&[1.0], &[1], &device);
    let reads = runtime.spawn_future(async move { x.scale(2.0)?.read().await });
    let release = {
        let released = released.clone();
        runtime.spawn(move || released.store(true, Ordering::Relaxed))
    };
    release.join().unwrap();
    assert_eq!(reads.join().unwrap(), Ok(vec![2.0]));
    // The same for one that waits: its worker runs the other task.
    released.store(false, Ordering::Relaxed);
    let y = tensor(&[1.0], &[1], &device);
    let found = runtime.install(move |_| {
        drop(upbeat::spawn(move || released.store(true, Ordering::Relaxed)));
        y.scale(3.0).and_then(|y| y.to_vec())
    });
    assert_eq!(found, Ok(vec![3.0]));
}
