//! Promises of decoding in batches: the bits of each sequence alone, whoever joins and leaves; errors that stop nobody else; pages
//! that come back.

use upbeat::Runtime;
use upbeat_kernels::{bf16, Element};
use upbeat_nn::random::Random;
use upbeat_nn::serving::{BatchDecoder, Feed, FeedError, KeyValuePages, PagesError, Sequence};
use upbeat_nn::{Config, FeedForward, Norm, Positions, Transformer};

fn config(norm: Norm, feed_forward: FeedForward, positions: Positions) -> Config {
    Config {
        vocabulary: 37,
        context: 90,
        width: 24,
        layers: 2,
        heads: 3,
        hidden: 44,
        norm,
        feed_forward,
        positions,
        norm_epsilon: 1e-5,
    }
}

fn modern() -> Config {
    config(Norm::Rms, FeedForward::SwiGlu, Positions::Rotary { base: 10_000.0 })
}

/// A model whose every part matters.
fn lively<E: Element>(config: Config) -> Transformer<E> {
    let mut model = Transformer::<E>::new(config, 5).unwrap();
    for parameter in model.parameters_mut() {
        if parameter.shape.len() == 2 {
            parameter.values.iter_mut().for_each(|x| *x = E::Wide::from_f64(8.0 * x.to_f64()));
        }
    }
    model
}

fn bits<T: Element>(logits: &[T]) -> Vec<u64> {
    logits.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// A text that is fed over several steps.
struct Text {
    tokens: Vec<u32>,
    /// Logits' bits after each token, from a decoder of its own.
    expected: Vec<Vec<u64>>,
    sequence: Sequence,
    /// Tokens of the step, and whether their logits are wanted.
    chunk: usize,
    wanted: bool,
}

impl Feed for Text {
    fn tokens(&self) -> &[u32] {
        let at = self.sequence.position();
        &self.tokens[at..at + self.chunk]
    }

    fn sequence(&mut self) -> &mut Sequence {
        &mut self.sequence
    }

    fn wants_logits(&self) -> bool {
        self.wanted
    }
}

fn text<E: Element>(
    decoder: &BatchDecoder<'_, E>,
    model: &Transformer<E>,
    len: usize,
    random: &mut Random,
) -> Text {
    let tokens: Vec<u32> = (0..len).map(|_| random.below(model.config().vocabulary as u64) as u32).collect();
    let mut alone = model.decoder();
    let expected = tokens.iter().map(|&token| bits(alone.step(token).unwrap())).collect();
    Text { tokens, expected, sequence: decoder.sequence(), chunk: 0, wanted: true }
}

/// Runs `texts` texts with at most `together` at once, which join and leave between steps, and compares every logit.
fn same_bits<E: Element>(config: Config, page: usize, texts: usize, together: usize, longest: u64) {
    let model = lively::<E>(config);
    let context = model.config().context;
    let pages = KeyValuePages::new(model.config(), together * context.div_ceil(page), page).unwrap();
    let mut decoder = BatchDecoder::new(&model, pages);
    let mut random = Random::new((texts * page) as u64);
    let (mut running, mut begun, mut compared) = (Vec::<Text>::new(), 0, 0);
    while begun < texts || !running.is_empty() {
        while begun < texts && running.len() < together {
            let len = 1 + random.below(longest) as usize;
            running.push(text(&decoder, &model, len, &mut random));
            begun += 1;
        }
        for text in &mut running {
            let left = text.tokens.len() - text.sequence.position();
            // Mostly one token, as in generation; sometimes a part of a prompt.
            let most = if random.below(3) == 0 { 7 } else { 1 };
            text.chunk = left.min(1 + random.below(most) as usize);
            text.wanted = random.below(4) > 0;
        }
        let logits = decoder.step(&mut running).unwrap();
        let found: Vec<_> = (0..running.len()).map(|i| logits.of(i).unwrap().map(bits)).collect();
        for (text, found) in running.iter().zip(found) {
            assert_eq!(found.is_some(), text.wanted);
            if let Some(found) = found {
                let last = text.sequence.position() - 1;
                assert!(found == text.expected[last], "{}: position {last} of {together} texts", E::NAME);
                compared += 1;
            }
        }
        running.retain(|text| text.sequence.position() < text.tokens.len());
    }
    assert!(compared > texts, "{compared} comparisons of {texts} texts");
    assert_eq!(decoder.pages().free(), decoder.pages().pages(), "every page came back");
}

#[test]
fn every_kind_of_model_gives_the_bits_of_each_sequence_alone() {
    for norm in [Norm::Rms, Norm::Layer] {
        for feed_forward in [FeedForward::SwiGlu, FeedForward::Gelu] {
            for positions in [Positions::Rotary { base: 10_000.0 }, Positions::Learned] {
                let config = config(norm, feed_forward, positions);
                same_bits::<f32>(config.clone(), 4, 12, 5, 60);
                same_bits::<f64>(config.clone(), 4, 8, 3, 30);
                same_bits::<bf16>(config, 4, 8, 3, 30);
            }
        }
    }
}

/// The kernels have paths of their own for 1, up to 3, up to 32 and more rows, and sums longer than 384 are cut.
#[test]
fn batches_of_any_size_give_the_bits_of_each_sequence_alone() {
    let wide = Config { vocabulary: 131, width: 392, layers: 1, heads: 7, hidden: 1048, ..modern() };
    for together in [1, 2, 3, 4, 5, 8, 16, 17, 31, 33, 70] {
        same_bits::<f32>(wide.clone(), 16, together + 2, together, 20);
    }
    for together in [2, 5, 33] {
        same_bits::<f64>(modern(), 16, together + 2, together, 20);
    }
}

#[test]
fn pages_of_any_size_and_long_sequences_give_the_same_bits() {
    let long = Config { context: 1300, layers: 1, ..modern() };
    for page in [1, 3, 16, 2000] {
        same_bits::<f32>(long.clone(), page, 3, 3, 1300);
    }
}

#[test]
fn any_number_of_workers_gives_the_same_bits() {
    for workers in [1, 2, 3] {
        let runtime = Runtime::builder().workers(workers).build().unwrap();
        runtime.install(|_| same_bits::<f32>(modern(), 4, 12, 6, 40));
    }
}

#[test]
fn what_is_wrong_with_a_feed_stops_no_other_one() {
    let model = lively::<f32>(Config { context: 6, ..modern() });
    let pages = |count| KeyValuePages::new(model.config(), count, 2).unwrap();
    let mut decoder = BatchDecoder::new(&model, pages(5));
    let other = BatchDecoder::new(&model, pages(1));
    let mut sequences: Vec<Sequence> = (0..5).map(|_| decoder.sequence()).collect();
    sequences.push(other.sequence());
    let tokens: [&[u32]; 6] = [&[1, 2, 3], &[], &[4, 37], &[0; 7], &[5], &[6]];
    let mut feeds: Vec<(&mut Sequence, &[u32])> = sequences.iter_mut().zip(tokens).collect();
    let logits = decoder.step(&mut feeds).unwrap();
    let found: Vec<_> = (0..6).map(|i| logits.of(i).map(|row| bits(row.unwrap()))).collect();
    assert_eq!(found[1], Err(FeedError::Empty));
    assert_eq!(found[2], Err(FeedError::Token { token: 37, vocabulary: 37 }));
    assert_eq!(found[3], Err(FeedError::Context { positions: 7, context: 6 }));
    assert_eq!(found[5], Err(FeedError::Foreign));
    let mut alone = model.decoder();
    for token in [1, 2] {
        alone.step(token).unwrap();
    }
    assert_eq!(found[0], Ok(bits(alone.step(3).unwrap())));
    alone.reset();
    assert_eq!(found[4], Ok(bits(alone.step(5).unwrap())));
    assert_eq!(sequences.iter().map(Sequence::position).collect::<Vec<_>>(), [3, 0, 0, 0, 1, 0]);

    // Two of five pages are left, and the third sequence needs three. Who asks after it gets what is there.
    let mut feeds: Vec<(&mut Sequence, &[u32])> =
        sequences[2..4].iter_mut().zip([&[1; 5][..], &[1; 4]]).collect();
    let logits = decoder.step(&mut feeds).unwrap();
    assert_eq!(logits.of(0), Err(FeedError::Pages { needed: 3, free: 2 }));
    assert!(logits.of(1).unwrap().is_some());
    assert_eq!(decoder.pages().free(), 0);
    // A sequence in its page may go on, and one that ends leaves its pages to the next.
    let mut feeds = [(&mut sequences[4], &[2][..])];
    assert!(decoder.step(&mut feeds).unwrap().of(0).is_ok());
    sequences.remove(3);
    let mut feeds = [(&mut sequences[2], &[1; 4][..])];
    let found = bits(decoder.step(&mut feeds).unwrap().of(0).unwrap().unwrap());
    alone.reset();
    for _ in 0..3 {
        alone.step(1).unwrap();
    }
    assert_eq!(found, bits(alone.step(1).unwrap()), "what a page held before is not read");
    drop(sequences);
    assert_eq!(decoder.pages().free(), 5);
    assert!(decoder.step::<(&mut Sequence, &[u32])>(&mut []).is_ok());
}

#[test]
fn pages_that_cannot_be_made_are_refused() {
    let make = |pages, positions| KeyValuePages::<f32>::new(&modern(), pages, positions).err().unwrap();
    assert_eq!(make(0, 16), PagesError::Zero { what: "pages" });
    assert_eq!(make(1, 0), PagesError::Zero { what: "positions of a page" });
    assert_eq!(make(1 << 40, 1), PagesError::TooMany { pages: 1 << 40 });
    assert!(matches!(make(1 << 31, usize::MAX), PagesError::Memory(_)));
    assert!(matches!(make(1 << 31, 1 << 20), PagesError::Memory(_)));
}
