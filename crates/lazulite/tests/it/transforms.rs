//! Transforms where they meet evaluation and the random state.

use lazulite::op::random;
use lazulite::prelude::*;
use lazulite::transform::{
    Compiled, Repeated, compile_shapeless, grad, value_and_grad, value_and_grad_aux,
};
use lazulite::{checkpoint, compile, vmap};

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
    let refused = Repeated::new(|x: Array| x.reshape(&[2, 2]));
    assert!(refused.call(Array::ones(&[3], Dtype::F32)?).is_err());
    Ok(())
}
