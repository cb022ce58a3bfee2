//! Makes the network's weights: the least negative log likelihood of the arms' log times, as normal deviates whose means and deviations are the
//! outputs (Nix and Weigend, 1994), by Adam (Kingma and Ba, 2015). Deterministic: a seed and a file of regions give one network.

use upbeat::simulation::{exp, ln, prior, Network, Prior, ARMS, PARAMETERS, WIDTH};
use upbeat::Generator;

use super::data::Region;

/// How training goes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Passes over all regions.
    pub epochs: u32,
    /// Regions a step.
    pub batch: usize,
    /// The first step's size; the last one's is a hundredth of it.
    pub rate: f32,
    /// Seed of the first weights and of the order.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { epochs: 80, batch: 64, rate: 4e-3, seed: 1 }
    }
}

/// A log time that is further off than this counts as if it were so far off.
const OUTLIER: f32 = 3.0;
/// Logarithms of deviations that may be learned.
const LOG_DEVIATIONS: (f32, f32) = (-3.9, 0.0);

/// Trains a network on `regions`.
pub fn train(regions: &[Region], plan: Plan, progress: &mut dyn FnMut(f64)) -> Network {
    let mut generator = Generator::new(plan.seed);
    let mut network = Network { parameters: [0.0; PARAMETERS] };
    for parameter in &mut network.parameters {
        *parameter = (generator.below(20_001) as f32 / 10_000.0 - 1.0) * 0.4;
    }
    if regions.is_empty() {
        return Network { parameters: [0.0; PARAMETERS] };
    }
    let (mut mean, mut square) = (vec![0.0_f32; PARAMETERS], vec![0.0_f32; PARAMETERS]);
    let mut order: Vec<usize> = (0..regions.len()).collect();
    let steps = plan.epochs as usize * regions.len().div_ceil(plan.batch);
    let (mut step, mut decay) = (0, (1.0_f32, 1.0_f32));
    for epoch in 0..plan.epochs {
        progress(f64::from(epoch) / f64::from(plan.epochs));
        for last in (1..order.len()).rev() {
            order.swap(last, generator.below(last + 1));
        }
        for batch in order.chunks(plan.batch) {
            let mut gradient = vec![0.0_f32; PARAMETERS];
            for &at in batch {
                let region = &regions[at];
                let pass = network.forward(&region.features);
                let slope = slope(&pass.out, &region.ratios);
                network.backward(&region.features, &pass, &slope, |at, part| {
                    gradient[at] += part / batch.len() as f32;
                });
            }
            let rate = plan.rate * exp(step as f32 / steps as f32 * ln(0.01));
            step += 1;
            decay = (decay.0 * 0.9, decay.1 * 0.999);
            for at in 0..PARAMETERS {
                mean[at] = 0.9 * mean[at] + 0.1 * gradient[at];
                square[at] = 0.999 * square[at] + 0.001 * gradient[at] * gradient[at];
                let (mean, square) = (mean[at] / (1.0 - decay.0), square[at] / (1.0 - decay.1));
                network.parameters[at] -= rate * mean / (square.sqrt() + 1e-8);
            }
        }
    }
    network
}

/// The gradient of the negative log likelihood of `ratios`, with respect to the outputs.
fn slope(out: &[f32; WIDTH], ratios: &[f32; ARMS]) -> [f32; WIDTH] {
    let mut slope = [0.0; WIDTH];
    for arm in 1..ARMS {
        let log_deviation = out[ARMS + arm];
        let deviation = exp(log_deviation.clamp(LOG_DEVIATIONS.0, LOG_DEVIATIONS.1));
        let off = ((out[arm] - ratios[arm]) / deviation).clamp(-OUTLIER, OUTLIER);
        slope[arm] = off / deviation;
        slope[ARMS + arm] = 1.0 - off * off;
        // Beyond its bounds a deviation is only led back.
        let is_beyond = (log_deviation < LOG_DEVIATIONS.0 && slope[ARMS + arm] > 0.0)
            || (log_deviation > LOG_DEVIATIONS.1 && slope[ARMS + arm] < 0.0);
        if is_beyond {
            slope[ARMS + arm] = 0.0;
        }
    }
    slope
}

/// The means and deviations of the arms over all regions: what is thought of a region of which nothing is known.
pub fn unknown(regions: &[Region]) -> Prior {
    let count = regions.len().max(1) as f32;
    let mean =
        std::array::from_fn(|arm| regions.iter().map(|region| region.ratios[arm]).sum::<f32>() / count);
    let deviation = std::array::from_fn(|arm| {
        let square = |region: &Region| (region.ratios[arm] - mean[arm]).powi(2);
        (regions.iter().map(square).sum::<f32>() / count).sqrt()
    });
    Prior { mean, deviation }
}

/// How good a network's opinions are, over regions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fit {
    /// Root of the mean square of what the means are off.
    pub off: f32,
    /// The same when every region is thought of as `unknown`.
    pub off_unknown: f32,
    /// The share of regions whose fastest arm the network names, within 2 %.
    pub named: f32,
}

/// Judges `network` on `regions`, beside the opinion `unknown` of all of them.
pub fn fit(network: &Network, regions: &[Region], unknown: &Prior) -> Fit {
    let mut fit = Fit::default();
    let count = (regions.len().max(1) * (ARMS - 1)) as f32;
    for region in regions {
        let opinion = prior(&network.forward(&region.features).out);
        for arm in 1..ARMS {
            fit.off += (opinion.mean[arm] - region.ratios[arm]).powi(2) / count;
            fit.off_unknown += (unknown.mean[arm] - region.ratios[arm]).powi(2) / count;
        }
        let least =
            |of: &[f32; ARMS]| (0..ARMS).min_by(|&a, &b| of[a].total_cmp(&of[b])).expect("there are arms");
        let best = region.ratios[least(&region.ratios)];
        let is_named = region.ratios[least(&opinion.mean)] <= best + 0.02;
        fit.named += f32::from(u8::from(is_named)) / regions.len() as f32;
    }
    Fit { off: fit.off.sqrt(), off_unknown: fit.off_unknown.sqrt(), ..fit }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regions whose third arm is the faster the larger the second feature is.
    fn regions() -> Vec<Region> {
        let mut generator = Generator::new(2);
        let mut region = |number| {
            let mut features = [0.0; 16];
            features[0] = 1.0;
            features[1] = generator.below(2000) as f32 / 1000.0 - 1.0;
            let noise = generator.below(200) as f32 / 2000.0 - 0.05;
            let mut ratios = [0.0; ARMS];
            ratios[3] = -0.5 * features[1] + noise;
            Region { number, family: 0, features, ratios }
        };
        (0..2_000).map(&mut region).collect()
    }

    #[test]
    fn what_can_be_learned_is_and_the_same_seed_gives_the_same_weights() {
        let regions = regions();
        let plan = Plan { epochs: 20, ..Plan::default() };
        let network = train(&regions[..1_500], plan, &mut |_| {});
        let fit = fit(&network, &regions[1_500..], &unknown(&regions));
        assert!(fit.off < 0.03 && fit.off_unknown > 0.12 && fit.named > 0.8, "{fit:?}");
        let opinion = prior(&network.forward(&regions[0].features).out);
        assert!(opinion.deviation[3] < 0.06, "the noise is known: {opinion:?}");
        assert_eq!(train(&regions[..1_500], plan, &mut |_| {}), network);
    }

    #[test]
    fn of_nothing_nothing_is_learned() {
        let network = train(&[], Plan::default(), &mut |_| {});
        assert_eq!(prior(&network.forward(&[1.0; 16]).out).mean, [0.0; ARMS]);
    }
}
