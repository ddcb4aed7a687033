//! Loops as programs write them, whose plans must stay: text made with a growing cache, by one layer
//! or by a whole model, and training with a changing rate.

use crate::generate::{Session, llama::Cache};
use lazulite::fast::{Mask, scaled_dot_product_attention};
use lazulite::prelude::*;
use lazulite::transform::value_and_grad;
use lazulite::{eval, random};
use std::path::Path;

fn normal(shape: &[usize], seed: u64) -> Result<Array> {
    let x = random::normal(shape, Dtype::F32, None, None, Some(&random::key(seed)?))?;
    x.eval()?;
    Ok(x)
}

/// Makes `steps` tokens with one layer of attention, whose keys and values grow by a row each;
/// attention is written by hand or called. Returns the cache's length.
///
/// # Errors
/// Those of evaluation.
pub fn decode(steps: usize, by_hand: bool) -> Result<usize> {
    let w = normal(&[16, 16], 1)?;
    let mut cache = [normal(&[1, 2, 3, 8], 3)?, normal(&[1, 2, 3, 8], 4)?];
    let mut x = normal(&[1, 16], 2)?;
    let heads = |x: &Array| x.reshape(&[1, 1, 2, 8])?.swapaxes(1, 2);
    for _ in 0..steps {
        let q = heads(&x.matmul(&w)?)?;
        for kept in &mut cache {
            *kept = Array::concatenate(&[kept.clone(), heads(&x)?], 2)?;
        }
        let [k, v] = &cache;
        let y = if by_hand {
            let scores = q.matmul(&k.swapaxes(-1, -2)?)? * 0.35;
            scores.softmax(Some(&[-1]), false)?.matmul(v)?
        } else {
            scaled_dot_product_attention(&q, k, v, 0.35, Mask::None, None)?
        };
        x = y.swapaxes(1, 2)?.reshape(&[1, 16])?;
        eval::eval(&[x.clone(), k.clone(), v.clone()])?;
    }
    Ok(cache[0].shape()[2])
}

/// Reads a question into the model at `path` and makes `steps` tokens, the likeliest each. Returns the
/// cache's length.
///
/// # Errors
/// Those of [`Session::open`] and of evaluation.
pub fn generate(path: &Path, steps: usize) -> Result<usize> {
    let (session, mut cache) = (Session::open(path)?, Cache::default());
    let mut logits = session.read(&session.encode("Count to a thousand.")?, &mut cache)?;
    for _ in 0..steps {
        let next = logits.argmax(None, false)?.item()?;
        logits = session.read(&[next], &mut cache)?;
    }
    Ok(cache.len)
}

/// Trains one layer for `steps` steps with a falling rate; returns the first and the last loss.
///
/// # Errors
/// Those of evaluation.
pub fn train(steps: usize) -> Result<(f32, f32)> {
    let (x, y) = (normal(&[8, 16], 5)?, normal(&[8, 16], 6)?);
    let step =
        value_and_grad(move |w: Array| (x.matmul(&w)?.tanh()? - &y).square()?.mean(None, false));
    let mut w = normal(&[16, 16], 1)?;
    let mut losses = Vec::with_capacity(steps);
    for i in 0..steps {
        let (loss, slope) = step(w.clone())?;
        let rate = 0.5 / (1.0 + i as f64 / 50.0);
        w = &w - slope * rate;
        eval::eval(&[w.clone(), loss.clone()])?;
        losses.push(loss.item::<f32>()?);
    }
    Ok((losses.first().copied().unwrap_or(0.0), losses.last().copied().unwrap_or(0.0)))
}
