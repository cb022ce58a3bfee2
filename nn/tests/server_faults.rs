//! Promises of a server towards what its users do badly or at a bad time: no waker, drop or burst of theirs stops the others, and what
//! it says of itself and of memory is not out of date.

use std::fs;
use std::future::Future;
use std::pin::Pin;
use std::sync::{mpsc, Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use upbeat::batch::pressure::{Gauge, Level};
use upbeat::Runtime;
use upbeat_nn::sampling::Sampler;
use upbeat_nn::serving::{Reply, Request, RequestError, Server, ServerOptions};
use upbeat_nn::{Config, Transformer};

/// A server on a runtime of one worker: no step is made while that worker runs a test's own code.
fn server(options: ServerOptions) -> (Arc<Runtime>, Server) {
    let runtime = Arc::new(Runtime::builder().workers(1).build().unwrap());
    let model = Arc::new(Transformer::<f32>::new(Config::modern(37, 64, 32, 2, 4), 5).unwrap());
    let server = Server::new(runtime.clone(), model, options).unwrap();
    (runtime, server)
}

/// Options that look at no file.
fn options() -> ServerOptions {
    ServerOptions { gauge: None, ..ServerOptions::default() }
}

fn request(prompt: usize, tokens: usize) -> Request {
    Request::new(vec![1; prompt], tokens, Sampler::new(0.0, 1.0, 0).unwrap())
}

/// Polls `reply`, which must not be ready, so that it has `waker`.
fn leave(reply: &mut Reply, waker: &Waker) {
    assert!(Pin::new(reply).poll(&mut Context::from_waker(waker)).is_pending());
}

/// Fails, rather than hangs, when `test` does not end. It takes milliseconds.
#[track_caller]
fn ends(test: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = sender.send(());
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = receiver.recv_timeout(Duration::from_secs(60)) {
        panic!("it hangs");
    }
    thread.join().unwrap();
}

#[test]
fn a_worker_may_drop_the_server_that_alone_keeps_its_runtime() {
    ends(|| {
        let (runtime, server) = server(options());
        let ((go, gone), (done, over)) = (mpsc::channel(), mpsc::channel());
        let task = runtime.spawn(move || {
            gone.recv().unwrap();
            drop(server);
            done.send(()).unwrap();
        });
        drop(runtime);
        go.send(()).unwrap();
        over.recv().unwrap();
        drop(task);
    });
}

/// Asks the server when it is woken, and when it is dropped.
struct Asks(Arc<Server>, Mutex<Vec<Reply>>);

impl Asks {
    fn ask(&self) {
        self.0.stats();
        self.1.lock().unwrap().extend(self.0.submit(request(1, 1)));
    }
}

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        self.ask();
    }
}

impl Drop for Asks {
    fn drop(&mut self) {
        self.ask();
    }
}

#[test]
fn wakers_may_ask_the_server() {
    ends(|| {
        let (runtime, server) = server(ServerOptions { batch: 1, ..options() });
        let server = Arc::new(server);
        runtime.install(|_| {
            let first = server.submit(request(1, 9)).unwrap();
            let mut cancelled: Vec<_> = (0..3).map(|_| server.submit(request(1, 9)).unwrap()).collect();
            let mut last = server.submit(request(1, 9)).unwrap();
            let asks = || Waker::from(Arc::new(Asks(server.clone(), Mutex::default())));
            for reply in cancelled.iter_mut().chain([&mut last]) {
                leave(reply, &asks());
                // The one before is dropped for this one.
                leave(reply, &asks());
            }
            drop(cancelled);
            assert_eq!(first.join().unwrap().len(), 9);
            assert_eq!(last.join().unwrap().len(), 9);
        });
    });
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker's panic, which this test wants");
    }
}

#[test]
fn a_waker_that_panics_ends_no_request() {
    ends(|| {
        let (runtime, server) = server(options());
        runtime.install(|_| {
            let mut replies: Vec<_> = (0..5).map(|_| server.submit(request(1, 9)).unwrap()).collect();
            // Two: one panic while another is on its way would abort.
            leave(&mut replies[1], &Waker::from(Arc::new(Panics)));
            leave(&mut replies[3], &Waker::from(Arc::new(Panics)));
            let first = replies.remove(0);
            assert_eq!(first.join().unwrap().len(), 9);
            assert!(replies.into_iter().all(|reply| reply.join().unwrap().len() == 9));
            // They panic at the server's end as well, which comes all the same.
            let mut left = server.submit(request(1, 9)).unwrap();
            leave(&mut left, &Waker::from(Arc::new(Panics)));
            drop(server);
            assert_eq!(left.join(), Err(RequestError::Stopped));
        });
    });
}

#[test]
fn a_prompt_among_as_many_requests_as_rows_does_not_crawl() {
    const TOKENS: usize = 12;
    let (runtime, server) = server(ServerOptions { batch: 16, rows: 16, ..options() });
    runtime.install(|_| {
        let mut replies: Vec<_> = (0..15).map(|_| server.submit(request(1, TOKENS)).unwrap()).collect();
        // At five tokens a step it is read while the others are written.
        replies.push(server.submit(request(49, 1)).unwrap());
        assert!(replies.into_iter().all(|reply| reply.join().is_ok()));
    });
    let stats = server.stats();
    assert_eq!(stats.rows, 15 * TOKENS as u64 + 49);
    // The first step may have been formed before the other requests came.
    assert!(stats.steps <= TOKENS as u64 + 1, "{stats:?}");
}

#[test]
fn a_request_that_no_longer_waits_is_seen_to_run() {
    let (runtime, server) = server(options());
    runtime.install(|_| {
        let reply = server.submit(request(1, 9)).unwrap();
        // The step itself needs this worker, so nothing can have ended yet.
        let stats = loop {
            let stats = server.stats();
            if stats.waiting == 0 {
                break stats;
            }
            std::thread::yield_now();
        };
        assert_eq!((stats.running, stats.steps), (1, 0));
        assert_eq!(reply.join().unwrap().len(), 9);
    });
}

#[test]
fn an_idle_server_looks_at_memory_before_it_takes_a_request_on() {
    let root = std::env::temp_dir().join(format!("upbeat-server-idle-{}", std::process::id()));
    fs::create_dir_all(root.join("pressure")).unwrap();
    let (_runtime, server) = server(ServerOptions { gauge: Some(Gauge::at(&root, &root)), ..options() });
    assert_eq!(server.submit(request(1, 3)).unwrap().join().unwrap().len(), 3);
    fs::write(root.join("pressure/memory"), "some avg10=90.00 total=1\nfull avg10=0.00 total=1\n").unwrap();
    // A reading counts for half a second, so that a burst of requests does not read files for each.
    std::thread::sleep(Duration::from_millis(550));
    let error = server.submit(request(1, 3)).unwrap_err();
    assert!(matches!(error, RequestError::MemoryPressure(_)), "{error}");
    assert_eq!(server.stats().level, Level::Critical);
    fs::remove_dir_all(root).unwrap();
}
