//! Everything that a training is a function of besides its text, checked, and to and from a checkpoint's settings.

use crate::checkpoint::Record;
use crate::model::{Config, FeedForward, Norm, Positions};
use crate::optimizer::AdamWConfig;
use crate::schedule::Schedule;

use super::error::TrainError;

/// The settings of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// The model; its context is the length of a training sequence.
    pub model: Config,
    /// Sequences in a step.
    pub batch: usize,
    /// Learning rate by step, and the number of steps.
    pub schedule: Schedule,
    /// Hyper-parameters of AdamW.
    pub optimizer: AdamWConfig,
    /// Most Euclidean norm of all gradients together; larger ones are scaled down. `∞` leaves them, unmeasured.
    pub clip: f64,
    /// Seed of the initial parameters and of the batches.
    pub seed: u64,
}

impl TrainConfig {
    /// Checks the model and every range.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn validate(&self) -> Result<(), TrainError> {
        self.model.validate()?;
        let Schedule { peak, floor, steps, .. } = self.schedule;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = self.optimizer;
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        for (what, must, found, good) in [
            ("batch", "1 or more", self.batch as f64, self.batch > 0),
            ("number of steps", "1 or more", steps as f64, steps > 0),
            ("learning rate", "a positive number", peak, positive(peak)),
            ("last learning rate", "between 0 and the highest one", floor, (0.0..=peak).contains(&floor)),
            ("first beta", "at least 0 and below 1", beta1, fraction(beta1)),
            ("second beta", "at least 0 and below 1", beta2, fraction(beta2)),
            ("optimizer's epsilon", "a positive number", epsilon, positive(epsilon)),
            ("weight decay", "0 or more", weight_decay, weight_decay >= 0.0 && weight_decay.is_finite()),
            ("gradient clip", "a positive number", self.clip, self.clip > 0.0),
        ] {
            if !good {
                return Err(TrainError::Setting { what, must, found });
            }
        }
        // The widest activation of a batch, in f64, must be addressable.
        let Config { vocabulary, context, width, hidden, .. } = self.model;
        let widest = vocabulary.max(width.saturating_mul(3)).max(hidden.saturating_mul(2));
        let bytes =
            [context, widest, 8].iter().try_fold(self.batch, |product, &size| product.checked_mul(size));
        match bytes {
            Some(bytes) if bytes <= isize::MAX as usize => Ok(()),
            _ => Err(TrainError::BatchOverflow { batch: self.batch }),
        }
    }

    /// Adds every setting but the model's to `record`.
    pub(super) fn write(&self, record: &mut Record) {
        record.set("batch", self.batch);
        record.set("schedule.peak", self.schedule.peak);
        record.set("schedule.floor", self.schedule.floor);
        record.set("schedule.warmup", self.schedule.warmup);
        record.set("schedule.steps", self.schedule.steps);
        record.set("optimizer.beta1", self.optimizer.beta1);
        record.set("optimizer.beta2", self.optimizer.beta2);
        record.set("optimizer.epsilon", self.optimizer.epsilon);
        record.set("optimizer.weight_decay", self.optimizer.weight_decay);
        record.set("clip", self.clip);
        record.set("seed", self.seed);
    }

    /// Takes what [`write`](Self::write) added.
    pub(super) fn read(model: Config, record: &mut Record) -> Result<Self, String> {
        let config = Self {
            model,
            batch: record.take("batch")?,
            schedule: Schedule {
                peak: record.take("schedule.peak")?,
                floor: record.take("schedule.floor")?,
                warmup: record.take("schedule.warmup")?,
                steps: record.take("schedule.steps")?,
            },
            optimizer: AdamWConfig {
                beta1: record.take("optimizer.beta1")?,
                beta2: record.take("optimizer.beta2")?,
                epsilon: record.take("optimizer.epsilon")?,
                weight_decay: record.take("optimizer.weight_decay")?,
            },
            clip: record.take("clip")?,
            seed: record.take("seed")?,
        };
        config.validate().map_err(|e| e.to_string())?;
        Ok(config)
    }
}

/// The model's settings as text.
pub(super) fn write_model(model: &Config) -> Record {
    let mut record = Record::default();
    record.set("vocabulary", model.vocabulary);
    record.set("context", model.context);
    record.set("width", model.width);
    record.set("layers", model.layers);
    record.set("heads", model.heads);
    record.set("hidden", model.hidden);
    record.set(
        "norm",
        match model.norm {
            Norm::Rms => "rms",
            Norm::Layer => "layer",
        },
    );
    record.set(
        "feed_forward",
        match model.feed_forward {
            FeedForward::SwiGlu => "swiglu",
            FeedForward::Gelu => "gelu",
        },
    );
    match model.positions {
        Positions::Rotary { base } => {
            record.set("positions", "rotary");
            record.set("rotary_base", base);
        }
        Positions::Learned => record.set("positions", "learned"),
    }
    record.set("norm_epsilon", model.norm_epsilon);
    record
}

/// Reads what [`write_model`] wrote.
pub(super) fn read_model(mut record: Record) -> Result<Config, String> {
    let unknown = |what: &str, name: String| Err(format!("its {what} `{name}` is unknown"));
    let config = Config {
        vocabulary: record.take("vocabulary")?,
        context: record.take("context")?,
        width: record.take("width")?,
        layers: record.take("layers")?,
        heads: record.take("heads")?,
        hidden: record.take("hidden")?,
        norm: match record.take::<String>("norm")? {
            name if name == "rms" => Norm::Rms,
            name if name == "layer" => Norm::Layer,
            name => return unknown("norm", name),
        },
        feed_forward: match record.take::<String>("feed_forward")? {
            name if name == "swiglu" => FeedForward::SwiGlu,
            name if name == "gelu" => FeedForward::Gelu,
            name => return unknown("feed-forward part", name),
        },
        positions: match record.take::<String>("positions")? {
            name if name == "rotary" => Positions::Rotary { base: record.take("rotary_base")? },
            name if name == "learned" => Positions::Learned,
            name => return unknown("kind of positions", name),
        },
        norm_epsilon: record.take("norm_epsilon")?,
    };
    record.finish()?;
    config.validate().map_err(|e| e.to_string())?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrainConfig {
        TrainConfig {
            model: Config::gpt_char(),
            batch: 4,
            schedule: Schedule { peak: 1e-3, floor: 1e-4, warmup: 5, steps: 50 },
            optimizer: AdamWConfig::default(),
            clip: f64::INFINITY,
            seed: u64::MAX,
        }
    }

    #[test]
    fn settings_survive_their_text() {
        let mut config = config();
        for model in [Config::gpt_char(), Config::modern(99, 64, 96, 3, 6)] {
            config.model = model;
            let mut record = Record::default();
            config.write(&mut record);
            let mut read = Record::from_text(&record.to_text()).unwrap();
            let model =
                read_model(Record::from_text(&write_model(&config.model).to_text()).unwrap()).unwrap();
            assert_eq!(TrainConfig::read(model, &mut read).as_ref(), Ok(&config));
            assert_eq!(read.finish(), Ok(()));
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let broken = |change: fn(&mut TrainConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(broken(|c| c.batch = 0).contains("batch must be 1 or more"));
        assert!(broken(|c| c.batch = usize::MAX / 4).contains("overflows"));
        assert!(broken(|c| c.schedule.steps = 0).contains("steps"));
        assert!(broken(|c| c.schedule.peak = f64::NAN).contains("learning rate"));
        assert!(broken(|c| c.schedule.floor = 1.0).contains("last learning rate"));
        assert!(broken(|c| c.optimizer.beta2 = 1.0).contains("second beta"));
        assert!(broken(|c| c.optimizer.weight_decay = -0.1).contains("decay"));
        assert!(broken(|c| c.clip = 0.0).contains("clip"));
        assert!(broken(|c| c.model.heads = 5).contains("heads"));
    }
}
