//! Trains a small network on scikit-learn's digits (8 x 8 images).
//!
//!     make digits && cargo run --release --example digits
//!
//! The data is `.cache/digits.csv`: 64 pixels from 0 to 16 and a label in each row.

use lazulite::prelude::*;
use lazulite::transform::value_and_grad;
use lazulite::{Tree, eval, random};
use std::path::Path;

#[derive(Clone, Tree)]
struct Network {
    w1: Array,
    b1: Array,
    w2: Array,
    b2: Array,
}

impl Network {
    fn new(inputs: usize, hidden: usize, outputs: usize) -> Result<Network> {
        let layer = |n: usize, m: usize| -> Result<Array> {
            let scale = Array::scalar((2.0 / n as f32).sqrt());
            random::normal(&[n, m], Dtype::F32, None, Some(&scale), None)
        };
        Ok(Network {
            w1: layer(inputs, hidden)?,
            b1: Array::zeros(&[hidden], Dtype::F32)?,
            w2: layer(hidden, outputs)?,
            b2: Array::zeros(&[outputs], Dtype::F32)?,
        })
    }

    fn logits(&self, x: &Array) -> Result<Array> {
        let hidden = (x.matmul(&self.w1)? + &self.b1).maximum(&Array::scalar(0.0f32))?;
        Ok(hidden.matmul(&self.w2)? + &self.b2)
    }

    /// Mean cross-entropy.
    fn loss(&self, x: &Array, labels: &Array) -> Result<Array> {
        let logits = self.logits(x)?;
        let n = logits.shape()[0];
        let chosen = logits.take_along_axis(&labels.reshape(&[n, 1])?, Some(1))?;
        (logits.logsumexp(Some(&[-1]), true)? - chosen).mean(None, false)
    }

    fn step(&self, gradient: &Network, rate: f64) -> Network {
        Network {
            w1: &self.w1 - &gradient.w1 * rate,
            b1: &self.b1 - &gradient.b1 * rate,
            w2: &self.w2 - &gradient.w2 * rate,
            b2: &self.b2 - &gradient.b2 * rate,
        }
    }
}

fn read(path: &Path) -> Result<(Vec<f32>, Vec<u32>)> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::argument("digits", format!("{}: {error}", path.display())))?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let row: Vec<f32> = line.split(',').filter_map(|cell| cell.trim().parse().ok()).collect();
        if let Some((&label, image)) = row.split_last().filter(|(_, image)| image.len() == 64) {
            pixels.extend(image.iter().map(|p| p / 16.0));
            labels.push(label as u32);
        }
    }
    Ok((pixels, labels))
}

pub fn main() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/digits.csv");
    if !path.exists() {
        println!("{} is missing: run `make digits` first", path.display());
        return Ok(());
    }
    let (pixels, labels) = read(&path)?;
    let train = labels.len() * 4 / 5;
    let images = |from: usize, to: usize| {
        Array::from_slice(&pixels[from * 64..to * 64], &[to - from, 64])
    };
    let (x, y) = (images(0, train)?, Array::from_slice(&labels[..train], &[train])?);
    let (xt, yt) = (images(train, labels.len())?, Array::from_slice(&labels[train..], &[labels.len() - train])?);

    random::seed(1)?;
    let mut network = Network::new(64, 64, 10)?;
    for epoch in 0..200 {
        let step = value_and_grad(|n: Network| n.loss(&x, &y));
        let (loss, gradient) = step(network.clone())?;
        network = network.step(&gradient, 0.5);
        eval::eval(&[&network.w1, &network.b1, &network.w2, &network.b2].map(Array::clone))?;
        if epoch % 50 == 0 {
            println!("epoch {epoch:3}  loss {:.4}", loss.item::<f32>()?);
        }
    }
    let right = network.logits(&xt)?.argmax(Some(-1), false)?.equal(&yt)?;
    let accuracy = right.astype(Dtype::F32)?.mean(None, false)?.item::<f32>()?;
    println!("accuracy on {} unseen digits: {accuracy:.3}", labels.len() - train);
    assert!(accuracy > 0.9);
    Ok(())
}
