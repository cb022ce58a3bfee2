//! When recorded work is handed over, and in which order it runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::task::{Context, Wake};
use std::time::Duration;

use upbeat_tensor::{Activation, Device, Tensor, TensorError};
use upbeat_vulkan::Call;

use crate::support::{assert_valid, numbers, options, tensor, Bound};
use crate::{alone_with, each_kind, Alone};

/// 20 operations, all small.
fn chain(x: &Tensor, weight: &Tensor) -> Result<Tensor, TensorError> {
    let mut y = x.clone();
    for _ in 0..5 {
        y = y.linear(weight, None, Activation::Silu, None)?.add(x)?.softmax()?.scale(2.0)?;
    }
    Ok(y)
}

fn operands(device: &Device) -> (Tensor, Tensor) {
    (tensor(&numbers(64, 1), &[2, 32], device), tensor(&numbers(1024, 2), &[32, 32], device))
}

#[test]
fn a_chain_is_one_submission() {
    for staged in [false, true] {
        let Some(alone) = alone_with(&options().always_stage(staged)) else { return };
        let (x, weight) = operands(&alone.device());
        let (submissions, dispatches) = (alone.submissions(), alone.dispatches());
        let y = chain(&x, &weight).unwrap();
        assert_eq!(alone.submissions(), submissions, "nothing is handed over before somebody asks");
        let found = y.to_vec().unwrap();
        // Where the host does not read the device's memory, a copy for it is one more.
        let copies = alone.submissions() - submissions - 1;
        assert!(copies <= 1 && (copies == 1 || !staged), "{copies}");
        assert_eq!(alone.dispatches(), dispatches + 20);
        let (x, weight) = operands(&Device::Cpu);
        let exact = chain(&x, &weight).unwrap().to_vec().unwrap();
        let exact: Vec<f64> = exact.iter().map(|&x| x.into()).collect();
        Bound { absolute: 1e-5, relative: 1e-5 }.check("the chain", &found, &exact);
        // What is there already needs no submission but that copy.
        let before = alone.submissions();
        assert_eq!(y.rows(0..1).unwrap().to_vec().unwrap(), found[..32]);
        assert_eq!(alone.submissions() - before, copies);
        assert_valid(&alone.opened);
    }
}

#[test]
fn much_work_is_handed_over_in_time() {
    for alone in each_kind() {
        let x = tensor(&[1.0; 64], &[64], &alone.device());
        let before = alone.submissions();
        let mut y = x.clone();
        for _ in 0..640 {
            y = y.add(&x).unwrap();
        }
        assert_eq!(alone.submissions() - before, 10, "every 64 pieces of work");
        assert_eq!(y.to_vec(), Ok(vec![641.0; 64]));
        // And by size: 16 results of 4 MiB.
        let x = Tensor::<f32>::zeros(&[1 << 20], &alone.device()).unwrap();
        alone.opened.flush().unwrap();
        let before = alone.submissions();
        let kept: Vec<_> = (0..16).map(|i| x.scale(i as f32).unwrap()).collect();
        assert_eq!(alone.submissions() - before, 1);
        drop(kept);
        alone.opened.finish().unwrap();
        assert_valid(&alone.opened);
    }
}

/// A device that is far behind would run into its time-out.
#[test]
fn who_records_faster_than_a_device_computes_waits() {
    let pools = Arc::new(AtomicUsize::new(0));
    let counted = pools.clone();
    // Each submission that is under way has a command pool.
    let count = move |call: Call| {
        counted.fetch_add((call == Call::CreateCommandPool).into(), Ordering::Relaxed);
        None
    };
    let Some(alone) = alone_with(&options().fault(Arc::new(count))) else { return };
    let x = tensor(&[1.0; 1 << 17], &[1 << 17], &alone.device());
    let mut y = x.clone();
    for _ in 0..64 * 40 {
        y = y.add(&x).unwrap();
    }
    let most = pools.load(Ordering::Relaxed);
    assert!((1..=18).contains(&most), "{most} submissions were under way");
    assert_eq!(y.max().unwrap().item(), Ok(2561.0));
    assert_valid(&alone.opened);
}

#[test]
fn a_read_hands_over_what_it_needs_and_no_more() {
    for alone in each_kind() {
        let x = tensor(&[1.0], &[1], &alone.device());
        let first = x.scale(2.0).unwrap();
        assert_eq!(first.to_vec(), Ok(vec![2.0]));
        let pending = x.scale(3.0).unwrap();
        let before = alone.dispatches();
        assert_eq!((x.to_vec(), first.to_vec()), (Ok(vec![1.0]), Ok(vec![2.0])));
        assert_eq!(alone.dispatches(), before, "the pending one was not asked for");
        assert_eq!(pending.to_vec(), Ok(vec![3.0]));
        // The work goes off when the future is made, not when it is first polled.
        let later = x.scale(4.0).unwrap().read();
        assert_eq!(alone.dispatches(), before + 2);
        assert_eq!(upbeat::block_on(later), Ok(vec![4.0]));
        assert_valid(&alone.opened);
    }
}

/// A future of one thread's work is awaited while another thread records on: nobody gets another's numbers, though memory goes around.
#[test]
fn threads_share_a_device_and_its_memory() {
    for alone in each_kind() {
        let work = |alone: &Alone, seed: u64| {
            let x = tensor(&numbers(256, seed), &[256], &alone.device());
            let mut y = x.clone();
            for _ in 0..50 {
                y = y.add(&x).unwrap();
            }
            let expected: Vec<f32> = {
                let x = tensor(&numbers(256, seed), &[256], &Device::Cpu);
                (0..50).fold(x.clone(), |y, _| y.add(&x).unwrap()).to_vec().unwrap()
            };
            assert_eq!(y.to_vec().unwrap(), expected, "seed {seed}: additions have the same bits everywhere");
        };
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let alone = &alone;
                scope.spawn(move || (0..40).for_each(|round| work(alone, 100 * thread + round)));
            }
        });
        assert_valid(&alone.opened);
    }
}

/// The device takes one submission at a time, and others submit as well: who records waits without the lock that those need whom he helps.
#[test]
fn workers_record_while_the_device_takes_nothing_more() {
    let Some(alone) = alone_with(&options().in_flight(1)) else { return };
    let runtime = upbeat::Runtime::builder().workers(1).build().unwrap();
    let (device, opened) = (alone.device(), alone.vulkan().clone());
    let others = opened.upload(&[0.0_f32; 1 << 12]).unwrap();
    let submits: Vec<_> = (0..20)
        .map(|_| {
            let (opened, others) = (opened.clone(), others.clone());
            runtime.spawn(move || {
                for _ in 0..20 {
                    let mut commands = opened.commands();
                    commands.softmax(&others, 1 << 12, &others).unwrap();
                    drop(commands.submit().unwrap());
                }
            })
        })
        .collect();
    let records: Vec<_> = (0..20_u16)
        .map(|task| {
            runtime.spawn(move || {
                let x = tensor(&[f32::from(task); 100], &[100], &device);
                // More than are handed over at a time, several times.
                let y = (0..200).fold(x.clone(), |y, _| y.add(&x).unwrap());
                assert_eq!(y.to_vec(), Ok(vec![201.0 * f32::from(task); 100]));
            })
        })
        .collect();
    submits.into_iter().for_each(|task| task.join().unwrap());
    records.into_iter().for_each(|task| task.join().unwrap());
    assert_valid(&alone.opened);
}

/// Again and again the last tensor of the device goes, and with it what is pending, while another thread holds the lock and a third one makes
/// a tensor: nobody loses what others throw away.
#[test]
fn nobody_loses_what_others_throw_away() {
    // A submission takes long, and nobody can record meanwhile.
    let slow = |call: Call| {
        if call == Call::Submit {
            std::thread::sleep(Duration::from_micros(200));
        }
        None
    };
    let Some(alone) = alone_with(&options().fault(Arc::new(slow))) else { return };
    std::thread::scope(|scope| {
        for thread in 0..6_u16 {
            let alone = &alone;
            scope.spawn(move || {
                for round in 0..300_u16 {
                    let number = f32::from(6 * round + thread);
                    let x = tensor(&[number; 3], &[3], &alone.device());
                    let y = x.add(&x).unwrap();
                    drop(x);
                    match (round + thread) % 3 {
                        0 => drop(y),
                        1 => alone.opened.flush().unwrap(),
                        _ => assert_eq!(y.to_vec(), Ok(vec![2.0 * number; 3])),
                    }
                }
            });
        }
    });
    alone.opened.finish().unwrap();
    assert_eq!(alone.bytes(), 0);
    assert_valid(&alone.opened);
}

/// The simplest executor: who wakes a task runs it, on that thread.
struct Task(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let Some(mut future) = self.0.lock().unwrap().take() else { return };
        let waker = self.clone().into();
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            *self.0.lock().unwrap() = Some(future);
        }
    }
}

fn start(future: impl Future<Output = ()> + Send + 'static) {
    Arc::new(Task(Mutex::new(Some(Box::pin(future))))).wake();
}

/// Recording learns that earlier work has ended. A task that was waiting for it records, too: not while the one who learned of it holds the lock.
#[test]
fn tasks_that_run_where_they_are_woken_record() {
    for alone in each_kind() {
        let x = tensor(&numbers(1 << 14, 1), &[1 << 14], &alone.device());
        for _ in 0..20 {
            let (entered, is_there) = mpsc::channel();
            let (leave, may_leave) = mpsc::channel::<()>();
            let (tell, told) = mpsc::channel();
            // Keeps the thread that would wake the other one, or its caller where it is done at once.
            let slow = x.scale(2.0).unwrap().read();
            std::thread::spawn(move || {
                start(async move {
                    slow.await.unwrap();
                    entered.send(()).unwrap();
                    may_leave.recv().unwrap();
                });
            });
            is_there.recv().unwrap();
            let (read, z) = (x.scale(3.0).unwrap().read(), x.clone());
            start(async move {
                read.await.unwrap();
                tell.send(z.scale(3.0).unwrap()).unwrap();
            });
            std::thread::sleep(Duration::from_millis(5));
            // Hands over several times, and learns meanwhile what has ended.
            let last = (0..200).fold(x.clone(), |y, _| y.scale(1.0).unwrap());
            leave.send(()).unwrap();
            assert_eq!(last.to_vec(), x.to_vec());
            assert_eq!(told.recv().unwrap().to_vec(), x.scale(3.0).unwrap().to_vec());
        }
        assert_valid(&alone.opened);
    }
}
