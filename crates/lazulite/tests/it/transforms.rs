//! Transforms where they meet evaluation and the random state.

use lazulite::op::random;
use lazulite::prelude::*;
use lazulite::transform::{
    Compiled, Repeated, compile_shapeless, grad, value_and_grad, value_and_grad_aux,
};
use lazulite::{checkpoint, compile, vmap};
use std::cell::Cell;

#[test]
fn compiled_draws_are_those_of_the_function() -> Result<()> {
    let noisy = |x: Array| random::normal(&[3], Dtype::F32, None, None, None)?.add(&x);
    let compiled = Compiled::new(noisy);
    let x = Array::scalar(1.0f32);
    random::seed(7)?;
    let want = [noisy(x.clone())?.to_vec::<f32>()?, noisy(x.clone())?.to_vec::<f32>()?];
    random::seed(7)?;
    let got = [compiled.call(x.clone())?.to_vec::<f32>()?, compiled.call(x)?.to_vec::<f32>()?];
    assert_eq!(got, want);
    assert_ne!(got[0], got[1]);
    assert_eq!(compiled.traces(), 1);
    Ok(())
}

#[test]
fn values_may_decide_inside_grad() -> Result<()> {
    let relu_or_square = |x: Array| {
        let sum = x.sum(None, false)?;
        if sum.item::<f32>()? > 0.0 { x.square()?.sum(None, false) } else { Ok(sum) }
    };
    let slope =
        |data: &[f32]| grad(relu_or_square)(Array::from_slice(data, &[2])?)?.to_vec::<f32>();
    assert_eq!(slope(&[1.0, 2.0])?, [2.0, 4.0]);
    assert_eq!(slope(&[-1.0, -2.0])?, [1.0, 1.0]);
    Ok(())
}

#[test]
fn values_inside_vmap_and_compile_are_errors_and_leave_all_usable() -> Result<()> {
    let x = Array::from_slice(&[1.0f32, 2.0], &[2])?;
    let peek = |x: Array| {
        x.exp()?.eval()?;
        Ok(x)
    };
    assert_eq!(vmap(peek, 0, 0)(x.clone()).err().map(|e| e.kind()), Some(ErrorKind::Trace));
    assert_eq!(compile(peek)(x.clone()).err().map(|e| e.kind()), Some(ErrorKind::Trace));
    let failing = |_: Array| -> Result<Array> { Err(Error::argument("f", "no")) };
    assert!(grad(failing)(x.clone()).is_err());
    let (value, slope) = value_and_grad(|x: Array| x.exp()?.sum(None, false))(x)?;
    assert_eq!(value.item::<f32>()?, slope.sum(None, false)?.item::<f32>()?);
    Ok(())
}

#[test]
fn auxiliary_results_are_ordinary_arrays_afterwards() -> Result<()> {
    let f = value_and_grad_aux(|x: Array| {
        let y = x.square()?;
        Ok((y.sum(None, false)?, (y, "note")))
    });
    let ((value, (y, note)), slope) = f(Array::from_slice(&[3.0f32, 4.0], &[2])?)?;
    lazulite::eval::eval(&[value.clone(), y.clone(), slope.clone()])?;
    assert_eq!((value.item::<f32>()?, note), (25.0, "note"));
    assert_eq!(y.to_vec::<f32>()?, [9.0, 16.0]);
    assert_eq!(slope.to_vec::<f32>()?, [6.0, 8.0]);
    Ok(())
}

#[test]
fn a_training_step_of_layers_is_the_same_compiled_and_recomputed() -> Result<()> {
    let layer = |(w, x): (Array, Array)| x.matmul(&w)?.tanh();
    let run = |deep: &dyn Fn((Array, Array)) -> Result<Array>, (w, x): (Array, Array)| {
        let y = (0..4).try_fold(x, |x, _| deep((w.clone(), x)))?;
        y.square()?.sum(None, false)
    };
    let data: Vec<f32> = (0..16).map(|i| (i as f32 * 0.37).sin()).collect();
    let (w, x) = (Array::from_slice(&data, &[4, 4])?, Array::from_slice(&data[..8], &[2, 4])?);
    let plain = grad(|w: Array| run(&layer, (w, x.clone())));
    let saved = checkpoint(layer);
    let recomputed = grad(|w: Array| run(&saved, (w, x.clone())));
    let want = plain(w.clone())?.to_vec::<f32>()?;
    assert_eq!(compile(&plain)(w.clone())?.to_vec::<f32>()?, want);
    assert_eq!(compile_shapeless(&plain)(w.clone())?.to_vec::<f32>()?, want);
    assert_eq!(recomputed(w)?.to_vec::<f32>()?, want);
    Ok(())
}

/// A state of a small argument, a place, and a cache that is written in place.
type Rows = (Array, Array, Array);

fn put_row(width: &Array, (x, place, cache): Rows) -> Result<Rows> {
    let row = x.multiply(width)?.reshape(&[1, 64])?;
    let cache = cache.slice_update_dynamic(&row, &place, &[0])?;
    let norm = cache.square()?.sum(Some(&[-1]), true)?.add(&Array::scalar(1.0f32))?.rsqrt()?;
    let sum = cache.multiply(&norm)?.sum(Some(&[0]), false)?;
    Ok((
        sum.matmul(&cache.slice(&[0, 0], &[64, 64], &[1, 1])?)?.add(&x)?,
        place.add(&Array::scalar(1i64))?,
        cache,
    ))
}

/// The results of every call are held, so that no later one may change them; nor may it change a
/// cache that somebody else holds. The function itself is called until it is recorded.
#[test]
fn a_repeated_step_is_recorded_and_keeps_what_others_hold() -> Result<()> {
    let width = Array::from_slice(&[0.5f32; 64], &[64])?;
    let calls = Cell::new(0);
    let step = Repeated::new(|state: Rows| {
        calls.set(calls.get() + 1);
        put_row(&width, state)
    });
    let run = |step: &dyn Fn(Rows) -> Result<Rows>| -> Result<Vec<Vec<f32>>> {
        let mut x = Array::ones(&[64], Dtype::F32)?;
        let mut place = Array::from_slice(&[0i64], &[1])?;
        let mut cache = Array::zeros(&[1024, 64], Dtype::F32)?;
        let mut all = Vec::new();
        for _ in 0..8 {
            (x, place, cache) = step((x, place, cache))?;
            all.push(x.clone());
        }
        let held = cache.clone();
        let (_, _, other) = step((x, place, cache))?;
        all.extend([held.sum(Some(&[0]), false)?, other.sum(Some(&[0]), false)?]);
        all.iter().map(Array::to_vec::<f32>).collect()
    };
    let want = run(&|state| put_row(&width, state))?;
    assert_eq!(run(&|state| step.call(state))?, want);
    // Of nine calls the last is plain, since the cache is held.
    assert!(calls.get() <= 4, "{} calls", calls.get());
    // Elsewhere in memory it is recorded anew or called, and the same.
    assert_eq!(run(&|state| step.call(state))?, want);
    Ok(())
}

#[test]
fn a_repeated_step_computes_what_the_function_does() -> Result<()> {
    let step = Repeated::new(|(x, sum): (Array, Array)| Ok((x.multiply(&x)?, sum.add(&x)?)));
    for (start, len) in [(2.0f32, 1usize), (0.5, 3)] {
        let (mut x, mut sum) =
            (Array::from_slice(&vec![start; len], &[len])?, Array::zeros(&[len], Dtype::F32)?);
        let (mut number, mut total) = (start, 0.0);
        for _ in 0..4 {
            let held = sum.clone();
            (x, sum) = step.call((x, sum))?;
            assert_eq!(held.to_vec::<f32>()?, vec![total; len]);
            (number, total) = (number * number, total + number);
            assert_eq!(x.to_vec::<f32>()?, vec![number; len]);
            assert_eq!(sum.to_vec::<f32>()?, vec![total; len]);
        }
    }
    // What reads values, draws random numbers or fails is called each time.
    let calls = Cell::new(0);
    let reads = Repeated::new(|x: Array| {
        calls.set(calls.get() + 1);
        let most: f32 = x.max(None, false)?.item()?;
        x.add(&Array::scalar(most))
    });
    let draws =
        Repeated::new(|x: Array| x.add(&random::normal(&[3], Dtype::F32, None, None, None)?));
    let mut seen = Vec::new();
    for i in 1..6 {
        let x = Array::from_slice(&[i as f32, 0.0, -1.0], &[3])?;
        assert_eq!(
            reads.call(x.clone())?.to_vec::<f32>()?,
            [2.0 * i as f32, i as f32, i as f32 - 1.0]
        );
        let drawn = draws.call(x.subtract(&x)?)?.to_vec::<f32>()?;
        assert!(!seen.contains(&drawn));
        seen.push(drawn);
    }
    assert!(calls.get() >= 5);
    let refused = Repeated::new(|x: Array| x.reshape(&[2, 2]));
    assert!(refused.call(Array::ones(&[3], Dtype::F32)?).is_err());
    Ok(())
}
