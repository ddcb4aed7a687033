//! Optimisers, learning rate schedules and the clipping of gradients.
//!
//! An [`Optimizer`] is a [`Rule`] with its state, a tree of arrays. A training step is therefore a
//! function of model, optimiser and batch, and compiles whole:
//!
//! ```
//! use lazulite::nn::{self, Linear, Module, Reduction};
//! use lazulite::optim::{Adam, Optimizer, Schedule};
//! use lazulite::prelude::*;
//!
//! # fn main() -> Result<()> {
//! lazulite::random::seed(0)?;
//! let mut model = Linear::new(2, 1)?;
//! let rate = Schedule::Cosine { init: 0.1, end: 0.01, steps: 50 };
//! let mut optimizer = Optimizer::new(Adam::default(), rate);
//! optimizer.init(&model)?;
//! let step = lazulite::compile(
//!     |(mut model, mut optimizer, x, y): (Linear, Optimizer<Adam>, Array, Array)| {
//!         let (loss, gradients) = nn::value_and_grad(&mut model, |model| {
//!             nn::mse_loss(&model.forward(&x)?, &y, Reduction::Mean)
//!         })?;
//!         optimizer.update(&mut model, &gradients)?;
//!         Ok((model, optimizer, loss))
//!     },
//! );
//! let x = array![[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]; f32];
//! let y = array![[1.0], [2.0], [3.0]; f32];
//! let mut loss = Array::scalar(0.0f32);
//! for _ in 0..100 {
//!     (model, optimizer, loss) = step((model, optimizer, x.clone(), y.clone()))?;
//! }
//! assert!(loss.item::<f32>()? < 0.01);
//! # Ok(())
//! # }
//! ```

mod rules;
mod schedule;

pub use rules::{AdaDelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Lion, Muon, RmsProp, Sgd};
pub use schedule::{CustomSchedule, Schedule};

use crate::io::{Contents, Input};
use crate::nn::{Module, Parameters, child, save_arrays};
use crate::transform::Tree;
use crate::{Array, Dtype, Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// What an optimiser remembers about one parameter, by name.
pub type Slots = Parameters;

/// The step that is being done.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number, counted from 1: 0-d `float32`.
    pub number: Array,
    /// The learning rate, 0-d `float32`.
    pub rate: Array,
}

/// How one parameter is changed by its gradient.
pub trait Rule: Clone + PartialEq {
    /// What is remembered about `parameter` before the first step.
    ///
    /// # Errors
    /// None of its own.
    fn init(&self, parameter: &Array) -> Result<Slots>;

    /// The parameter after the step; changes what is remembered. The gradient has the parameter's
    /// shape, and the slots are those of `init`.
    ///
    /// # Errors
    /// Those of the arithmetic.
    fn apply(
        &self,
        step: &Step,
        gradient: &Array,
        parameter: &Array,
        slots: &mut Slots,
    ) -> Result<Array>;
}

/// A rule with its state: the number of steps, the learning rate, and what the rule remembers.
#[derive(Clone, Debug)]
pub struct Optimizer<R> {
    rule: R,
    /// `None` where the learning rate is what it was set to.
    schedule: Option<Schedule>,
    /// 0-d `uint64`.
    step: Array,
    /// 0-d `float32`.
    rate: Array,
    slots: BTreeMap<String, Slots>,
}

impl<R: Rule> Optimizer<R> {
    /// An optimiser that has done no steps. The learning rate is a number or a [`Schedule`].
    pub fn new(rule: R, learning_rate: impl Into<Schedule>) -> Optimizer<R> {
        let (schedule, rate) = match learning_rate.into() {
            Schedule::Constant(rate) => (None, rate),
            schedule => (Some(schedule), 0.0),
        };
        let (step, rate) = (Array::scalar(0u64), Array::scalar(rate as f32));
        Optimizer { rule, schedule, step, rate, slots: BTreeMap::new() }
    }

    /// The rule.
    pub fn rule(&self) -> &R {
        &self.rule
    }

    /// The number of steps done, 0-d `uint64`.
    pub fn step(&self) -> &Array {
        &self.step
    }

    /// The learning rate of the last step, 0-d `float32`.
    pub fn learning_rate(&self) -> &Array {
        &self.rate
    }

    /// Sets the learning rate in place of the one so far or the schedule. A compiled step is not
    /// traced again.
    pub fn set_learning_rate(&mut self, rate: f64) {
        self.schedule = None;
        self.rate = Array::scalar(rate as f32);
    }

    /// Makes the state of every trainable parameter that has none. The first update does so too;
    /// before a compiled step it saves one trace.
    ///
    /// # Errors
    /// Those of the rule.
    pub fn init<M: Module>(&mut self, model: &M) -> Result<()> {
        for (name, parameter) in model.trainable_parameters() {
            if !self.slots.contains_key(&name) {
                let slots = self.rule.init(&parameter)?;
                self.slots.insert(name, slots);
            }
        }
        Ok(())
    }

    /// Does one step: changes the parameters that `gradients` names.
    ///
    /// # Errors
    /// Kind `Argument` if the model has no such trainable parameter, `Shape` if a gradient has
    /// another shape than its parameter.
    pub fn update<M: Module>(&mut self, model: &mut M, gradients: &Parameters) -> Result<()> {
        let parameters = model.trainable_parameters();
        for (name, gradient) in gradients {
            let Some(parameter) = parameters.get(name) else {
                let message = format!("the model has no trainable parameter {name}");
                return Err(Error::argument("optimizer", message));
            };
            let shapes = [gradient.shape(), parameter.shape()];
            if shapes[0] != shapes[1] {
                let message = format!("{name}: a gradient of {:?} for {:?}", shapes[0], shapes[1]);
                return Err(Error::shape("optimizer", &shapes, message));
            }
        }
        if let Some(schedule) = &self.schedule {
            self.rate = schedule.value(&self.step.astype(Dtype::F32)?)?;
        }
        self.step = self.step.add(&Array::scalar(1u64))?;
        let step = Step { number: self.step.astype(Dtype::F32)?, rate: self.rate.clone() };
        let mut updated = Parameters::new();
        for (name, gradient) in gradients {
            let parameter = &parameters[name];
            if !self.slots.contains_key(name) {
                self.slots.insert(name.clone(), self.rule.init(parameter)?);
            }
            if let Some(slots) = self.slots.get_mut(name) {
                let new = self.rule.apply(&step, gradient, parameter, slots)?;
                updated.insert(name.clone(), new.astype(parameter.dtype())?);
            }
        }
        model.update(&updated)
    }

    /// The state by name: `step`, `learning_rate`, and for each parameter what the rule remembers,
    /// such as `layers.0.weight.m`.
    pub fn state(&self) -> Parameters {
        let mut state = Parameters::new();
        state.insert("step".into(), self.step.clone());
        state.insert("learning_rate".into(), self.rate.clone());
        for (name, slots) in &self.slots {
            state.extend(slots.iter().map(|(slot, array)| (child(name, slot), array.clone())));
        }
        state
    }

    /// Takes up a state that [`Optimizer::state`] gave for `model`.
    ///
    /// # Errors
    /// Kind `Argument` if an array is missing or unknown, `Shape` if one has another shape.
    pub fn set_state<M: Module>(&mut self, model: &M, mut state: Parameters) -> Result<()> {
        self.init(model)?;
        let mut take = |name: &str, place: &mut Array| -> Result<()> {
            let new = state.remove(name).ok_or_else(|| {
                Error::argument("optimizer", format!("the state has no array {name}"))
            })?;
            if new.shape() != place.shape() {
                let shapes = [new.shape(), place.shape()];
                let message = format!("{name}: an array of {:?} for {:?}", shapes[0], shapes[1]);
                return Err(Error::shape("optimizer", &shapes, message));
            }
            *place = new;
            Ok(())
        };
        take("step", &mut self.step)?;
        take("learning_rate", &mut self.rate)?;
        for (name, slots) in &mut self.slots {
            for (slot, array) in slots {
                take(&child(name, slot), array)?;
            }
        }
        match state.keys().next() {
            Some(name) => Err(Error::argument("optimizer", format!("no array {name} is kept"))),
            None => Ok(()),
        }
    }

    /// Writes the state to a safetensors file.
    ///
    /// # Errors
    /// Kind `Io` if the file cannot be written, and those of evaluation.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save_arrays(path.as_ref(), &self.state())
    }

    /// Takes up the state that a file holds.
    ///
    /// # Errors
    /// Kind `Io` if the file cannot be read, and those of [`Optimizer::set_state`].
    pub fn load<M: Module>(&mut self, model: &M, path: impl AsRef<Path>) -> Result<()> {
        let arrays = Contents::open(&Input::open(path.as_ref())?)?.arrays()?;
        self.set_state(model, arrays.into_iter().collect())
    }
}

impl<R: Rule> Tree for Optimizer<R> {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        leaves.extend([&self.step, &self.rate]);
        self.slots.flatten(leaves);
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Optimizer<R>> {
        Ok(Optimizer {
            rule: self.rule.clone(),
            schedule: self.schedule.clone(),
            step: self.step.rebuild(leaves)?,
            rate: self.rate.rebuild(leaves)?,
            slots: self.slots.rebuild(leaves)?,
        })
    }

    fn same_form(&self, other: &Optimizer<R>) -> bool {
        self.rule == other.rule
            && self.schedule == other.schedule
            && self.slots.same_form(&other.slots)
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        names.extend([child(prefix, "step"), child(prefix, "learning_rate")]);
        self.slots.names(prefix, names);
    }
}

/// The gradients scaled by `min(most / (norm + 1e-6), 1)`, and the norm of all of them together
/// that they had.
///
/// # Errors
/// Those of the arithmetic.
pub fn clip_grad_norm(gradients: &Parameters, most: f64) -> Result<(Parameters, Array)> {
    let zero = Array::scalar(0.0f32);
    let total = gradients.values().try_fold(zero, |total, g| {
        total.add(&g.astype(g.dtype().promote(Dtype::F32))?.square()?.sum(None, false)?)
    })?;
    let norm = total.sqrt()?;
    let factor = (most / (&norm + 1e-6)).minimum(&Array::scalar(1.0f32))?;
    let scaled =
        |(name, g): (&String, &Array)| Ok((name.clone(), g.multiply(&factor.astype(g.dtype())?)?));
    Ok((gradients.iter().map(scaled).collect::<Result<_>>()?, norm))
}
