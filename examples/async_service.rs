//! A service on tokio that hands heavy work to upbeat: its executor goes on serving, a request that is not wanted any more is
//! cancelled, and the end is clean. Run with `cargo run --release --example async_service`.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use upbeat::{CancelToken, Cancelled, Runtime, Spawn};

/// A request: count the primes below a limit. The answer comes through `reply`; who drops its other end has lost interest.
struct Request {
    limit: usize,
    reply: oneshot::Sender<usize>,
}

/// Heavy work: all workers take part, and between two chunks of the loop the task's token is looked at.
fn count_primes(limit: usize) -> usize {
    let is_prime = |n: usize| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    upbeat::par::map_reduce(0..limit, |n| usize::from(is_prime(n)), |a, b| a + b, || 0)
}

/// Serves one request without blocking the executor's thread.
async fn serve(compute: Arc<Runtime>, request: Request) -> Result<(), Cancelled> {
    let Request { limit, mut reply } = request;
    let token = CancelToken::new();
    let mut work = compute.spawn_with(Spawn::new().cancel(&token), move || count_primes(limit));
    let counted = tokio::select! {
        counted = &mut work => counted,
        // The client has gone. The loop stops at its next chunk; we wait for that, so that nothing runs on unseen.
        () = reply.closed() => {
            token.cancel();
            work.await
        }
    };
    match counted {
        Ok(count) => reply.send(count).map_err(|_| Cancelled),
        Err(payload) if payload.is::<Cancelled>() => Err(Cancelled),
        // The work panicked: so does this request's task, and no other one.
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let compute = Arc::new(Runtime::new().expect("threads can be started"));
    let (requests, mut inbox) = mpsc::channel(16);
    let server = tokio::spawn({
        let compute = compute.clone();
        async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Some(request) = inbox.recv().await {
                serving.spawn(serve(compute.clone(), request));
            }
            serving.join_all().await
        }
    });

    let mut answers = Vec::new();
    for limit in [10, 1_000, 100_000] {
        let (reply, answer) = oneshot::channel();
        requests.send(Request { limit, reply }).await.expect("the server runs");
        answers.push(answer);
    }
    // A client that does not wait for its answer, which would take for ever.
    let (reply, answer) = oneshot::channel();
    requests.send(Request { limit: usize::MAX, reply }).await.expect("the server runs");
    drop(answer);

    for (answer, expected) in answers.into_iter().zip([4, 168, 9_592]) {
        let count = answer.await.expect("each request is answered");
        assert_eq!(count, expected);
        println!("{count} primes");
    }
    drop(requests);
    let outcomes = server.await.expect("no request panicked");
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
    println!("one request was cancelled");

    // Every task has ended, so joining the workers takes no time and may be done here; with work left, use `spawn_blocking`.
    Arc::into_inner(compute).expect("the server has gone").shutdown();
}
