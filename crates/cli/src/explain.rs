//! `lazulite explain`: the plans of examples.

use crate::loops;
use lazulite::prelude::*;
use lazulite::{fast, plan};
use std::path::Path;

type Example = (&'static str, &'static str, fn() -> Result<Array>);

const EXAMPLES: &[Example] = &[
    ("gelu", "gelu(x @ w.T + b), as written", || {
        let (x, w, b) = (ones(&[64, 128])?, ones(&[256, 128])?, ones(&[256])?);
        let y = x.matmul(&w.t()?)? + &b;
        let inner = (&y + &y * 0.044715 * &y * &y) * 0.797_884_560_802_865_4;
        Ok(&y * 0.5 * (inner.tanh()? + 1.0))
    }),
    ("softmax", "exp(x - max) / sum over rows, as written", || {
        let x = ones(&[64, 128])?;
        let e = (&x - x.max(Some(&[-1]), true)?).exp()?;
        Ok(&e / e.sum(Some(&[-1]), true)?)
    }),
    ("norm", "a residual and a scaled rms_norm", || {
        let (x, w) = (ones(&[64, 128])?, ones(&[128])?);
        Ok(&x + fast::rms_norm(&x, Some(&w), 1e-5)? * 0.5)
    }),
    ("attention", "softmax(q @ k.T * scale) @ v, as written", || {
        let (q, k, v) = (ones(&[1, 8, 64, 64])?, ones(&[1, 8, 96, 64])?, ones(&[1, 8, 96, 64])?);
        let scores = q.matmul(&k.swapaxes(-1, -2)?)? * 0.125;
        scores.softmax(Some(&[-1]), false)?.matmul(&v)
    }),
    ("loop", "stack([tanh(x[i] @ w) for i in range(64)]), as written", || {
        let (x, w) = (ones(&[64, 32])?, ones(&[32, 32])?);
        let rows = (0..64).map(|i| x.at(i)?.matmul(&w)?.tanh());
        Array::stack(&rows.collect::<Result<Vec<_>>>()?, 0)
    }),
];

fn ones(shape: &[usize]) -> Result<Array> {
    let x = Array::ones(shape, Dtype::F32)?;
    x.eval()?;
    Ok(x)
}

/// Prints the plan of an example as text or JSON, or writes it as a page; or lists the examples.
/// With `ran` the example is run and its steps are timed.
///
/// # Errors
/// Kind `Argument` if there is no such example, `Io` if the page cannot be written.
pub fn run(name: Option<&str>, json: bool, html: Option<&Path>, ran: bool) -> Result<()> {
    let Some(name) = name else {
        for (name, what, _) in EXAMPLES {
            println!("{name:10} {what}");
        }
        return Ok(());
    };
    let Some((_, what, make)) = EXAMPLES.iter().find(|(n, _, _)| *n == name) else {
        let known: Vec<_> = EXAMPLES.iter().map(|(n, _, _)| *n).collect();
        let message = format!("there is no example '{name}', only {}", known.join(", "));
        return Err(Error::argument("explain", message));
    };
    let outputs = [make()?];
    let report = if ran { plan::profile(&outputs)? } else { plan::report(&outputs)? };
    if let Some(path) = html {
        std::fs::write(path, report.html(what)).map_err(|e| {
            let message = format!("cannot write {}: {e}", path.display());
            Error::new(ErrorKind::Io, "explain", message)
        })?;
    }
    if json {
        print!("{}", report.json());
        return Ok(());
    }
    println!("{what}\n\n{}\n{}", report.text(), report.estimate);
    for (i, step) in report.steps.iter().enumerate() {
        if let Some(seconds) = step.seconds {
            println!("{i:3} {:10.1} us", seconds * 1e6);
        }
    }
    Ok(())
}

/// Prints how often the plans of loops were found and made anew, and why; with a model also those of
/// its text.
///
/// # Errors
/// Those of evaluation, and of [`crate::generate::Session::open`].
pub fn cache(model: Option<&Path>) -> Result<()> {
    const STEPS: usize = 1000;
    let loops = [
        "a growing cache, attention called",
        "a growing cache, attention by hand",
        "training with a falling rate",
        "text of the model",
    ];
    for (i, what) in loops.into_iter().enumerate() {
        plan::cache::clear();
        match (i, model) {
            (0 | 1, _) => _ = loops::decode(STEPS, i == 1)?,
            (2, _) => _ = loops::train(STEPS)?,
            (_, Some(path)) => _ = loops::generate(path, STEPS)?,
            (_, None) => break,
        }
        let stats = plan::cache::stats();
        println!(
            "{what}: {STEPS} steps, {} plans found, {} made, {} of them because a guard failed",
            stats.hits, stats.misses, stats.guard_failures
        );
        for (why, times) in plan::cache::failures() {
            println!("    {times} times: {why}");
        }
    }
    Ok(())
}
