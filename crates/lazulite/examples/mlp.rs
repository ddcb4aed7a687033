//! Trains a perceptron of two hidden layers on Fashion-MNIST.
//!
//!     make .cache/fashion-mnist && cargo run --release --example mlp

mod fashion;

use fashion::{Plan, train};
use lazulite::nn::{self, Layer, Linear, Module};
use lazulite::prelude::*;
use lazulite::random;

#[derive(Clone, Module)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn new(sizes: &[usize]) -> Result<Mlp> {
        let layers = sizes.windows(2).map(|pair| Linear::new(pair[0], pair[1]));
        Ok(Mlp { layers: layers.collect::<Result<_>>()? })
    }
}

impl Layer for Mlp {
    fn call(&mut self, x: &Array) -> Result<Array> {
        let mut x = x.flatten(1, -1)?;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&if i == 0 { x } else { nn::relu(&x)? })?;
        }
        Ok(x)
    }
}

/// Runs the example; fails if what comes out is not what must.
pub fn main() -> Result<()> {
    random::seed(1)?;
    let plan = Plan::from_args(5);
    if let Some(outcome) = train("mlp", Mlp::new(&[784, 256, 128, 10])?, &plan)? {
        assert!(outcome.accuracy > 0.87 || plan.is_short());
    }
    Ok(())
}
