//! Independent work on two streams, joined by its results.
//!
//!     cargo run --release --example two_streams

use lazulite::prelude::*;
use lazulite::{eval, random};

fn chain(x: &Array) -> Result<Array> {
    let mut y = x.clone();
    for _ in 0..4 {
        y = y.matmul(x)? * 0.05;
    }
    Ok(y)
}

pub fn main() -> Result<()> {
    let draw = |seed| random::normal(&[256, 256], Dtype::F32, None, None, Some(&random::key(seed)?));
    let (a, b) = (draw(1)?, draw(2)?);
    let (one, two) = (Stream::new(Device::CPU)?, Stream::new(Device::CPU)?);
    let (p, q) = (with_stream(one, || chain(&a))?, with_stream(two, || chain(&b))?);
    // Nothing waits here; the sum is computed when both parts are there.
    eval::async_eval(&[p.clone(), q.clone()])?;
    let sum = (&p + &q).sum(None, false)?.item::<f32>()?;

    let again = (chain(&a)? + chain(&b)?).sum(None, false)?.item::<f32>()?;
    println!("two streams {sum}, one stream {again}");
    assert_eq!(sum, again);
    Ok(())
}
