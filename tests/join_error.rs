//! What `JoinError` promises: each reason why a task has no result is told apart, says what it is, and keeps its payload.

use std::error::Error;

use upbeat::{CancelToken, Cancelled, JoinError, JoinHandle, Runtime, ShutDown, Spawn};

fn is_shared_freely(_: &(impl Error + Send + Sync + 'static)) {}

/// `?` needs no more than the right error type.
fn result_of(handle: JoinHandle<u32>) -> Result<u32, JoinError> {
    Ok(handle.join()?)
}

#[test]
fn each_reason_is_told_apart_and_keeps_its_payload() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    assert_eq!(result_of(runtime.spawn(|| 7)).unwrap(), 7);

    let token = CancelToken::new();
    let shown = format!("{token:?}");
    let panicked = result_of(runtime.spawn(move || panic!("at {token:?}"))).unwrap_err();
    is_shared_freely(&panicked);
    assert!(panicked.is_panic() && !panicked.is_cancelled() && !panicked.is_shut_down());
    assert_eq!(panicked.to_string(), format!("the task panicked: at {shown}"));
    assert_eq!(format!("{panicked:?}"), format!("JoinError(the task panicked: at {shown})"));
    assert!(panicked.source().is_none());
    assert_eq!(panicked.into_panic().downcast_ref::<String>().unwrap(), &format!("at {shown}"));

    let token = CancelToken::new();
    token.cancel();
    let cancelled = result_of(runtime.spawn_with(Spawn::new().cancel(&token), || 7)).unwrap_err();
    assert!(cancelled.is_cancelled() && !cancelled.is_panic());
    assert!(cancelled.source().unwrap().is::<Cancelled>());
    assert!(cancelled.into_panic().is::<Cancelled>());

    let handle = runtime.spawn_future(std::future::pending());
    runtime.shutdown();
    let ended = result_of(handle).unwrap_err();
    assert!(ended.is_shut_down() && ended.source().unwrap().is::<ShutDown>());
    assert!(ended.into_panic().is::<ShutDown>());
}
