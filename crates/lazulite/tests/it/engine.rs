//! Evaluation, fusion, donation, streams and memory, seen from outside.

use lazulite::plan::{cache, explain};
use lazulite::prelude::*;
use lazulite::{device, eval};

fn steps(arrays: &[Array]) -> usize {
    let text = explain(arrays).expect("plans");
    text.lines().filter(|l| l.as_bytes().get(2).is_some_and(u8::is_ascii_digit)).count()
}

fn ramp(shape: &[usize]) -> Array {
    let n: usize = shape.iter().product();
    let data: Vec<f32> = (0..n).map(|i| (i % 97) as f32 / 97.0 - 0.4).collect();
    Array::from_slice(&data, shape).expect("allocates")
}

fn close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "place {i}: got {g}, want {w}");
    }
}

#[test]
fn operators_fuse_into_one_tape() -> Result<()> {
    let x = ramp(&[1000]);
    let y = (&x * 2.0 + 1.0) * &x - 0.5;
    assert_eq!(steps(std::slice::from_ref(&y)), 1);
    let data = x.to_vec::<f32>()?;
    let want: Vec<f32> = data.iter().map(|v| (v * 2.0 + 1.0) * v - 0.5).collect();
    assert_eq!(y.to_vec::<f32>()?, want);
    Ok(())
}

#[test]
fn hand_written_softmax_is_one_tape() -> Result<()> {
    let x = ramp(&[7, 33]);
    let max = x.max(Some(&[-1]), true)?;
    let e = (&x - max).exp()?;
    let y = &e / e.sum(Some(&[-1]), true)?;
    drop(e);
    assert_eq!(steps(std::slice::from_ref(&y)), 1, "{}", explain(std::slice::from_ref(&y))?);
    let (data, got) = (x.to_vec::<f32>()?, y.to_vec::<f32>()?);
    for (row, out) in data.chunks(33).zip(got.chunks(33)) {
        let sum: f32 = row.iter().map(|v| v.exp()).sum();
        close(out, &row.iter().map(|v| v.exp() / sum).collect::<Vec<_>>(), 1e-6);
    }
    Ok(())
}

#[test]
fn a_norm_with_squeezed_statistics_is_one_tape() -> Result<()> {
    let x = ramp(&[5, 64]);
    let y = {
        let mean = (x.square()?.sum(Some(&[-1]), false)? / 64.0 + 1e-5).rsqrt()?;
        &x * mean.reshape(&[5, 1])?
    };
    assert_eq!(steps(std::slice::from_ref(&y)), 1, "{}", explain(std::slice::from_ref(&y))?);
    let (data, got) = (x.to_vec::<f32>()?, y.to_vec::<f32>()?);
    for (row, out) in data.chunks(64).zip(got.chunks(64)) {
        let r = 1.0 / (row.iter().map(|v| v * v).sum::<f32>() / 64.0 + 1e-5).sqrt();
        close(out, &row.iter().map(|v| v * r).collect::<Vec<_>>(), 1e-6);
    }
    Ok(())
}

#[test]
fn the_tail_of_a_reduction_joins_it() -> Result<()> {
    let x = ramp(&[6, 50]);
    let y = (x.square()?.sum(Some(&[-1]), false)? / 50.0).sqrt()?;
    assert_eq!(steps(std::slice::from_ref(&y)), 1, "{}", explain(std::slice::from_ref(&y))?);
    let want: Vec<f32> = x
        .to_vec::<f32>()?
        .chunks(50)
        .map(|r| (r.iter().map(|v| v * v).sum::<f32>() / 50.0).sqrt())
        .collect();
    close(&y.to_vec::<f32>()?, &want, 1e-6);
    Ok(())
}

#[test]
fn held_intermediates_get_their_values() -> Result<()> {
    let x = ramp(&[40]);
    let h = &x + 1.0;
    let y = &h * &h;
    y.eval()?;
    assert!(h.is_evaluated());
    close(
        &h.to_vec::<f32>()?,
        &x.to_vec::<f32>()?.iter().map(|v| v + 1.0).collect::<Vec<_>>(),
        0.0,
    );
    Ok(())
}

#[test]
fn one_structure_is_planned_once_for_all_sizes() -> Result<()> {
    let run = |n: usize, c: f64| -> Result<()> {
        let x = ramp(&[n, 3]);
        (&x * c - 0.25).cos()?.sum(Some(&[0]), false)?.eval()
    };
    run(10, 1.5)?;
    let before = cache::stats();
    for i in 0..20 {
        run(11 + i, 2.0 + i as f64)?;
    }
    let after = cache::stats();
    assert!(after.hits >= before.hits + 20, "{before:?} {after:?}");
    Ok(())
}

#[test]
fn products_take_epilogues() -> Result<()> {
    let (x, w, b) = (ramp(&[9, 20]), ramp(&[30, 20]), ramp(&[30]));
    let y = (x.matmul(&w.transpose(None)?)? + &b).maximum(&Array::scalar(0.0f32))?;
    let text = explain(std::slice::from_ref(&y))?;
    assert!(text.contains("[epilogue]"), "{text}");
    let (xs, ws, bs) = (x.to_vec::<f32>()?, w.to_vec::<f32>()?, b.to_vec::<f32>()?);
    let mut want = Vec::new();
    for i in 0..9 {
        for j in 0..30 {
            let dot: f32 = (0..20).map(|k| xs[i * 20 + k] * ws[j * 20 + k]).sum();
            want.push((dot + bs[j]).max(0.0));
        }
    }
    close(&y.to_vec::<f32>()?, &want, 1e-5);
    Ok(())
}

#[test]
fn dying_inputs_are_overwritten_and_others_are_not() -> Result<()> {
    let mut x = ramp(&[1 << 16]);
    x.eval()?;
    let kept = x.clone();
    let want = x.to_vec::<f32>()?;
    for _ in 0..3 {
        x += 1.0;
        x.eval()?;
    }
    assert_eq!(kept.to_vec::<f32>()?, want);
    close(&x.to_vec::<f32>()?, &want.iter().map(|v| v + 3.0).collect::<Vec<_>>(), 1e-6);
    Ok(())
}

#[test]
fn deep_graphs_build_evaluate_and_drop() -> Result<()> {
    let mut x = Array::scalar(0.0f32);
    for _ in 0..200_000 {
        x += 1.0;
    }
    assert_eq!(x.item::<f32>()?, 200_000.0);
    let mut unused = Array::scalar(0.0f32);
    for _ in 0..1_000_000 {
        unused += 1.0;
    }
    drop(unused);
    Ok(())
}

#[test]
fn streams_exchange_results_in_order() -> Result<()> {
    let (a, b) = (Stream::new(Device::CPU)?, Stream::new(Device::CPU)?);
    let x = ramp(&[1000]);
    let mut want = x.to_vec::<f32>()?;
    let mut y = x;
    for i in 0..20 {
        let stream = if i % 2 == 0 { a } else { b };
        y = device::with_stream(stream, || y.square()?.subtract(&Array::scalar(0.25f32)))?;
        want.iter_mut().for_each(|v| *v = *v * *v - 0.25);
    }
    eval::async_eval(std::slice::from_ref(&y))?;
    close(&y.to_vec::<f32>()?, &want, 1e-6);
    Ok(())
}

#[test]
fn a_stream_frees_nothing_that_another_one_has_yet_to_read() -> Result<()> {
    let (a, b) = (Stream::new(Device::CPU)?, Stream::new(Device::CPU)?);
    let (long, short) = (ramp(&[1 << 20]), ramp(&[1000]));
    for _ in 0..10 {
        let late = device::with_stream(a, || {
            long.sort(Some(0))?.sum(None, false)?.multiply(&Array::scalar(0.0f32))
        })?;
        let x = device::with_stream(b, || short.cumsum(0, false, true))?;
        let y = device::with_stream(a, || late.add(&x))?;
        let z = device::with_stream(b, || x.multiply(&Array::scalar(3.0f32)))?;
        drop((late, x));
        eval::eval(&[y.clone(), z.clone()])?;
        let want: Vec<f32> = y.to_vec::<f32>()?.iter().map(|v| v * 3.0).collect();
        close(&z.to_vec::<f32>()?, &want, 1e-6);
        assert_eq!(want[0], 3.0 * short.to_vec::<f32>()?[0]);
    }
    Ok(())
}

#[test]
fn what_takes_no_step_waits_for_what_it_stands_for() -> Result<()> {
    for waits in [true, false].repeat(10) {
        let x = ramp(&[100_000]).sin()?.sum(None, false)?;
        eval::async_eval(std::slice::from_ref(&x))?;
        let marked = x.stop_gradient()?;
        match waits {
            true => eval::eval(std::slice::from_ref(&marked))?,
            false => eval::async_eval(std::slice::from_ref(&marked))?,
        }
        assert_eq!(marked.item::<f32>()?, x.item::<f32>()?);
    }
    Ok(())
}

#[test]
fn what_was_computed_before_an_error_stays() -> Result<()> {
    for n in [4, 3000, 300_000] {
        let x = ramp(&[n]).add(&Array::scalar(1.0f32))?;
        x.eval()?;
        let want: Vec<f32> = x.to_vec::<f32>()?.iter().map(|v| v * 3.0).collect();
        let y = x.multiply(&Array::scalar(3.0f32))?;
        // From here on nobody else sees `x`, and `y` may take its buffer.
        drop(x);
        let wrong = Array::from_slice(&[n as i32 + 5], &[1])?;
        let failed = y.sort(Some(-1))?.take(&wrong, Some(0))?.eval();
        assert!(failed.is_err());
        close(&y.to_vec::<f32>()?, &want, 0.0);
    }
    Ok(())
}

#[test]
fn what_a_step_did_not_overwrite_stays() -> Result<()> {
    // Each update may write over `x`, which only it holds, and fails before it does.
    type Update = fn(&Array) -> Result<Array>;
    let wrong: [(&str, Update); 2] = [
        ("put_along_axis", |x| {
            x.put_along_axis(&Array::from_slice(&[900i64], &[1])?, &array![1.0; f32], Some(0))
        }),
        ("masked_scatter", |x| {
            x.masked_scatter(&ramp(&[300]).equal(&ramp(&[300]))?, &array![1.0; f32])
        }),
    ];
    for (name, update) in wrong {
        let x = ramp(&[300]).add(&Array::scalar(1.0f32))?;
        x.eval()?;
        let y = update(&x)?;
        drop(x);
        let [first, second] = [y.eval(), y.eval()].map(|r| r.expect_err(name).to_string());
        assert_eq!(first, second);
    }
    Ok(())
}

#[test]
fn threads_may_evaluate_the_same_array() -> Result<()> {
    let x = ramp(&[10_000]);
    for _ in 0..50 {
        let y = (&x * 3.0).sin()?.sum(None, false)?;
        let sums: Vec<f32> = std::thread::scope(|s| {
            let handles: Vec<_> = (0..4).map(|_| s.spawn(|| y.item::<f32>())).collect();
            handles.into_iter().map(|h| h.join().expect("no panic").expect("evaluates")).collect()
        });
        assert!(sums.windows(2).all(|w| w[0] == w[1]));
    }
    Ok(())
}

#[test]
fn printing_follows_numpy() -> Result<()> {
    assert_eq!(array![1, 2, 30].to_string(), "array([ 1,  2, 30], dtype=int32)");
    let x = array![[1.5, -2.0], [0.25, 10.0]; f32];
    let want = "array([[ 1.5,   -2],\n       [0.25,   10]], dtype=float32)";
    assert_eq!(x.to_string(), want);
    assert_eq!(Array::scalar(true).to_string(), "array(True, dtype=bool)");
    Ok(())
}
