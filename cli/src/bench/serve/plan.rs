//! What is served: a model larger than the last-level cache, and requests that differ in length and in how they draw.

use upbeat::topology::machine;
use upbeat_nn::random::Random;
use upbeat_nn::sampling::Sampler;
use upbeat_nn::serving::Request;
use upbeat_nn::Config;

use crate::args::ServeArgs;
use crate::failure::Failure;

/// Width of an attention head.
const HEAD: usize = 64;
/// Blocks of the model, unless the cache asks for more.
const LAYERS: usize = 12;
/// The weights' size as a multiple of the last-level cache: what stays there from one step to the next is then little.
const CACHES: u64 = 4;

/// Model and load.
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) clients: usize,
    pub(super) each: usize,
    tokens: usize,
    pub(super) prompt: usize,
    /// Bytes of the last-level cache, 0 where the system does not say.
    pub(super) cache: u64,
}

impl Plan {
    pub(super) fn new(args: &ServeArgs) -> Result<Self, Failure> {
        let (clients, each) = (args.requests, args.each);
        let most = 1 << 12;
        for (option, given) in [
            ("--requests", clients),
            ("--each", each),
            ("--tokens", args.tokens),
            ("--prompt", args.prompt),
            ("--rows", args.rows),
            ("--rounds", args.rounds),
        ] {
            if !(1..=most).contains(&given) {
                return Err(Failure::Input(format!("{option} must be between 1 and {most}")));
            }
        }
        if args.stretch != 0.0 && !(args.stretch >= 1.0 && args.stretch.is_finite()) {
            return Err(Failure::Input("--stretch must be a number from 1 on, or 0".into()));
        }
        let cache = machine().caches.iter().max_by_key(|cache| cache.level).map_or(0, |cache| cache.bytes);
        let (tokens, prompt) = if args.small { (6, 3) } else { (args.tokens, args.prompt) };
        let context = prompt + 2 * tokens;
        let config = if args.small {
            Config::modern(96, context, 32, 2, 2)
        } else {
            if args.width == 0 || !args.width.is_multiple_of(HEAD) {
                return Err(Failure::Input(format!("--width must be a multiple of {HEAD}, and not zero")));
            }
            let of = |layers| Config::modern(args.vocabulary, context, args.width, layers, args.width / HEAD);
            of(args.layers.unwrap_or_else(|| layers(of, cache)))
        };
        config.validate()?;
        Ok(Self { config, clients, each, tokens, prompt, cache })
    }

    /// Request `number` of all.
    pub(super) fn request(&self, number: usize) -> Result<Request, Failure> {
        let mut random = Random::new(number as u64);
        let vocabulary = self.config.vocabulary as u64;
        let prompt: Vec<u32> = (0..self.prompt).map(|_| random.below(vocabulary) as u32).collect();
        let tokens = self.tokens / 2 + random.below(self.tokens as u64 + 1) as usize;
        // Half of them are greedy, the others draw, so that a wrong bit soon changes a token.
        let temperature = if number.is_multiple_of(2) { 0.0 } else { 0.8 };
        Ok(Request::new(prompt, tokens.max(1), Sampler::new(temperature, 0.95, number as u64)?))
    }
}

/// Bytes of a model's weights in f32.
pub(super) fn bytes(config: &Config) -> u64 {
    let Config { vocabulary, width, layers, hidden, .. } = *config;
    let block = 4 * width as u64 * width as u64 + 3 * width as u64 * hidden as u64 + 2 * width as u64;
    4 * (layers as u64 * block + vocabulary as u64 * width as u64 + width as u64)
}

/// As many blocks as make the weights [`CACHES`] times the cache, and fit half of the memory that is free.
fn layers(of: impl Fn(usize) -> Config, cache: u64) -> usize {
    let room = free_memory().map_or(u64::MAX, |free| free / 2);
    let wanted = (LAYERS..1 << 12).find(|&layers| bytes(&of(layers)) >= CACHES * cache).unwrap_or(LAYERS);
    (1..=wanted).rev().find(|&layers| bytes(&of(layers)) <= room).unwrap_or(1)
}

/// Bytes that the system can still give, where it says so.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
