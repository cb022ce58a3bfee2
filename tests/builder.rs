//! What building a runtime promises: every refusal is a value that says why, and leaves no thread behind.

// Limits on processes are the operating system's to set.
#![allow(unsafe_code)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use upbeat::{BuildError, Runtime, MAX_WORKERS};

/// Fault 38, and the other numbers that are refused before a thread starts.
#[test]
fn numbers_out_of_range_are_refused() {
    let build = || Runtime::builder().workers(1);
    for bytes in [0, 1, (64 << 10) - 1, (64 << 30) + 1, usize::MAX] {
        let error = build().stack_size(bytes).build().unwrap_err();
        assert!(matches!(error, BuildError::StackSize { asked } if asked == bytes), "{error}");
        assert!(error.to_string().contains(&bytes.to_string()));
    }
    for heartbeat in [Duration::ZERO, Duration::from_secs(1) + Duration::from_nanos(1), Duration::MAX] {
        assert!(matches!(build().heartbeat(heartbeat).build().unwrap_err(), BuildError::Heartbeat));
    }
    for workers in [MAX_WORKERS + 1, usize::MAX] {
        let error = Runtime::builder().workers(workers).build().unwrap_err();
        assert!(matches!(error, BuildError::TooManyWorkers { asked } if asked == workers), "{error}");
    }
}

#[test]
fn a_thread_name_with_a_nul_is_refused() {
    let started = Arc::new(AtomicUsize::new(0));
    let count = started.clone();
    let builder = Runtime::builder().workers(4).on_start(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let named = builder.thread_name(|i| if i == 2 { "a\0b".to_owned() } else { format!("fine-{i}") });
    let error = named.build().unwrap_err();
    assert!(matches!(error, BuildError::ThreadName { index: 2 }), "{error}");
    assert!(error.to_string().contains("NUL"));
    assert_eq!(started.load(Ordering::Relaxed), 0, "refused before any thread starts");
    assert_eq!(Arc::strong_count(&started), 1);
}

/// Fault 38: an odd size is rounded up.
#[test]
fn an_unaligned_stack_size_works() {
    let runtime = Runtime::builder().workers(2).stack_size((64 << 10) + 1).build().unwrap();
    assert_eq!(runtime.join(|| 1, || 2), (1, 2));
}

/// Fault 33.
#[test]
fn one_worker_runs_everything_itself() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let ids = runtime.join(|| thread::current().id(), || thread::current().id());
    assert_eq!(ids.0, ids.1);
    assert!(Runtime::builder().workers(0).build().unwrap().num_workers() >= 1, "0 means the default");
}

#[test]
fn hooks_run_once_on_each_named_worker() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let events = events.clone();
        move |index: usize| {
            let name = thread::current().name().unwrap().to_owned();
            events.lock().unwrap().push((what, index, name));
        }
    };
    let builder = Runtime::builder().workers(3).thread_name(|i| format!("custom-{i}"));
    let runtime = builder.on_start(note("start")).on_exit(note("exit")).build().unwrap();
    assert_eq!(events.lock().unwrap().len(), 3, "all have started when `build` returns");
    runtime.shutdown();
    let mut events = Arc::try_unwrap(events).unwrap().into_inner().unwrap();
    events.sort();
    let expected = ["exit", "start"].map(|what| (0..3).map(move |i| (what, i, format!("custom-{i}"))));
    assert!(events.into_iter().eq(expected.into_iter().flatten()));
}

/// Fault 8: a start hook that panics is an error, and the workers that did start are gone when it is returned.
#[test]
fn a_start_hook_that_panics_is_an_error() {
    for failing in 0..4 {
        let exited = Arc::new(AtomicUsize::new(0));
        let count = exited.clone();
        let builder = Runtime::builder().workers(4).on_start(move |i| assert_ne!(i, failing));
        let error = builder
            .on_exit(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            })
            .build()
            .unwrap_err();
        assert!(matches!(error, BuildError::StartHook { index } if index == failing), "{error}");
        assert_eq!((exited.load(Ordering::Relaxed), Arc::strong_count(&exited)), (3, 1));
    }
}

/// Fault 8.
#[cfg(unix)]
#[test]
fn an_exit_hook_that_panics_aborts() {
    if support::role().is_some() {
        drop(Runtime::builder().workers(1).on_exit(|_| panic!("exit")).build().unwrap());
        return;
    }
    let output = support::rerun("an_exit_hook_that_panics_aborts", "abort").output().unwrap();
    support::assert_aborted(&output, "the on_exit hook of worker 0 panicked");
}

/// Fault 50: garbage in the environment is a named error, and a panic with that error where the global runtime needs it.
#[test]
fn garbage_in_the_environment_is_refused() {
    const NAME: &str = "garbage_in_the_environment_is_refused";
    if support::role().is_some() {
        let value = std::env::var_os("UPBEAT_WORKERS").unwrap().to_string_lossy().into_owned();
        let error = Runtime::new().unwrap_err();
        assert!(matches!(&error, BuildError::Environment { value: v } if *v == value), "{error}");
        let message = support::message(support::panic_of(|| upbeat::join(|| (), || ())));
        assert!(message.contains(&error.to_string()), "{message}");
        // The failure is not final.
        std::env::set_var("UPBEAT_WORKERS", "2");
        assert_eq!(upbeat::join(|| 1, upbeat::current_num_workers), (1, 2));
        return;
    }
    for garbage in ["-1", "9e99", "0", "two", "99999999999999999999", " "] {
        support::assert_passed(
            &support::rerun(NAME, "garbage").env("UPBEAT_WORKERS", garbage).output().unwrap(),
        );
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let garbage = std::ffi::OsStr::from_bytes(&[0xff, b'2']);
        support::assert_passed(
            &support::rerun(NAME, "garbage").env("UPBEAT_WORKERS", garbage).output().unwrap(),
        );
    }
}

/// Fault 37: the n-th thread cannot be started, for want of address space. Those before it are joined, and with more room
/// the same process builds a runtime after all.
#[cfg(target_os = "linux")]
#[test]
fn a_thread_that_cannot_be_started_is_an_error() {
    const NAME: &str = "a_thread_that_cannot_be_started_is_an_error";
    const STACK: usize = 256 << 20;
    if support::role().is_none() {
        let output = support::rerun(NAME, "limited").output().unwrap();
        return support::assert_passed(&output);
    }
    let status = |key: &str| -> usize {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let allow = |bytes: u64| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: `limit` is a limit to read.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    };
    // AddressSanitizer reserves terabytes for its shadow, takes more for each thread, and ends the process when that is
    // refused: then no limit refuses the thread alone, and the test says so instead of running.
    if status("VmSize:") >> 30 >= 1 {
        return eprintln!("not run: a sanitizer's reservation leaves nothing to limit");
    }
    let threads = status("Threads:");
    for fits in 0..4 {
        // Room for `fits` stacks and a half.
        let used = status("VmSize:") << 10;
        allow((used + fits * STACK + STACK / 2) as u64);
        let exited = Arc::new(AtomicUsize::new(0));
        let count = exited.clone();
        let builder = Runtime::builder().workers(8).stack_size(STACK);
        let built = builder
            .on_exit(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            })
            .build();
        allow(libc::RLIM_INFINITY);
        match built.unwrap_err() {
            BuildError::Spawn { index, source } => {
                assert!(index <= fits, "worker {index} of {fits} that fit: {source}");
                assert_eq!(exited.load(Ordering::Relaxed), index, "each worker that had started has ended");
                assert_eq!(Arc::strong_count(&exited), 1);
            }
            other => panic!("{other}"),
        }
        assert_eq!(status("Threads:"), threads, "a thread was left behind");
    }
    let runtime = Runtime::builder().workers(8).stack_size(STACK).build().unwrap();
    assert_eq!(runtime.join(|| 1, || 2), (1, 2));
}
