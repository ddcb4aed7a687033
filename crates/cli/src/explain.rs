//! `lazulite explain`: the plans of examples.

use lazulite::prelude::*;
use lazulite::{fast, plan};

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
];

fn ones(shape: &[usize]) -> Result<Array> {
    let x = Array::ones(shape, Dtype::F32)?;
    x.eval()?;
    Ok(x)
}

/// Prints the plan of an example, or the list of examples.
///
/// # Errors
/// Kind `Argument` if there is no such example.
pub fn run(name: Option<&str>) -> Result<()> {
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
    println!("{what}\n\n{}", plan::explain(&[make()?])?);
    Ok(())
}
