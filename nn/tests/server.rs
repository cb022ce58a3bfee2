//! Promises of a server: the tokens that each request would get alone, whatever else it serves; a clear end for every request; nothing
//! kept of what is over.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use upbeat::batch::pressure::{Gauge, Level};
use upbeat::Runtime;
use upbeat_kernels::Element;
use upbeat_nn::generation::generate;
use upbeat_nn::random::Random;
use upbeat_nn::sampling::{Sampler, SamplingError};
use upbeat_nn::serving::{PagesError, Request, RequestError, Server, ServerError, ServerOptions};
use upbeat_nn::{Config, FeedForward, Norm, Positions, Transformer};

const VOCABULARY: usize = 37;

fn model<E: Element>() -> Arc<Transformer<E>> {
    let config = Config {
        vocabulary: VOCABULARY,
        context: 64,
        width: 24,
        layers: 2,
        heads: 3,
        hidden: 40,
        norm: Norm::Layer,
        feed_forward: FeedForward::Gelu,
        positions: Positions::Learned,
        norm_epsilon: 1e-5,
    };
    let mut model = Transformer::<E>::new(config, 5).unwrap();
    for parameter in model.parameters_mut() {
        if parameter.shape.len() == 2 {
            parameter.values.iter_mut().for_each(|x| *x = E::Wide::from_f64(8.0 * x.to_f64()));
        }
    }
    Arc::new(model)
}

fn runtime(workers: usize) -> Arc<Runtime> {
    Arc::new(Runtime::builder().workers(workers).build().unwrap())
}

/// Options that look at no file.
fn options() -> ServerOptions {
    ServerOptions { gauge: None, ..ServerOptions::default() }
}

fn greedy() -> Sampler {
    Sampler::new(0.0, 1.0, 0).unwrap()
}

fn request(number: usize) -> Request {
    let mut random = Random::new(number as u64);
    let prompt: Vec<u32> = (0..1 + number * 5 % 23).map(|_| random.below(VOCABULARY as u64) as u32).collect();
    // Every third is greedy.
    let temperature = if number.is_multiple_of(3) { 0.0 } else { 0.9 };
    Request::new(prompt, 1 + number * 7 % 40, Sampler::new(temperature, 0.95, number as u64).unwrap())
}

/// What the request gets from a decoder of its own.
fn alone<E: Element>(model: &Transformer<E>, request: &Request) -> Vec<u32> {
    let mut tokens = Vec::new();
    let Request { prompt, tokens: count, mut sampler, .. } = request.clone();
    generate(&mut model.decoder(), model.config().context, &prompt, count, &mut sampler, |token| {
        tokens.push(token);
        true
    })
    .unwrap();
    tokens
}

/// Waits until `server` has nothing to do; every page must be free then.
#[track_caller]
fn settled(server: &Server) {
    while server.stats().running + server.stats().waiting > 0 {
        std::thread::yield_now();
    }
    assert_eq!(server.stats().free_pages, server.stats().pages);
}

fn same_tokens<E: Element>(workers: usize, options: ServerOptions, count: usize) {
    let (model, runtime) = (model::<E>(), runtime(workers));
    let requests: Vec<Request> = (0..count).map(request).collect();
    let expected: Vec<_> = requests.iter().map(|request| alone(&model, request)).collect();
    let server = Server::new(runtime, model, options.clone()).unwrap();
    let replies: Vec<_> = requests.into_iter().map(|request| server.submit(request).unwrap()).collect();
    for (number, (reply, expected)) in replies.into_iter().zip(expected).enumerate() {
        assert_eq!(reply.join().unwrap(), expected, "request {number}, {workers} workers, {options:?}");
    }
    settled(&server);
}

#[test]
fn each_request_gets_the_tokens_that_it_gets_alone() {
    for workers in [1, 2, 3] {
        for (batch, rows) in [(1, 1), (3, 1), (5, 9), (16, 32), (40, 64)] {
            same_tokens::<f32>(workers, ServerOptions { batch, rows, ..options() }, 40);
            for stretch in [None, Some(1.0)] {
                same_tokens::<f32>(workers, ServerOptions { batch, rows, stretch, ..options() }, 10);
            }
        }
    }
    same_tokens::<f64>(2, options(), 20);
}

#[test]
fn few_pages_make_requests_wait_and_change_no_token() {
    for page in [1, 5, 16] {
        // Room for one of the largest requests and a bit.
        let pages = Some(64_usize.div_ceil(page) + 2);
        same_tokens::<f32>(2, ServerOptions { page, pages, ..options() }, 30);
    }
}

#[test]
fn requests_share_steps() {
    const TOKENS: usize = 20;
    let runtime = runtime(1);
    let server = Server::new(runtime.clone(), model::<f32>(), options()).unwrap();
    runtime.install(|_| {
        // This is the only worker, and it makes no step before it waits: so no later step than the second lacks a request.
        let submit = |i| server.submit(Request::new([i], TOKENS, greedy())).unwrap();
        let replies: Vec<_> = (0..16).map(submit).collect();
        assert!(replies.into_iter().all(|reply| reply.join().unwrap().len() == TOKENS));
        let stats = server.stats();
        assert_eq!(stats.rows, 16 * TOKENS as u64);
        assert!((TOKENS as u64..=TOKENS as u64 + 1).contains(&stats.steps), "{stats:?}");
        // And it may wait for the server's end, too.
        drop(server);
    });
}

#[test]
fn tokens_come_one_by_one_and_end_at_the_stop() {
    let model = model::<f32>();
    let server = Server::new(runtime(2), model.clone(), options()).unwrap();
    let mut long = request(4);
    long.tokens = 30;
    let expected = alone(&model, &long);
    let mut reply = server.submit(long.clone()).unwrap();
    for token in &expected {
        assert_eq!(reply.next_token(), Ok(Some(*token)));
    }
    assert_eq!((reply.next_token(), reply.next_token()), (Ok(None), Ok(None)));
    assert_eq!(reply.join().unwrap(), expected, "what was taken is part of all");

    let stop = expected[20];
    let first = expected.iter().position(|&token| token == stop).unwrap();
    let stopped = server.submit(Request { stop: Some(stop), ..long.clone() }).unwrap();
    assert_eq!(upbeat::block_on(stopped).unwrap(), expected[..=first], "the stop is the last token");
    assert_eq!(server.submit(Request { tokens: 0, ..long }).unwrap().join(), Ok(vec![]));
    settled(&server);
}

#[test]
fn impossible_requests_are_refused_in_a_sentence() {
    let pages = Some(3);
    let server = Server::new(runtime(1), model::<f32>(), ServerOptions { pages, ..options() }).unwrap();
    let refused = |prompt: &[u32], tokens| {
        let error = server.submit(Request::new(prompt, tokens, greedy())).unwrap_err();
        let text = error.to_string();
        assert!(!text.contains('\n') && text.len() > 15, "{text}");
        error
    };
    assert_eq!(refused(&[], 5), RequestError::EmptyPrompt);
    assert_eq!(refused(&[1, 37], 5), RequestError::Token { token: 37, vocabulary: VOCABULARY });
    assert_eq!(refused(&[1; 60], 6), RequestError::Context { positions: 65, context: 64 });
    let most = usize::MAX - 1;
    assert_eq!(refused(&[1], usize::MAX), RequestError::Context { positions: most, context: 64 });
    assert_eq!(refused(&[1; 20], 30), RequestError::Pages { needed: 4, pages: 3 });
    assert_eq!(server.submit(Request::new([1; 20], 29, greedy())).unwrap().join().unwrap().len(), 29);
    settled(&server);
}

#[test]
fn impossible_servers_are_refused_in_a_sentence() {
    let refused = |options| Server::new(runtime(1), model::<f32>(), options).err().unwrap();
    for options in [
        ServerOptions { batch: 0, ..options() },
        ServerOptions { rows: 0, ..options() },
        ServerOptions { queue: 0, ..options() },
    ] {
        assert!(matches!(refused(options), ServerError::Zero { .. }));
    }
    let zero = |error| matches!(error, ServerError::Pages(PagesError::Zero { .. }));
    assert!(zero(refused(ServerOptions { page: 0, ..options() })));
    assert!(zero(refused(ServerOptions { pages: Some(0), ..options() })));
    let error = refused(ServerOptions { pages: Some(u32::MAX as usize), page: 1 << 30, ..options() });
    assert!(error.to_string().contains("ask for fewer"), "{error}");
}

/// A request that fails while it runs, as its position's row in the table is not a number.
#[test]
fn logits_that_are_not_numbers_end_one_request_and_no_other() {
    let (exact, mut broken) = (model::<f32>(), model::<f32>());
    let parameters = Arc::get_mut(&mut broken).unwrap().parameters_mut();
    let positions = parameters.iter_mut().find(|p| p.name == "positions.weight").unwrap();
    positions.values[10 * 24] = f32::NAN;
    let server = Server::new(runtime(2), broken, options()).unwrap();
    let submit =
        |prompt: usize, tokens| server.submit(Request::new(vec![1; prompt], tokens, greedy())).unwrap();
    let fine: Vec<_> = (1..5).map(|prompt| submit(prompt, 5)).collect();
    let mut fails = submit(7, 20);
    let fine: Vec<_> = fine.into_iter().chain((1..5).map(|prompt| submit(prompt, 6))).collect();
    let expected = alone(&exact, &Request::new([1; 7], 20, greedy()));
    // Positions 0 to 9 are fed before, and the tokens after positions 6 to 9 are drawn.
    for token in &expected[..4] {
        assert_eq!(fails.next_token(), Ok(Some(*token)));
    }
    assert_eq!(fails.next_token(), Err(RequestError::Sampling(SamplingError::Logits)));
    assert_eq!(fails.join(), Err(RequestError::Sampling(SamplingError::Logits)));
    assert!(fine.into_iter().all(|reply| reply.join().is_ok()));
    settled(&server);
}

#[test]
fn a_full_queue_refuses_and_a_dropped_reply_makes_room() {
    let runtime = runtime(1);
    let options = ServerOptions { batch: 1, queue: 2, ..options() };
    let server = Server::new(runtime.clone(), model::<f32>(), options).unwrap();
    runtime.install(|_| {
        let submit = || server.submit(Request::new([1], 60, greedy()));
        // No step is made before this worker waits; at most one request has left the queue by then.
        let mut replies = Vec::new();
        let refusal = loop {
            match submit() {
                Ok(reply) => replies.push(reply),
                Err(error) => break error,
            }
            assert!(replies.len() <= 3, "one runs and two wait");
        };
        assert_eq!(refusal, RequestError::QueueFull { waiting: 2 });
        assert!(replies.len() >= 2);
        let last = replies.pop().unwrap();
        drop(replies);
        assert_eq!(last.join().unwrap().len(), 60, "those before it were cancelled");
        assert!(server.stats().rows < 2 * 60, "{:?}", server.stats());
        assert_eq!(submit().unwrap().join().unwrap().len(), 60);
    });
    settled(&server);
}

#[test]
fn finishing_waits_for_what_was_taken_on_and_dropping_gives_it_up() {
    let model = model::<f32>();
    let server = Server::new(runtime(2), model.clone(), ServerOptions { batch: 2, ..options() }).unwrap();
    let replies: Vec<_> = (0..9).map(|_| server.submit(Request::new([3], 30, greedy())).unwrap()).collect();
    server.finish();
    assert!(replies.into_iter().all(|reply| reply.join().unwrap().len() == 30));

    let runtime = runtime(1);
    let server = Server::new(runtime.clone(), model, options()).unwrap();
    let replies: Vec<_> = runtime.install(|_| {
        let replies = (0..9).map(|_| server.submit(Request::new([3], 50, greedy())).unwrap()).collect();
        drop(server);
        replies
    });
    assert!(replies.into_iter().all(|reply| reply.join() == Err(RequestError::Stopped)));
}

/// Folders like `/proc` and `/sys/fs/cgroup`, removed at the end, whose stalls can be set.
struct System(PathBuf);

impl System {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("upbeat-server-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("pressure")).unwrap();
        Self(root)
    }

    fn stall(&self, percent: u32) {
        // Renamed into place, so that nobody reads half of it.
        let text = format!("some avg10={percent}.00 total=1\nfull avg10=0.00 total=1\n");
        fs::write(self.0.join("new"), text).unwrap();
        fs::rename(self.0.join("new"), self.0.join("pressure/memory")).unwrap();
    }

    fn options(&self) -> ServerOptions {
        ServerOptions { gauge: Some(Gauge::at(&self.0, &self.0)), batch: 4, ..options() }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn short_memory_scales_the_batch() {
    for (percent, level, together) in [(0, Level::Calm, 4), (6, Level::Tight, 3), (20, Level::Scarce, 2)] {
        let system = System::new(level.name());
        system.stall(percent);
        let runtime = runtime(1);
        let server = Server::new(runtime.clone(), model::<f32>(), system.options()).unwrap();
        runtime.install(|_| {
            let submit = |_| server.submit(Request::new([1], 12, greedy())).unwrap();
            let replies: Vec<_> = (0..12).map(submit).collect();
            assert!(replies.into_iter().all(|reply| reply.join().is_ok()));
        });
        let stats = server.stats();
        assert_eq!((stats.level, stats.rows), (level, 12 * 12));
        // The first step may have been formed before the other requests came.
        let least = 12 * 12 / together;
        assert!((least..=least + 12).contains(&stats.steps), "{level:?}: {stats:?}");
    }
}

#[test]
fn critical_memory_refuses_until_it_is_over() {
    let system = System::new("critical");
    system.stall(90);
    let server = Server::new(runtime(2), model::<f32>(), system.options()).unwrap();
    let submit = || server.submit(Request::new([1], 3, greedy()));
    let error = submit().unwrap_err();
    assert!(matches!(error, RequestError::MemoryPressure(_)));
    assert!(error.to_string().contains("critical") && error.to_string().contains("90 %"), "{error}");
    system.stall(0);
    let reply = loop {
        match submit() {
            Ok(reply) => break reply,
            Err(error) => assert!(matches!(error, RequestError::MemoryPressure(_)), "{error}"),
        }
        std::thread::yield_now();
    };
    assert_eq!(reply.join().unwrap().len(), 3);
}
