//! What several test files share: a watchdog against hangs, tests that run in a process of their own, a future that wakes itself,
//! and values whose destructors are counted or panic.

// Each test file uses a part of this.
#![allow(dead_code)]

use std::future::{poll_fn, Future};
use std::io::Write;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

/// No test takes a fraction of this, even under a sanitizer on a busy machine.
fn limit() -> Duration {
    Duration::from_secs(std::env::var("UPBEAT_TEST_LIMIT").map_or(300, |s| s.parse().unwrap()))
}
const ROLE: &str = "UPBEAT_TEST_ROLE";

/// Runs `f`; ends the process with a message when it hangs, so that a lost wake-up fails the test instead of stalling it.
pub(crate) fn watched<R>(what: &str, f: impl FnOnce() -> R) -> R {
    let (done, watch) = mpsc::channel::<()>();
    let what = what.to_owned();
    let watchdog = thread::spawn(move || {
        if watch.recv_timeout(limit()) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Not `eprintln`, which the test harness captures.
            let _ = writeln!(std::io::stderr(), "{what}: no progress for {:?}", limit());
            std::process::abort();
        }
    });
    let result = catch_unwind(AssertUnwindSafe(f));
    drop(done);
    watchdog.join().expect("the watchdog ended by itself");
    result.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// The role of this process, if a test started it.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// The command that runs only the test `name` of this binary, in a process of its own, in `role`.
pub(crate) fn rerun(name: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own path"));
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command
}

/// Standard error of `output` as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that a child ran exactly one test and that it passed.
pub(crate) fn assert_passed(output: &Output) {
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{}", stderr(output));
}

/// Asserts that a child aborted and said `message`.
#[cfg(unix)]
pub(crate) fn assert_aborted(output: &Output, message: &str) {
    use std::os::unix::process::ExitStatusExt;
    let err = stderr(output);
    assert_eq!(output.status.signal(), Some(6), "SIGABRT was expected: {err}");
    assert!(err.contains(message), "`{message}` was expected in: {err}");
}

/// The message of a panic.
pub(crate) fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<&str>() {
        Ok(text) => (*text).to_owned(),
        Err(payload) => *payload.downcast::<String>().expect("a panic with a message"),
    }
}

/// The payload of the panic that `f` must end in.
pub(crate) fn panic_of<R>(f: impl FnOnce() -> R) -> Box<dyn std::any::Any + Send> {
    catch_unwind(AssertUnwindSafe(f)).err().expect("a panic")
}

/// Counts its drops.
pub(crate) struct Counted<'a>(pub(crate) &'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Panics when dropped.
pub(crate) struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("a destructor");
    }
}

/// Several threads meet: each says that it is there and waits for all others. Passing one proves that all ran at once.
pub(crate) struct Meeting(Vec<AtomicBool>);

impl Meeting {
    pub(crate) fn of(parties: usize) -> Self {
        Self((0..parties).map(|_| AtomicBool::new(false)).collect())
    }

    pub(crate) fn arrive(&self, party: usize) {
        self.0[party].store(true, Ordering::Release);
        while !self.0.iter().all(|flag| flag.load(Ordering::Acquire)) {
            thread::yield_now();
        }
    }
}

/// Counts its drops in a counter that it shares.
pub(crate) struct SharedCount(pub(crate) Arc<AtomicUsize>);

impl Drop for SharedCount {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until `condition` holds.
pub(crate) fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// Pending `times` times, and woken by itself each time.
pub(crate) fn yields(times: usize) -> impl Future<Output = ()> {
    let mut left = times;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}
