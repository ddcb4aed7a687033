//! The gated delta rule: a linear attention whose state forgets and corrects itself.

use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::show;

/// The state S of each head, a map from keys to values, goes step by step through
/// `S' = gamma S`, `S = S' + beta (v - S' k) k^T`, and gives `y = S q` (Yang, Kautz and Hatamizadeh,
/// "Gated Delta Networks", 2024, equation 10). Where the mask is false a step changes nothing and
/// gives 0. Returns y and the last state.
///
/// # Shapes
/// `q, k (b, t, h, d)`, `v (b, t, g, e)` with g a multiple of h, `gamma, beta (b, t, g)`,
/// `initial_state (b, g, e, d)`, zeros if `None`, `mask (b, t)`
/// `-> y (b, t, g, e), state (b, g, e, d)`.
///
/// # Dtypes
/// y has the type of v, the state that of the initial state or `float32`; computed in `float32` at
/// least.
///
/// # Errors
/// Kind `Shape` if the shapes do not fit, `Dtype` if a type is not floating.
pub fn gated_delta_update(
    [q, k, v]: [&Array; 3],
    gamma: &Array,
    beta: &Array,
    initial_state: Option<&Array>,
    mask: Option<&Array>,
) -> Result<(Array, Array)> {
    const OP: &str = "gated_delta_update";
    let shapes = [q.shape(), k.shape(), v.shape(), gamma.shape(), beta.shape()];
    let refuse = || {
        let message = format!(
            "q {}, k {}, v {}, gamma {}, beta {}: (b, t, h, d) twice, (b, t, g, e) and (b, t, g) \
             twice are needed, g a multiple of h, with a state of (b, g, e, d) and a mask of (b, t)",
            show(shapes[0]),
            show(shapes[1]),
            show(shapes[2]),
            show(shapes[3]),
            show(shapes[4])
        );
        Error::shape(OP, &shapes, message)
    };
    let (&[b, t, h, d], &[_, _, g, e]) = (q.shape(), v.shape()) else { return Err(refuse()) };
    let fits = k.shape() == q.shape()
        && v.shape()[..2] == [b, t]
        && gamma.shape() == [b, t, g]
        && beta.shape() == [b, t, g]
        && h > 0
        && g % h == 0
        && initial_state.is_none_or(|s| s.shape() == [b, g, e, d])
        && mask.is_none_or(|m| m.shape() == [b, t]);
    if !fits {
        return Err(refuse());
    }
    let dtypes = [q.dtype(), k.dtype(), v.dtype(), gamma.dtype(), beta.dtype()];
    if !dtypes.iter().all(|t| t.is_floating()) {
        return Err(Error::dtype(OP, &dtypes, "floating types"));
    }
    let dtype = dtypes.into_iter().fold(Dtype::F32, |all, t| all.promote(t));
    let heads = |x: &Array| x.astype(dtype)?.repeat(g / h, Some(2))?.expand_dims(&[-1]);
    let factor = |x: &Array| x.astype(dtype)?.expand_dims(&[-1, -2]);
    let (q, k) = (heads(q)?, heads(k)?);
    let columns = v.astype(dtype)?.expand_dims(&[-1])?;
    let (gamma, beta) = (factor(gamma)?, factor(beta)?);
    let mask = mask.map(|m| m.astype(Dtype::Bool)?.expand_dims(&[-1, -2, -3])).transpose()?;
    let kept = initial_state.map_or(Dtype::F32, Array::dtype);
    let mut state = match initial_state {
        Some(state) => state.astype(dtype)?,
        None => Array::zeros(&[b, g, e, d], dtype)?,
    };
    if t == 0 {
        return Ok((v.clone(), state.astype(kept)?));
    }
    let mut outputs = Vec::with_capacity(t);
    for step in 0..t {
        let at = |x: &Array| x.at_axis(1, step);
        let (q, k) = (at(&q)?, at(&k)?);
        let faded = state.multiply(&at(&gamma)?)?;
        let error = at(&columns)?.subtract(&faded.matmul(&k)?)?.multiply(&at(&beta)?)?;
        let next = faded.add(&error.multiply(&k.swapaxes(-1, -2)?)?)?;
        let mut y = next.matmul(&q)?;
        state = match &mask {
            Some(mask) => {
                let here = at(mask)?;
                y = here.select(&y, &super::like(&y, 0.0))?;
                here.select(&next, &state)?
            }
            None => next,
        };
        outputs.push(y);
    }
    let y = Array::stack(&outputs, 1)?.squeeze(Some(&[-1]))?;
    Ok((y.astype(v.dtype())?, state.astype(kept)?))
}
