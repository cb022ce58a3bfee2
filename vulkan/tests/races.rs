//! The host and the device take turns at a buffer, whatever threads do that safe code allows.

mod support;

use std::future::Future;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use support::{numbers, open, options};
use upbeat_vulkan::{Buffer, Call, Commands, Device, Fault};

/// `f` on a thread of its own, and whether it came to its end within `limit`.
fn begin(limit: Duration, f: impl FnOnce() + Send + 'static) -> (std::thread::JoinHandle<()>, bool) {
    let (ended, end) = channel();
    let thread = std::thread::spawn(move || {
        f();
        ended.send(()).expect("somebody listens");
    });
    let in_time = end.recv_timeout(limit).is_ok();
    // The other end stays until the thread is joined.
    std::mem::forget(end);
    (thread, in_time)
}

#[test]
fn the_host_does_not_touch_what_is_being_submitted() {
    for write in [false, true] {
        let shared: Arc<Mutex<Option<Buffer<f32>>>> = Arc::default();
        let began = Arc::new(Mutex::new(None));
        let (buffer, note) = (shared.clone(), began.clone());
        // The device has the work as soon as the call is made, and the buffer is not yet known to be in use.
        let fault: Arc<Fault> = Arc::new(move |call| {
            if call == Call::Submit {
                if let Some(x) = buffer.lock().unwrap().take() {
                    *note.lock().unwrap() = Some(begin(Duration::from_millis(300), move || {
                        let mut context = Context::from_waker(Waker::noop());
                        if write {
                            let _ = Box::pin(x.write_async(&[3.0; 1000])).as_mut().poll(&mut context);
                        } else {
                            let _ = Box::pin(x.read_async(&mut [0.0; 1000])).as_mut().poll(&mut context);
                        }
                    }));
                }
            }
            None
        });
        let Some(device) = open(options().fault(fault)) else { return };
        let x = device.upload(&[1.0_f32; 1000]).unwrap();
        let mut commands = device.commands();
        commands.scale(&x, 2.0, &x).unwrap();
        *shared.lock().unwrap() = Some(x.clone());
        commands.submit().unwrap().wait().unwrap();
        let (thread, touched) = began.lock().unwrap().take().expect("the work was submitted");
        thread.join().unwrap();
        assert!(!touched, "it was our turn (writing: {write})");
    }
}

#[test]
fn who_compiles_a_kernel_does_not_hold_up_others() {
    let shared = Arc::new(Mutex::new(None::<(Buffer<f32>, Commands)>));
    let others = Arc::new(Mutex::new(None));
    let (ready, note) = (shared.clone(), others.clone());
    // While one kernel is compiled, another thread submits work of one that is there, waits for it and asks for the metrics.
    let fault: Arc<Fault> = Arc::new(move |call| {
        if call == Call::CreatePipeline {
            if let Some((x, commands)) = ready.lock().unwrap().take() {
                *note.lock().unwrap() = Some(begin(Duration::from_secs(20), move || {
                    commands.submit().unwrap().wait().unwrap();
                    let _ = x.device().metrics();
                }));
            }
        }
        None
    });
    let Some(device) = open(options().fault(fault)) else { return };
    let (x, y) = (device.upload(&[1.0_f32; 10]).unwrap(), device.upload(&[1.0_f32; 10]).unwrap());
    let scaled = || {
        let mut commands = device.commands();
        commands.scale(&x, 2.0, &x).unwrap();
        commands
    };
    scaled().submit().unwrap().wait().unwrap();
    *shared.lock().unwrap() = Some((x.clone(), scaled()));
    let mut commands = device.commands();
    commands.softmax(&y, 10, &y).unwrap();
    commands.submit().unwrap().wait().unwrap();
    let (thread, in_time) = others.lock().unwrap().take().expect("a kernel was compiled");
    thread.join().unwrap();
    assert!(in_time, "others went on meanwhile");
}

#[test]
fn threads_may_write_and_read_one_buffer_while_it_is_worked_on() {
    for stage in [false, true] {
        let Some(device) = open(options().always_stage(stage).staging(64 << 10)) else { return };
        let x = device.upload(&[1.0_f32; 10_000]).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (x, device): (_, &Device) = (x.clone(), &device);
                scope.spawn(move || {
                    for round in 0..20 {
                        match (thread + round) % 3 {
                            0 => x.write(&[(1 + round) as f32; 10_000]).unwrap(),
                            1 => {
                                let mut commands = device.commands();
                                commands.scale(&x, 2.0, &x).unwrap();
                                drop(commands.submit().unwrap());
                            }
                            _ => {
                                let found = x.to_vec().unwrap();
                                // A piece of the ring is 4096 numbers: those of a read may be from different moments, not those of one piece.
                                assert!(found[..4096].iter().all(|&n| n == found[0]), "{:?}", &found[..9]);
                            }
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn submissions_of_common_buffers_from_many_threads_do_not_wait_for_each_other() {
    let Some(device) = open(options()) else { return };
    let buffers: Vec<_> = (0..6).map(|i| device.upload(&numbers(100, i)).unwrap()).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (buffers, device): (_, &Device) = (&buffers, &device);
            scope.spawn(move || {
                for round in 0..100 {
                    let mut commands = device.commands();
                    // Each in another order.
                    for i in 0..6 {
                        let at = |i: usize| &buffers[(i * (1 + 4 * (thread % 2)) + round) % 6];
                        commands.scale(at(i), 1.0, at(i + 1)).unwrap();
                    }
                    drop(commands.submit().unwrap());
                }
            });
        }
    });
    device.commands().submit().unwrap().wait().unwrap();
}
