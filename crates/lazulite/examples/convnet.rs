//! Trains a small convolutional network on Fashion-MNIST.
//!
//!     make fashion

pub mod fashion;

use fashion::{Outcome, Plan, train};
use lazulite::nn::{self, Conv2d, Layer, Linear, MaxPool2d, Module};
use lazulite::prelude::*;
use lazulite::random;

#[derive(Clone, Module)]
struct ConvNet {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    hidden: Linear,
    out: Linear,
}

impl ConvNet {
    fn new() -> Result<ConvNet> {
        Ok(ConvNet {
            conv1: Conv2d::new(1, 16, [3, 3])?.padding([1, 1]),
            conv2: Conv2d::new(16, 32, [3, 3])?.padding([1, 1]),
            pool: MaxPool2d::new([2, 2]),
            hidden: Linear::new(7 * 7 * 32, 64)?,
            out: Linear::new(64, 10)?,
        })
    }
}

impl Layer for ConvNet {
    fn call(&mut self, x: &Array) -> Result<Array> {
        let x = self.pool.forward(&nn::relu(&self.conv1.forward(x)?)?)?;
        let x = self.pool.forward(&nn::relu(&self.conv2.forward(&x)?)?)?;
        self.out.forward(&nn::relu(&self.hidden.forward(&x.flatten(1, -1)?)?)?)
    }
}

/// Trains as `plan` says; `None` if the data is not there.
pub fn run(plan: &Plan) -> Result<Option<Outcome>> {
    random::seed(1)?;
    train("convnet", ConvNet::new()?, plan)
}

/// Runs the example; fails if what comes out is not what must.
pub fn main() -> Result<()> {
    let plan = Plan::from_args(12);
    if let Some(outcome) = run(&plan)? {
        assert!(outcome.accuracy >= 0.9 || plan.is_short());
    }
    Ok(())
}
