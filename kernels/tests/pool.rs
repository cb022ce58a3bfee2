//! The pool keeps its promises: what is freed is found again, counts are exact, nothing leaks, trimming gives all back.
//!
//! Statistics are the whole process's, so tests take turns, each in a thread of its own whose end (destructors of
//! thread-locals included) is waited for.

#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Barrier, Mutex};
use std::thread;

use common::Numbers;
use upbeat_kernels::pool::{self, PoolError, Tag, Workspace, CACHED_BYTES, DRIFT};
use upbeat_kernels::Buffer;

/// Whether the pool keeps nothing, by `--cfg upbeat_exact`.
const EXACT: bool = cfg!(upbeat_exact);

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting each thread's calls that ask for memory.
struct Counting;

// SAFETY: both methods hand their arguments to `System` unchanged and return what it returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `alloc`'s contract, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, which is the same here.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs a test when no other one runs, with nothing reserved, and checks that it leaves nothing behind.
fn alone(test: impl FnOnce() + Send + 'static) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let joined = thread::spawn(|| {
        pool::trim();
        assert_eq!(pool::stats().reserved_bytes, 0, "the test before has left nothing");
        test();
    })
    .join();
    if let Err(panic) = joined {
        std::panic::resume_unwind(panic);
    }
    let left = pool::stats();
    assert_eq!((left.live_bytes, left.cached_bytes), (0, 0));
    assert!(Tag::ALL.iter().all(|&tag| left.of(tag).live_bytes == 0));
}

/// Runs `f` in a thread and waits until that has ended.
fn elsewhere<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    thread::spawn(f).join().unwrap()
}

/// Fills a buffer with what only it has.
fn stamp(buffer: &mut Buffer<u64>, with: u64) {
    let last = buffer.len() - 1;
    for at in [0, last / 2, last] {
        buffer[at] = with ^ at as u64;
    }
}

fn assert_stamped(buffer: &Buffer<u64>, with: u64) {
    let last = buffer.len() - 1;
    for at in [0, last / 2, last] {
        assert_eq!(buffer[at], with ^ at as u64, "element {at} of {}", buffer.len());
    }
}

/// A length whose logarithm is uniform: 8 bytes to 4 MiB.
fn some_len(numbers: &mut Numbers) -> usize {
    let most = 1 << (numbers.bits() % 20);
    1 + (numbers.bits() % most) as usize
}

#[test]
fn a_dropped_buffer_is_handed_out_again() {
    if EXACT {
        return;
    }
    alone(|| {
        for len in [1, 123_457, 1 << 20] {
            let mut first = Buffer::<f32>::zeroed(len);
            first[len - 1] = 7.0;
            let address = first.as_ptr();
            drop(first);
            let second = Buffer::<f32>::unspecified(len);
            assert_eq!((second.as_ptr(), second[len - 1]), (address, 7.0), "{len}");
            assert_eq!(second.as_ptr() as usize % pool::ALIGN, 0);
            let third = Buffer::<u64>::zeroed(len.div_ceil(2));
            assert!(third.iter().all(|&x| x == 0) && third.as_ptr().cast() != address, "{len}");
        }
    });
}

#[test]
fn what_a_thread_frees_anyone_can_have() {
    alone(|| {
        // One thread only allocates, the other one only frees: memory comes back through the heap.
        let (send, receive) = sync_channel::<Buffer<u64>>(4);
        let frees = thread::spawn(move || {
            for (with, buffer) in receive.into_iter().enumerate() {
                assert_stamped(&buffer, with as u64);
            }
        });
        for with in 0..5000 {
            let mut buffer = Buffer::unspecified(1 + with % 7 * 1111);
            stamp(&mut buffer, with as u64);
            send.send(buffer).unwrap();
        }
        drop(send);
        frees.join().unwrap();
        let most = CACHED_BYTES as u64 + (1 << 20);
        let stats = pool::stats();
        assert!(stats.reserved_bytes <= most, "{stats:?}");
    });
}

#[test]
fn thousands_of_threads_leave_nothing() {
    alone(|| {
        let mut largest = 0;
        for round in 0..40 {
            let cached = pool::stats().cached_bytes;
            let threads: Vec<_> = (0..50)
                .map(|i| {
                    thread::spawn(move || {
                        let kept = Buffer::<u64>::zeroed(10 + 1000 * (i % 10));
                        drop(Buffer::<u64>::scratch(20_000));
                        kept
                    })
                })
                .collect();
            let kept: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            let stats = pool::stats();
            assert_eq!(stats.live_bytes, 5 * (0..10).map(|i| 8 * (10 + 1000 * i)).sum::<u64>());
            assert_eq!(stats.cached_bytes, cached, "threads that ended keep nothing");
            drop(kept);
            if round == 10 {
                largest = pool::stats().reserved_bytes;
            }
        }
        if !EXACT {
            let now = pool::stats().reserved_bytes;
            assert!(now <= 2 * largest, "{now} bytes reserved, {largest} after some rounds");
        }
        pool::trim();
        assert_eq!(pool::stats().reserved_bytes, 0);
    });
}

#[test]
fn buffers_count_under_their_tags() {
    alone(|| {
        let live = || Tag::ALL.map(|tag| pool::stats().of(tag).live_bytes);
        let tensor = Buffer::<f32>::copied(&[1.0; 25]);
        let mut gradient = Buffer::<f64>::zeroed_as(Tag::Gradient, 10);
        let scratch = Buffer::<u8>::scratch(7);
        assert_eq!(live(), [100, 80, 7]);
        let copy = gradient.clone();
        assert_eq!((copy.tag(), live()), (Tag::Gradient, [100, 160, 7]));
        gradient.retag(Tag::Tensor);
        assert_eq!((gradient.tag(), live()), (Tag::Tensor, [180, 80, 7]));
        elsewhere(move || drop((tensor, copy)));
        assert_eq!((live(), pool::stats().live_bytes), ([80, 0, 7], 87));
        let mut empty = Buffer::<f64>::unspecified(0);
        empty.retag(Tag::Gradient);
        assert_eq!((empty.len(), empty.as_ptr() as usize % pool::ALIGN, live()), (0, 0, [80, 0, 7]));
        drop((gradient, scratch));
    });
}

/// One byte more than was ever alive moves the peak by one byte, however small the steps.
#[test]
fn peaks_of_one_thread_are_exact() {
    alone(|| {
        for tag in Tag::ALL {
            for extra in [1, 1000, DRIFT - 1, DRIFT, DRIFT + 1, 9 << 20] {
                let (before, of_tag) = (pool::stats(), pool::stats().of(tag));
                let up_to = (before.peak_bytes - before.live_bytes) as usize;
                let reached = Buffer::<u8>::unspecified_as(tag, up_to);
                assert_eq!(pool::stats().peak_bytes, before.peak_bytes);
                drop(Buffer::<u8>::unspecified_as(tag, extra as usize));
                drop(reached);
                let after = pool::stats();
                assert_eq!(after.peak_bytes, before.peak_bytes + extra, "{tag:?}, {extra}");
                let reached = of_tag.live_bytes + up_to as u64 + extra;
                assert_eq!(after.of(tag).peak_bytes, of_tag.peak_bytes.max(reached), "{tag:?}, {extra}");
            }
        }
    });
}

#[test]
fn peaks_of_several_threads_are_within_their_bound() {
    alone(|| {
        const THREADS: u64 = 6;
        let before = pool::stats().peak_bytes;
        let base = Buffer::<u8>::unspecified(before as usize);
        let barrier = Barrier::new(THREADS as usize);
        let bound = 2 * DRIFT * (THREADS - 1);
        for each in [DRIFT / 2, 3 << 20] {
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        let own = Buffer::<u8>::unspecified(each as usize);
                        barrier.wait();
                        let stats = pool::stats();
                        assert_eq!(stats.live_bytes, before + THREADS * each);
                        assert!(stats.peak_bytes >= stats.live_bytes);
                        barrier.wait();
                        drop(own);
                    });
                }
            });
            let (peak, true_peak) = (pool::stats().peak_bytes, before + THREADS * each);
            assert!(peak.abs_diff(true_peak) <= bound, "{peak} instead of {true_peak}");
        }
        drop(base);
    });
}

#[test]
fn little_is_lost_after_a_long_mixed_run() {
    alone(|| {
        let mut numbers = Numbers::new(11);
        let mut kept: Vec<(u64, Buffer<u64>)> = Vec::new();
        let mut live = 0;
        for with in 0..60_000 {
            if live > 48 << 20 || (numbers.bits().is_multiple_of(2) && !kept.is_empty()) {
                let (with, buffer) = kept.swap_remove(numbers.bits() as usize % kept.len());
                assert_stamped(&buffer, with);
                live -= size_of_val(&*buffer);
            } else {
                let mut buffer = Buffer::unspecified(some_len(&mut numbers));
                stamp(&mut buffer, with);
                live += size_of_val(&*buffer);
                kept.push((with, buffer));
            }
        }
        let stats = pool::stats();
        assert_eq!(stats.live_bytes, live as u64);
        assert!(stats.live_bytes > 16 << 20, "the run is not over: {stats:?}");
        let accounted = stats.live_bytes + stats.cached_bytes + stats.idle_bytes + stats.lost_bytes();
        assert_eq!(stats.reserved_bytes, accounted);
        assert!(stats.fragmentation() < 0.01, "{:.3} %: {stats:?}", 100.0 * stats.fragmentation());
        assert!(EXACT || stats.lost_bytes() >= 64 * kept.len() as u64, "headers are lost: {stats:?}");
        assert!(stats.reserved_bytes < stats.peak_bytes * 5 / 4, "{stats:?}");
        kept.iter().for_each(|(with, buffer)| assert_stamped(buffer, *with));
    });
}

#[test]
fn a_trim_returns_everything_that_is_idle() {
    alone(|| {
        let fill = || {
            let buffers: Vec<_> = (0..200).map(|i| Buffer::<u64>::zeroed(1 + i * 500)).collect();
            drop(buffers);
        };
        fill();
        elsewhere(fill);
        assert!(EXACT || pool::stats().reserved_bytes > 20 << 20);
        pool::trim();
        assert_eq!(pool::stats().reserved_bytes, 0);

        // Beside live buffers: all but parts of pages. What is left is intact, and given-back pages are usable.
        let mut buffers: Vec<Buffer<u64>> = (0..100).map(|_| Buffer::zeroed(50_000)).collect();
        for (i, buffer) in buffers.iter_mut().enumerate() {
            stamp(buffer, i as u64);
        }
        let mut i = 0;
        buffers.retain(|_| {
            i += 1;
            i % 10 == 1
        });
        pool::trim();
        let stats = pool::stats();
        if cfg!(target_os = "linux") {
            let rests = stats.reserved_bytes - stats.live_bytes;
            assert!(rests <= 10 * 2 * (4 << 10) + 3 * (64 << 10), "{stats:?}");
        }
        let again: Vec<Buffer<u64>> = (0..100).map(|_| Buffer::zeroed(40_000)).collect();
        assert!(again.iter().all(|buffer| buffer.iter().all(|&x| x == 0)));
        (0..10).for_each(|i| assert_stamped(&buffers[i], 10 * i as u64));

        // Part of it: as much as is asked for and no more than a piece too much.
        drop(again);
        let reserved = pool::stats().reserved_bytes;
        pool::trim_to(reserved);
        assert_eq!(pool::stats().reserved_bytes, reserved);
        pool::trim_to(stats.live_bytes + (12 << 20));
        assert!(pool::stats().reserved_bytes <= stats.live_bytes + (12 << 20));
    });
}

#[test]
fn a_sleeping_thread_gives_its_cache_back_when_it_next_allocates() {
    if EXACT {
        return;
    }
    alone(|| {
        let (wake, woken) = channel::<()>();
        let (tell, told) = channel::<()>();
        let sleeper = thread::spawn(move || {
            drop(Buffer::<u8>::unspecified(1 << 20));
            tell.send(()).unwrap();
            woken.recv().unwrap();
            drop(Buffer::<u8>::unspecified(10));
            tell.send(()).unwrap();
            woken.recv().unwrap();
        });
        told.recv().unwrap();
        pool::trim();
        assert_eq!(pool::stats().cached_bytes, 1 << 20, "another thread's cache is its own");
        wake.send(()).unwrap();
        told.recv().unwrap();
        assert_eq!(pool::stats().cached_bytes, 64, "its next use has emptied it");
        wake.send(()).unwrap();
        sleeper.join().unwrap();
        pool::trim();
        assert_eq!(pool::stats().reserved_bytes, 0);
    });
}

#[test]
fn a_limit_gives_idle_memory_back_first_and_then_refuses() {
    alone(|| {
        let old = pool::set_limit(Some(40 << 20));
        assert_eq!(old, None);
        // Far more than the limit in turn: what is idle makes room, whether large or in a cache.
        for i in 0..20 {
            drop(Buffer::<u8>::zeroed((20 << 20) + i * 65_536));
            drop(Buffer::<u8>::zeroed((900 << 10) - i * 4096));
            assert!(pool::stats().reserved_bytes <= 40 << 20);
        }
        let kept = Buffer::<u8>::zeroed(30 << 20);
        match Buffer::<u8>::try_unspecified(20 << 20) {
            Err(PoolError::OverLimit { bytes, reserved, limit }) => {
                assert_eq!(limit, 40 << 20);
                assert!(bytes >= 20 << 20 && (30 << 20..31 << 20).contains(&reserved));
            }
            other => panic!("{:?}", other.map(|buffer| buffer.len())),
        }
        let panic = std::panic::catch_unwind(|| Buffer::<u8>::zeroed(20 << 20)).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("limit of 41943040 bytes"), "{message}");
        drop(Buffer::<u8>::zeroed(5 << 20));
        drop(kept);
        drop(Buffer::<u8>::zeroed(39 << 20));
        assert_eq!(pool::set_limit(None), Some(40 << 20));
        drop(Buffer::<u8>::zeroed(41 << 20));
    });
}

/// Making room gives back large pieces first, and one of them may be what the request would have been cut from.
#[test]
fn a_request_that_the_limit_leaves_is_served() {
    if EXACT || cfg!(not(target_os = "linux")) {
        return;
    }
    alone(|| {
        let buffer = |mib: usize| Buffer::<u8>::unspecified(mib << 20);
        let [first, large, rest, small, last] = [2, 8, 21, 6, 25].map(buffer);
        drop(rest);
        pool::trim();
        // Two idle pieces, of which the larger one is the beginning of a place for 12 MiB.
        drop((large, small));
        assert_eq!(pool::stats().idle_bytes >> 20, 14);
        let limit = pool::stats().live_bytes + (13 << 20);
        pool::set_limit(Some(limit));
        drop(buffer(12));
        assert!(pool::stats().reserved_bytes <= limit);
        assert_eq!(pool::set_limit(None), Some(limit));
        drop((first, last));
    });
}

#[test]
fn sizes_that_nobody_has_are_errors() {
    alone(|| {
        let len = usize::MAX / 8;
        let error = Buffer::<f64>::try_unspecified(len).unwrap_err();
        assert_eq!(error, PoolError::TooLarge { len, size: 8 });
        let bytes = 1 << 47; // More than a process can address.
        assert!(matches!(Buffer::<u8>::try_unspecified(bytes), Err(PoolError::System { .. })));
        assert!(Buffer::<u8>::try_unspecified(isize::MAX as usize / 2).is_err());
        let panic = std::panic::catch_unwind(|| Buffer::<f64>::zeroed(len)).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().starts_with("a buffer's size in bytes overflows"));
        assert_eq!(pool::stats().live_bytes, 0, "a refused request counts nothing");
    });
}

#[test]
fn a_warm_request_does_not_allocate() {
    if EXACT {
        return;
    }
    alone(|| {
        let mut numbers = Numbers::new(3);
        let lens: Vec<usize> = (0..100).map(|_| some_len(&mut numbers)).collect();
        let mut kept: Vec<Buffer<u64>> = Vec::with_capacity(lens.len());
        let mut round = || {
            let before = ALLOCATIONS.get();
            for &len in &lens {
                drop(Buffer::<f32>::scratch(len));
                kept.push(Buffer::unspecified(len));
            }
            kept.clear();
            let workspace = Workspace::new(4096);
            workspace.slice::<f32>(100)[0] = 1.0;
            ALLOCATIONS.get() - before
        };
        (0..16).for_each(|_| {
            round();
        }); // Until blocks lie where the pattern leaves them.
        let before = ALLOCATIONS.get();
        drop(std::hint::black_box(Box::new(1u64)));
        assert_eq!(ALLOCATIONS.get(), before + 1, "what does allocate is counted");
        let fresh = pool::stats().fresh;
        assert_eq!((0..5).map(|_| round()).sum::<u64>(), 0);
        assert_eq!(pool::stats().fresh, fresh, "and the system is asked for nothing");
    });
}

/// Buffers and what they are stamped with.
type Stall = Vec<(u64, Buffer<u64>)>;

#[test]
fn threads_that_trade_buffers_and_trim_lose_nothing() {
    alone(|| {
        const THREADS: usize = 8;
        let market: [Mutex<Stall>; 4] = Default::default();
        thread::scope(|scope| {
            let work = |seed: usize| {
                let mut numbers = Numbers::new(seed as u64);
                let mut own = Vec::new();
                for step in 0..3000 {
                    let with = (seed * 10_000 + step) as u64;
                    let place = &market[numbers.bits() as usize % 4];
                    match numbers.bits() % 16 {
                        0..6 => {
                            let mut buffer = Buffer::unspecified(some_len(&mut numbers) / 8 + 1);
                            stamp(&mut buffer, with);
                            own.push((with, buffer));
                        }
                        6..9 => place.lock().unwrap().extend(own.pop()),
                        9..12 => own.extend(place.lock().unwrap().pop()),
                        12..15 => drop(own.pop().inspect(|(with, buffer)| assert_stamped(buffer, *with))),
                        _ if step % 50 == 0 => pool::trim_to(numbers.bits() % (32 << 20)),
                        _ => own.truncate(20),
                    }
                }
                own.iter().for_each(|(with, buffer)| assert_stamped(buffer, *with));
            };
            let threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(move || work(seed))).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        let left = market.into_iter().flat_map(|place| place.into_inner().unwrap());
        left.for_each(|(with, buffer)| assert_stamped(&buffer, with));
        pool::trim();
        assert_eq!(pool::stats().reserved_bytes, 0);
    });
}

thread_local! {
    static LATE: Cell<Option<Buffer<u64>>> = const { Cell::new(None) };
}

/// What a thread-local holds is freed when the thread's slot may be gone.
#[test]
fn a_thread_that_is_ending_can_still_free() {
    alone(|| {
        for first in [true, false] {
            elsewhere(move || {
                if first {
                    drop(Buffer::<u8>::unspecified(1)); // The pool's thread-local before ours, then after.
                }
                LATE.set(None);
                LATE.set(Some(Buffer::zeroed(1000)));
            });
            let stats = pool::stats();
            assert_eq!((stats.live_bytes, stats.cached_bytes), (0, 0));
        }
    });
}
