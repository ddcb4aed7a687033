//! Learning rates as functions of the number of steps done.

use crate::{Array, Error, Result};
use std::f64::consts::PI;
use std::fmt;
use std::sync::Arc;

type Function = dyn Fn(&Array) -> Result<Array> + Send + Sync;

/// A function of the step, which is equal to its clones only.
#[derive(Clone)]
pub struct CustomSchedule(Arc<Function>);

impl PartialEq for CustomSchedule {
    fn eq(&self, other: &CustomSchedule) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for CustomSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomSchedule")
    }
}

/// A learning rate by the number of steps done.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Always the same.
    Constant(f64),
    /// `init * decay^step`.
    Exponential {
        /// The first rate.
        init: f64,
        /// The factor of each step.
        decay: f64,
    },
    /// `init * decay^floor(step / size)`.
    Step {
        /// The first rate.
        init: f64,
        /// The factor of each stair.
        decay: f64,
        /// The steps of a stair.
        size: u64,
    },
    /// `end + (init - end) (1 + cos(pi min(step, steps) / steps)) / 2` (Loshchilov and Hutter,
    /// 2016).
    Cosine {
        /// The first rate.
        init: f64,
        /// The last rate.
        end: f64,
        /// The steps between them.
        steps: u64,
    },
    /// From `init` to `end` in equal steps, and `end` from then on.
    Linear {
        /// The first rate.
        init: f64,
        /// The last rate.
        end: f64,
        /// The steps between them.
        steps: u64,
    },
    /// Schedules one after the other, each of which counts its steps from where it begins.
    Join {
        /// The schedules.
        schedules: Vec<Schedule>,
        /// The steps at which the second and later ones begin.
        boundaries: Vec<u64>,
    },
    /// Any function; [`Schedule::custom`] makes one.
    Custom(CustomSchedule),
}

impl Schedule {
    /// Up from zero to `peak` in `warmup` steps, then down to `end` by the cosine in `steps` more.
    pub fn warmup_cosine(peak: f64, end: f64, warmup: u64, steps: u64) -> Schedule {
        Schedule::Join {
            schedules: vec![
                Schedule::Linear { init: 0.0, end: peak, steps: warmup },
                Schedule::Cosine { init: peak, end, steps },
            ],
            boundaries: vec![warmup],
        }
    }

    /// Any function of the number of steps, 0-d `float32`.
    pub fn custom(f: impl Fn(&Array) -> Result<Array> + Send + Sync + 'static) -> Schedule {
        Schedule::Custom(CustomSchedule(Arc::new(f)))
    }

    /// The rate after `step` steps, 0-d `float32`.
    ///
    /// # Errors
    /// Kind `Argument` if schedules are joined with a wrong number of boundaries.
    pub fn value(&self, step: &Array) -> Result<Array> {
        let number = |value: f64| Array::scalar(value as f32);
        let done = |steps: u64| step.minimum(&number(steps as f64));
        Ok(match self {
            Schedule::Constant(rate) => number(*rate),
            Schedule::Exponential { init, decay } => number(*decay).power(step)? * *init,
            Schedule::Step { init, decay, size } => {
                let stair = (step / (*size).max(1) as f64).floor()?;
                number(*decay).power(&stair)? * *init
            }
            Schedule::Cosine { init, end, steps } => {
                let angle = done(*steps)? * (PI / (*steps).max(1) as f64);
                (angle.cos()? + 1.0) * (0.5 * (init - end)) + *end
            }
            Schedule::Linear { init, end, steps } => {
                done(*steps)? * ((end - init) / (*steps).max(1) as f64) + *init
            }
            Schedule::Join { schedules, boundaries } => {
                let (Some((first, later)), true) =
                    (schedules.split_first(), schedules.len() == boundaries.len() + 1)
                else {
                    let message = format!(
                        "{} schedules with {} boundaries; there is one boundary between two",
                        schedules.len(),
                        boundaries.len()
                    );
                    return Err(Error::argument("schedule", message));
                };
                let mut rate = first.value(step)?;
                for (schedule, &start) in later.iter().zip(boundaries) {
                    let start = number(start as f64);
                    let then = schedule.value(&step.subtract(&start)?)?;
                    rate = step.less(&start)?.select(&rate, &then)?;
                }
                rate
            }
            Schedule::Custom(f) => (f.0)(step)?,
        })
    }
}

impl From<f64> for Schedule {
    fn from(rate: f64) -> Schedule {
        Schedule::Constant(rate)
    }
}
