//! The gradient of each example of a batch: `vmap` of `grad`, against a loop.
//!
//!     cargo run --release --example per_example_gradients

use lazulite::prelude::*;
use lazulite::random;
use lazulite::transform::{grad, vmap};

pub fn main() -> Result<()> {
    let w = random::normal(&[8, 4], Dtype::F32, None, None, Some(&random::key(1)?))?;
    let x = random::normal(&[32, 8], Dtype::F32, None, None, Some(&random::key(2)?))?;
    let gradient = |(w, x): (Array, Array)| {
        grad(|w: Array| x.matmul(&w)?.tanh()?.square()?.sum(None, false))(w)
    };
    let all = vmap(gradient, [None, Some(0)], 0)((w.clone(), x.clone()))?;
    println!("{} gradients of shape {:?}", all.shape()[0], &all.shape()[1..]);

    let rows = (0..32).map(|i| {
        let row = x.slice(&[i, 0], &[i + 1, 8], &[1, 1])?.reshape(&[8])?;
        gradient((w.clone(), row))
    });
    let looped = Array::stack(&rows.collect::<Result<Vec<_>>>()?, 0)?;
    let difference = (all - looped).abs()?.max(None, false)?.item::<f32>()?;
    println!("greatest difference to a loop: {difference:.1e}");
    assert!(difference < 1e-5);
    Ok(())
}
