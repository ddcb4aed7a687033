//! Fits a line to noisy points by gradient descent.
//!
//!     cargo run --release --example line_fit

use lazulite::prelude::*;
use lazulite::random;
use lazulite::transform::value_and_grad;

pub fn main() -> Result<()> {
    random::seed(7)?;
    let x = random::normal(&[256], Dtype::F32, None, None, None)?;
    let noise = random::normal(&[256], Dtype::F32, None, None, None)? * 0.05;
    let y = &x * 3.0 + 0.5 + noise;
    lazulite::eval::eval(&[x.clone(), y.clone()])?;

    let loss = |(a, b): (Array, Array)| (&x * &a + &b - &y).square()?.mean(None, false);
    let step = value_and_grad(loss);
    let (mut a, mut b) = (Array::scalar(0.0f32), Array::scalar(0.0f32));
    let mut last = f32::INFINITY;
    for i in 0..100 {
        let (value, (da, db)) = step((a.clone(), b.clone()))?;
        a = a - da * 0.1;
        b = b - db * 0.1;
        lazulite::eval::eval(&[value.clone(), a.clone(), b.clone()])?;
        last = value.item()?;
        if i % 25 == 0 {
            println!("step {i:3}  loss {last:.5}");
        }
    }
    let (a, b) = (a.item::<f32>()?, b.item::<f32>()?);
    println!("y = {a:.2} x + {b:.2}, loss {last:.5}");
    assert!((a - 3.0).abs() < 0.05 && (b - 0.5).abs() < 0.05);
    Ok(())
}
