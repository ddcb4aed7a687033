//! What plans predict of memory, against what the allocator counts. The counters are the
//! process's, so this file has one test.

use lazulite::prelude::*;
use lazulite::{backend, eval, fast, random, transform};

fn normal(shape: &[usize], seed: u64) -> Result<Array> {
    let x = random::normal(shape, Dtype::F32, None, None, Some(&random::key(seed)?))?;
    x.eval()?;
    Ok(x)
}

/// Predicted and measured bytes at the highest point, and those that stay.
fn peaks(outputs: Vec<Array>) -> Result<[u64; 4]> {
    let backend = backend::get(Device::CPU)?;
    let before = backend.memory(Device::CPU).active;
    backend.reset_peak(Device::CPU);
    let estimate = lazulite::estimate(&outputs)?;
    eval::eval(&outputs)?;
    let after = backend.memory(Device::CPU);
    let above = |n: usize| (n - before.min(n)) as u64;
    Ok([estimate.peak, above(after.peak), estimate.kept, above(after.active)])
}

const MB: u64 = 1 << 20;

fn layers(x: &Array, w: &Array, n: usize) -> Result<Array> {
    (0..n).try_fold(x.clone(), |y, _| (y.matmul(w)? * 0.03).tanh())
}

/// The weights after a step of gradient descent on `mean((tanh(x @ w) @ v - x)^2)`.
fn training_step(x: &Array, w: &Array) -> Result<Vec<Array>> {
    let x = x.clone();
    let step = transform::value_and_grad(move |(w, v): (Array, Array)| {
        ((x.matmul(&w)? * 0.03).tanh()?.matmul(&v)? - &x).square()?.mean(None, false)
    });
    let (loss, (dw, dv)) = step((w.clone(), w.clone()))?;
    Ok(vec![w - dw * 0.1, w - dv * 0.1, loss])
}

/// A file of 16 float32 tensors of 1 MB.
fn cast_on_load(path: &std::path::Path) -> Result<Vec<Array>> {
    let input = lazulite::io::Input::open(path)?;
    let arrays = lazulite::io::Contents::open(&input)?.arrays()?;
    arrays.into_iter().map(|(_, x)| x.astype(Dtype::F16)).collect()
}

#[test]
fn predicted_peaks_are_the_measured_ones() -> Result<()> {
    let (x, w) = (normal(&[1024, 1024], 1)?, normal(&[1024, 1024], 2)?);
    let heads = normal(&[1, 8, 256, 64], 3)?;
    let path =
        std::env::temp_dir().join(format!("lazulite-peak-{}.safetensors", std::process::id()));
    {
        let names: Vec<String> = (0..16).map(|i| format!("t{i}")).collect();
        let tensors = (0..16).map(|i| normal(&[256, 1024], i)).collect::<Result<Vec<_>>>()?;
        let named: Vec<(&str, &dyn lazulite::io::Saved)> =
            names.iter().zip(&tensors).map(|(n, t)| (n.as_str(), t as _)).collect();
        lazulite::io::safetensors::save(&path, &named, &Default::default())?;
    }
    type Program<'a> = (&'a str, Box<dyn Fn() -> Result<Vec<Array>> + 'a>, u64);
    let programs: Vec<Program<'_>> = vec![
        // At most three of the sixteen intermediates of 4 MB.
        ("a chain", Box::new(|| Ok(vec![layers(&x, &w, 16)?])), 3 * 4 * MB),
        // The results of 8 MB and one tensor of 1 MB.
        ("load and cast", Box::new(|| cast_on_load(&path)), 9 * MB),
        ("elementwise", Box::new(|| Ok(vec![(&x * 2.0 + 1.0).sin()?])), 4 * MB),
        ("a residual", Box::new(|| Ok(vec![&x + layers(&x, &w, 2)?])), 3 * 4 * MB),
        (
            "softmax and statistics",
            Box::new(|| {
                let y = x.softmax(Some(&[-1]), false)?;
                Ok(vec![y.var(Some(&[0]), false, 0)?, y])
            }),
            9 * MB,
        ),
        (
            "attention",
            Box::new(|| {
                let s = heads.matmul(&heads.swapaxes(-1, -2)?)? * 0.125;
                Ok(vec![s.softmax(Some(&[-1]), false)?.matmul(&heads)?])
            }),
            MB,
        ),
        (
            "a transposed copy",
            Box::new(|| Ok(vec![(&x.t()?.reshape(&[512, 2048])? * 2.0)])),
            8 * MB,
        ),
        (
            "a part and the whole",
            Box::new(|| {
                let y = &x * 2.0;
                Ok(vec![y.slice(&[0, 0], &[1024, 512], &[1, 1])?.sum(None, false)?, y])
            }),
            8 * MB,
        ),
        (
            "a training step of two layers",
            // Both gradients of 4 MB, and activations: measured 5 blocks of 4 MB.
            Box::new(|| training_step(&x, &w)),
            5 * 4 * MB,
        ),
        ("a norm", Box::new(|| Ok(vec![fast::rms_norm(&x, None, 1e-5)?])), 4 * MB),
    ];
    for (name, make, most) in &programs {
        let [predicted, measured, predicted_kept, kept] = peaks(make()?)?;
        let off = predicted.abs_diff(measured) as f64 / measured.max(1) as f64;
        assert!(off <= 0.05, "{name}: predicted {predicted}, measured {measured}");
        assert!(measured <= most + most / 50, "{name}: {measured} bytes, at most {most}");
        let off = predicted_kept.abs_diff(kept) as f64 / kept.max(1) as f64;
        assert!(off <= 0.05, "{name}: predicted to keep {predicted_kept}, kept {kept}");
    }
    let _ = std::fs::remove_file(&path);

    // Under a limit the plan is refused before anything runs, with its figure.
    let backend = backend::get(Device::CPU)?;
    let active = backend.memory(Device::CPU).active;
    let old = backend.set_limit(Device::CPU, backend::Limit::Memory, active + 6 * MB as usize);
    let y = layers(&x, &w, 4)?;
    let refused = y.eval();
    let small = (&x * 2.0).eval();
    backend.set_limit(Device::CPU, backend::Limit::Memory, old);
    let error = refused.expect_err("8 MB do not fit in 6");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.to_string().contains("8388.6 kB"), "{error}");
    small?;
    // Nothing was spoilt.
    y.eval()
}
