//! Records the tasks of a real program: where it forks, and how long it works in between.
//!
//! The program runs on a runtime of one worker, so that what is timed is its own work, and makes its joins through the recorder. What it
//! forks without the recorder counts as work of the task that does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use upbeat::{BuildError, Runtime};

use crate::graph::{Graph, Node};

/// Makes the joins of a program that is recorded.
#[derive(Debug)]
pub struct Recorder {
    state: Mutex<State>,
    /// What reading the clock twice adds to a stretch of work, ns.
    clock: u64,
}

#[derive(Debug)]
struct State {
    nodes: Vec<Node>,
    /// The node that runs, and since when.
    current: usize,
    since: Instant,
}

const EMPTY: Node = Node { ns: 0, sides: None, then: None };

impl Recorder {
    /// Runs `program` and returns its graph and its result.
    ///
    /// ```
    /// use upbeat_sim::record::Recorder;
    ///
    /// fn fib(recorder: &Recorder, n: u64) -> u64 {
    ///     if n < 2 {
    ///         return n;
    ///     }
    ///     let (a, b) = recorder.join(|| fib(recorder, n - 1), || fib(recorder, n - 2));
    ///     a + b
    /// }
    /// let (graph, result) = Recorder::record(|recorder| fib(recorder, 10)).unwrap();
    /// assert_eq!(result, 55);
    /// assert_eq!(graph.nodes().iter().filter(|node| node.sides.is_some()).count(), 88);
    /// ```
    ///
    /// # Errors
    /// When the runtime cannot be built.
    ///
    /// # Panics
    /// When the program does.
    pub fn record<R: Send>(program: impl FnOnce(&Recorder) -> R + Send) -> Result<(Graph, R), BuildError> {
        let runtime = Runtime::builder().workers(1).build()?;
        let clock = (0..1000).map(|_| Instant::now().elapsed().as_nanos() as u64).min().unwrap_or(0);
        let state = State { nodes: vec![EMPTY], current: 0, since: Instant::now() };
        let recorder = Recorder { state: Mutex::new(state), clock };
        let result = runtime.install(|_| {
            recorder.lock().since = Instant::now();
            let result = program(&recorder);
            recorder.end(Instant::now());
            result
        });
        let state = recorder.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((Graph::of(state.nodes), result))
    }

    /// [`upbeat::join`], recorded.
    pub fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        self.end(Instant::now());
        let (forking, left, right) = {
            let mut state = self.lock();
            let left = state.nodes.len();
            state.nodes.extend([EMPTY, EMPTY]);
            let forking = state.current;
            state.nodes[forking].sides = Some([left as u32, left as u32 + 1]);
            (forking, left, left + 1)
        };
        let results = upbeat::join(|| self.side(left, a), || self.side(right, b));
        let mut state = self.lock();
        let then = state.nodes.len();
        state.nodes.push(EMPTY);
        state.nodes[forking].then = Some(then as u32);
        state.current = then;
        state.since = Instant::now();
        results
    }

    fn side<R>(&self, node: usize, run: impl FnOnce() -> R) -> R {
        {
            let mut state = self.lock();
            state.current = node;
            state.since = Instant::now();
        }
        let result = run();
        self.end(Instant::now());
        result
    }

    /// The current node's work is over.
    fn end(&self, now: Instant) {
        let mut state = self.lock();
        let took = now.saturating_duration_since(state.since).as_nanos() as u64;
        let current = state.current;
        state.nodes[current].ns = took.saturating_sub(self.clock);
    }

    /// A poisoned lock means that the program panicked, and then its graph reaches nobody.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::walk;

    fn work(rounds: u64) {
        upbeat_benches::workloads::spin_item(rounds);
    }

    /// Left works, right forks again; and something after both.
    #[test]
    fn a_program_is_recorded_in_its_shape_and_can_be_read_back() {
        let (graph, ()) = Recorder::record(|recorder| {
            work(20_000);
            recorder.join(
                || work(100_000),
                || {
                    recorder.join(|| work(10_000), || work(10_000));
                },
            );
            work(20_000);
        })
        .unwrap();
        let nodes = graph.nodes();
        let total = walk(&graph);
        assert_eq!((nodes.len(), total.forks), (7, 2));
        let [left, right] = nodes[0].sides.unwrap();
        assert!(nodes[left as usize].sides.is_none() && nodes[right as usize].sides.is_some());
        let ns = |node: u32| nodes[node as usize].ns;
        assert!(ns(left) > 0 && ns(nodes[0].then.unwrap()) > 0);
        assert!(ns(right) < ns(left), "forking at once is no work: {nodes:?}");
        assert_eq!(Graph::parse(&graph.to_text()), Ok(graph));
    }
}
