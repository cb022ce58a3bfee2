//! Phases with several callers from outside at once, more than there are workers: they take the seats of workers that sleep, are
//! handed over when none does, and leave while thieves ask and steal. Their regions are trees of joins, scopes, and futures.
//!
//! As in [`phases`](crate::phases), each closure leaves a mark and every sum is checked.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use upbeat::{CancelToken, Cancelled, Generator, JoinHandle, Mode, Runtime, Scope, Spawn};

use crate::phases::{cores, random_tree, runtime, spin, Marks};
use crate::Counts;

/// Runs `region` again and again on more threads than the runtime has workers, and says what was done. It is told a generator of its
/// own and returns the number of its joins.
fn called(seed: u64, until: Instant, region: impl Fn(&Runtime, &mut Generator) -> u64 + Sync) -> Counts {
    let workers = cores() + (seed % 3) as usize;
    let runtime = runtime(workers, Mode::OnRequest, seed);
    let call = &|caller: u64| {
        let mut generator = Generator::new(seed << 8 | caller);
        let mut joins = 0;
        while Instant::now() < until {
            joins += region(&runtime, &mut generator);
            // So that seats come free, and workers fall asleep, at all moments of the others' regions.
            match generator.below(8) {
                0 => thread::sleep(Duration::from_micros(generator.below(300) as u64)),
                1 => thread::yield_now(),
                _ => spin(generator.below(200)),
            }
        }
        joins
    };
    let joins = thread::scope(|threads| {
        let callers = 0..workers as u64 + 2;
        let callers: Vec<_> = callers.map(|caller| threads.spawn(move || call(caller))).collect();
        // One by one: ThreadSanitizer does not see how the scope itself waits.
        let ends = callers.into_iter().map(|caller| caller.join());
        ends.map(|end| end.unwrap_or_else(|payload| std::panic::resume_unwind(payload))).sum()
    });
    Counts::of(&runtime, joins)
}

/// The sum of the tasks' numbers below `tasks`.
fn sum_below(tasks: usize) -> u64 {
    (tasks * (tasks - 1) / 2) as u64
}

/// Trees of joins: most are over before anybody may look at them, some are shared.
pub(crate) fn guests(seed: u64, until: Instant) -> Counts {
    called(seed, until, |runtime, generator| {
        let most = [10, 100, 2000][generator.below(3)];
        let tasks = 1 + generator.below(most);
        let (marks, tree) = (Marks::new(tasks), Generator::new(generator.next_u64()));
        let region = |worker: &upbeat::Worker| random_tree(worker, &marks, 0, tasks, tree);
        let sum = match generator.below(4) {
            0 => runtime.run_on_worker(region),
            _ => runtime.install(region),
        };
        assert_eq!(sum, sum_below(tasks), "seed {seed}");
        marks.assert_each_once("guests");
        tasks as u64 - 1
    })
}

/// Marks `tasks` tasks: the lower half in tasks of `scope`'s, each of which spawns the one as far from the other end.
fn spawn_all<'env>(scope: &Scope<'_, 'env>, marks: &'env Marks, tasks: usize) {
    for task in 0..tasks.div_ceil(2) {
        let child = tasks - 1 - task;
        scope.spawn(move |scope| {
            if child > task {
                scope.spawn(move |_| {
                    marks.mark(child);
                });
            }
            if task % 2 == 0 {
                marks.mark(task);
            } else {
                upbeat::join(|| spin(task), || marks.mark(task));
            }
        });
    }
}

/// Scopes whose tasks spawn into them and fork.
pub(crate) fn scopes(seed: u64, until: Instant) -> Counts {
    called(seed, until, |runtime, generator| {
        let tasks = 1 + generator.below(60);
        let trees = 1 + generator.below(200);
        let (marks, tree_marks) = (Marks::new(tasks), Marks::new(trees));
        let tree = Generator::new(generator.next_u64());
        let mut sum = 0;
        runtime.scope(|scope| {
            scope.spawn(|_| sum = runtime.install(|worker| random_tree(worker, &tree_marks, 0, trees, tree)));
            spawn_all(scope, &marks, tasks);
        });
        assert_eq!(sum, sum_below(trees), "seed {seed}");
        marks.assert_each_once("scopes");
        tree_marks.assert_each_once("scopes");
        (trees - 1) as u64
    })
}

/// Counts what was made of it and not yet dropped.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // Release: all is dropped before the caller, who acquires, sees that.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// As `random_tree`, with the free function, which finds its worker by itself.
fn free_tree(marks: &Marks, first: usize, tasks: usize, mut generator: Generator) -> u64 {
    if tasks == 1 {
        spin(generator.below(64));
        return marks.mark(first);
    }
    let left = 1 + generator.below(tasks - 1);
    let (a, b) = (Generator::new(generator.next_u64()), generator);
    let (a, b) =
        upbeat::join(|| free_tree(marks, first, left, a), || free_tree(marks, first + left, tasks - left, b));
    a + b
}

/// A chain of futures, each of which wakes itself a few times, forks, and waits for the one before it. Every fourth chain is cancelled
/// at some moment; then each handle gives its sum or says so.
pub(crate) fn futures(seed: u64, until: Instant) -> Counts {
    called(seed, until, |runtime, generator| {
        let length = 1 + generator.below(12);
        let (alive, token) = (Arc::new(AtomicUsize::new(0)), CancelToken::new());
        let options = Spawn::new().cancel(&token);
        let mut last: Option<JoinHandle<Option<u64>>> = None;
        let trees: Vec<_> = (0..length).map(|_| 1 + generator.below(300)).collect();
        for &tasks in &trees {
            let (before, alive) = (last.take(), Alive::new(&alive));
            let (mut wakes, tree) = (generator.below(4), Generator::new(generator.next_u64()));
            last = Some(runtime.spawn_future_with(options.clone(), async move {
                let _alive = alive;
                poll_fn(|context| {
                    if wakes == 0 {
                        return Poll::Ready(());
                    }
                    wakes -= 1;
                    context.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
                let marks = Marks::new(tasks);
                let own = free_tree(&marks, 0, tasks, tree);
                marks.assert_each_once("futures");
                match before {
                    None => Some(own),
                    Some(before) => before.await.ok().flatten().map(|sum| sum + own),
                }
            }));
        }
        let cancels = generator.below(4) == 0;
        if cancels {
            spin(generator.below(2000));
            token.cancel();
        }
        let Some(last) = last else { unreachable!("a chain has a future") };
        let outcome = match generator.below(2) {
            0 => last.join(),
            _ => runtime.block_on(last),
        };
        let expected = trees.iter().map(|&tasks| sum_below(tasks)).sum::<u64>();
        match outcome {
            Ok(Some(sum)) => assert_eq!(sum, expected, "seed {seed}"),
            Ok(None) => assert!(cancels, "seed {seed}: a future got no sum from the one before it"),
            Err(payload) => assert!(cancels && payload.is::<Cancelled>(), "seed {seed}: {payload:?}"),
        }
        // A future may be dropped after its handle was told.
        while alive.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        trees.iter().map(|&tasks| tasks as u64 - 1).sum()
    })
}
