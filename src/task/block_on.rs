//! Waiting for a future on the thread that needs its result.
//!
//! The future is polled where `block_on` was called. Between two polls a worker runs other public tasks; any other thread sleeps.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::latch::Blocking;
use crate::runtime::current::with_current;

/// Rings when the future is woken.
struct Bell(Blocking);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.set();
    }
}

/// Polls `future` on this thread until it is done; see [`block_on`](crate::block_on).
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    block_on_helping(future, || false)
}

/// The same; a worker calls `help` when it looks for something to run, which says whether it did something.
pub(crate) fn block_on_helping<F: Future>(future: F, help: impl Fn() -> bool) -> F::Output {
    let mut future = pin!(future);
    let bell = Arc::new(Bell(Blocking::new()));
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        with_current(|worker| match worker {
            Some(worker) => worker.thread().wait_helping(&bell.0, &help),
            None => bell.0.wait(),
        });
        // What woke us is answered by the next poll; what comes from here on by the one after it.
        bell.0.reset();
    }
}
