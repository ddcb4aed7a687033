//! How often loops plan. The counters are the process's, so this file has one test.

use lazulite::fast::{Mask, scaled_dot_product_attention};
use lazulite::plan::cache;
use lazulite::prelude::*;
use lazulite::transform::value_and_grad;
use lazulite::{eval, random};

fn normal(shape: &[usize], seed: u64) -> Result<Array> {
    let x = random::normal(shape, Dtype::F32, None, None, Some(&random::key(seed)?))?;
    x.eval()?;
    Ok(x)
}

/// One token through a layer: keys and values grow by one row.
fn decode(x: &Array, w: &Array, cache: &mut [Array; 2], by_hand: bool) -> Result<Array> {
    let heads = |x: &Array| x.reshape(&[1, 1, 2, 8])?.swapaxes(1, 2);
    let q = heads(&x.matmul(w)?)?;
    for kept in cache.iter_mut() {
        *kept = Array::concatenate(&[kept.clone(), heads(x)?], 2)?;
    }
    let [k, v] = &*cache;
    let y = if by_hand {
        let s = q.matmul(&k.swapaxes(-1, -2)?)? * 0.35;
        s.softmax(Some(&[-1]), false)?.matmul(v)?
    } else {
        scaled_dot_product_attention(&q, k, v, 0.35, Mask::None, None)?
    };
    let y = y.swapaxes(1, 2)?.reshape(&[1, 16])?;
    eval::eval(&[y.clone(), cache[0].clone(), cache[1].clone()])?;
    Ok(y)
}

#[test]
fn loops_plan_where_a_guard_fails_and_nowhere_else() -> Result<()> {
    let (w, x) = (normal(&[16, 16], 1)?, normal(&[1, 16], 2)?);
    for by_hand in [false, true] {
        cache::clear();
        let mut kept = [normal(&[1, 2, 3, 8], 3)?, normal(&[1, 2, 3, 8], 4)?];
        let mut x = x.clone();
        let before = cache::stats();
        for _ in 0..1000 {
            x = decode(&x, &w, &mut kept, by_hand)?;
        }
        let after = cache::stats();
        assert_eq!(kept[0].shape(), [1, 2, 1003, 8]);
        // Once as the cache's length equals no other size, once where it passes that of a head.
        let planned = after.misses - before.misses;
        assert!(planned <= 3, "{planned} plans, by hand: {by_hand}");
        assert_eq!(after.guard_failures, before.guard_failures, "{:?}", cache::failures());
        assert_eq!(after.hits - before.hits + planned, 1000);
    }

    cache::clear();
    let (x, y) = (normal(&[8, 16], 5)?, normal(&[8, 16], 6)?);
    let step =
        value_and_grad(move |w: Array| (x.matmul(&w)?.tanh()? - &y).square()?.mean(None, false));
    let mut w = w;
    let mut losses = Vec::new();
    for i in 0..1000 {
        let (loss, slope) = step(w.clone())?;
        // The rate meets the values of other scalars now and then.
        let rate = 0.5 / (1.0 + i as f64 / 50.0);
        w = &w - slope * rate;
        eval::eval(&[w.clone(), loss.clone()])?;
        losses.push(loss.item::<f32>()?);
    }
    assert!(losses[999] < losses[0]);
    let stats = cache::stats();
    let failed: u64 = cache::failures().iter().map(|f| f.1).sum();
    assert_eq!(stats.guard_failures, failed);
    // The first weights are also held by the caller, later ones are not.
    assert!(stats.misses <= 2 + stats.guard_failures, "{} plans", stats.misses);
    assert!(stats.guard_failures <= 2, "{:?}", cache::failures());
    assert_eq!(stats.hits + stats.misses, 1000);
    Ok(())
}
