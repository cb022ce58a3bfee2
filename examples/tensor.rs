//! One program on whichever device is there: attention over a short sequence, then a small network, in one submission on a GPU.
//!
//! `cargo run --release --example tensor [DEVICE]`, where DEVICE is `best` (the default: a GPU, else the CPU), `cpu`, `vulkan` or `vulkan:0`;
//! `UPBEAT_VULKAN_DEVICE=cpu` takes a driver for CPUs, such as Mesa's.

use upbeat_tensor::{Activation, Device, Indices, Mask, Rope, Tensor, TensorError};

const VOCABULARY: usize = 50;
const WIDTH: usize = 32;
const HEADS: usize = 4;
const DIM: usize = WIDTH / HEADS;
const HIDDEN: usize = 64;

/// Weights that depend on `seed` alone.
fn weights(shape: &[usize], seed: usize, device: &Device) -> Result<Tensor, TensorError> {
    let len: usize = shape.iter().product();
    let number =
        |i: usize| (((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0) / (WIDTH as f32).sqrt();
    Tensor::from_slice(&(0..len).map(number).collect::<Vec<_>>(), shape, device)
}

/// A block of a transformer, with its table of tokens.
struct Model {
    table: Tensor,
    norm: Tensor,
    rope: Rope,
    qkv: Tensor,
    out: Tensor,
    up: Tensor,
    down: Tensor,
}

impl Model {
    fn new(device: &Device) -> Result<Self, TensorError> {
        Ok(Self {
            table: weights(&[VOCABULARY, WIDTH], 1, device)?,
            norm: Tensor::from_slice(&[1.0; WIDTH], &[WIDTH], device)?,
            // Queries and keys are turned, values are not.
            rope: Rope::new(3 * HEADS, 2 * HEADS, DIM, 10_000.0, device)?,
            qkv: weights(&[3 * WIDTH, WIDTH], 2, device)?,
            out: weights(&[WIDTH, WIDTH], 3, device)?,
            up: weights(&[2 * HIDDEN, WIDTH], 4, device)?,
            down: weights(&[WIDTH, HIDDEN], 5, device)?,
        })
    }

    /// The probabilities of what comes after each token, `[tokens, vocabulary]`.
    fn forward(&self, tokens: &Indices) -> Result<Tensor, TensorError> {
        let (none, rows) = (Activation::Identity, tokens.len());
        let x = self.table.embedding(tokens)?;
        let qkv = x.rms_norm(&self.norm, 1e-5)?.linear(&self.qkv, None, none, None)?;
        let heads = qkv.reshape(&[1, rows, 3 * HEADS, DIM])?.rope(&self.rope, 0)?;
        let mixed = heads.self_attention(HEADS, Mask::Causal)?.reshape(&[rows, WIDTH])?;
        let x = mixed.linear(&self.out, None, none, Some(&x))?;
        let hidden = x.rms_norm(&self.norm, 1e-5)?.linear(&self.up, None, none, None)?.swiglu()?;
        let x = hidden.linear(&self.down, None, none, Some(&x))?;
        x.rms_norm(&self.norm, 1e-5)?.linear(&self.table, None, none, None)?.softmax()
    }
}

/// The answer for the last token, and how many submissions it took.
fn answer(device: &Device, tokens: &[u32]) -> Result<(Vec<f32>, u64), TensorError> {
    let opened = device.open()?;
    let model = Model::new(device)?;
    let tokens = Indices::from_slice(tokens, device)?;
    let submissions = || opened.vulkan().map_or(0, |device| device.metrics().submissions);
    let before = submissions();
    let last = model.forward(&tokens)?.rows(tokens.len() - 1..tokens.len())?;
    // Or `last.read().await`, for which nobody blocks.
    let probabilities = last.to_vec()?;
    Ok((probabilities, submissions() - before))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for available in Device::available() {
        println!("there is {available}");
    }
    let best;
    let device = match std::env::args().nth(1) {
        Some(word) => word.parse()?,
        None => {
            best = Device::best();
            println!("the best is {best}");
            best.device()
        }
    };
    let tokens = [3, 14, 15, 9, 26, 5];
    let (found, submissions) = answer(&device, &tokens)?;
    let likeliest = (0..VOCABULARY).max_by(|&a, &b| found[a].total_cmp(&found[b])).expect("there are tokens");
    println!("on {device}, in {submissions} submissions: token {likeliest} with {:.4}", found[likeliest]);

    // The CPU's answer is the same within rounding.
    let (expected, _) = answer(&Device::Cpu, &tokens)?;
    let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("differs from the CPU's by {most:.1e} at most");
    assert!(most < 1e-5);
    Ok(())
}
