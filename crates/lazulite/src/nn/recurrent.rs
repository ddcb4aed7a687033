//! Recurrent layers, which run over the axis before the last.
//!
//! All take `x: (..., l, inputs)` and give the hidden states after each step, `(..., l, hidden)`;
//! the state before the first step, `(..., hidden)`, may be given. Parameters have MLX's names.

use super::linear::uniform_parameter;
use super::{Module, Param};
use crate::{Array, Error, Result};

/// `x @ w^T + b`, for all steps at once.
fn project(x: &Array, w: &Param, bias: &Option<Param>) -> Result<Array> {
    match bias {
        Some(bias) => bias.addmm(x, &w.t()?, 1.0, 1.0),
        None => x.matmul(&w.t()?),
    }
}

/// What each step reads of `projected: (..., l, n)`.
fn steps(op: &'static str, projected: &Array) -> Result<Vec<Array>> {
    let Some(axis) = projected.ndim().checked_sub(2) else {
        let message = format!("an input of {:?}; it needs at least 2 axes", projected.shape());
        return Err(Error::shape(op, &[projected.shape()], message));
    };
    let at = |t: usize| projected.take(&Array::scalar(t as i32), Some(axis as i64));
    (0..projected.shape()[axis]).map(at).collect()
}

/// `a + b` of which `b` may be missing.
fn plus(a: Array, b: Option<Array>) -> Result<Array> {
    b.map_or(Ok(a.clone()), |b| a.add(&b))
}

fn stack(op: &'static str, states: &[Array]) -> Result<Array> {
    if states.is_empty() {
        return Err(Error::argument(op, "the input has no steps"));
    }
    Array::stack(states, -2)
}

/// `h' = tanh(x Wxh^T + h Whh^T + bias)` (Elman, 1990).
#[derive(Clone, Debug, Module)]
pub struct Rnn {
    /// From the input, `(hidden, inputs)`.
    #[module(rename = "Wxh")]
    pub wxh: Param,
    /// From the state, `(hidden, hidden)`.
    #[module(rename = "Whh")]
    pub whh: Param,
    /// `(hidden)`.
    pub bias: Option<Param>,
}

impl Rnn {
    /// A layer with uniform parameters.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(inputs: usize, hidden: usize) -> Result<Rnn> {
        let new = |shape: &[usize]| uniform_parameter(shape, hidden).map(Param::new);
        let bias = Some(new(&[hidden])?);
        Ok(Rnn { wxh: new(&[hidden, inputs])?, whh: new(&[hidden, hidden])?, bias })
    }

    /// The state after each step.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes do not fit, `Argument` if there are no steps.
    pub fn forward(&self, x: &Array, hidden: Option<&Array>) -> Result<Array> {
        let mut hidden = hidden.cloned();
        let recurrent = self.whh.t()?;
        let mut states = Vec::new();
        for step in steps("rnn", &project(x, &self.wxh, &self.bias)?)? {
            let past = hidden.as_ref().map(|h| h.matmul(&recurrent)).transpose()?;
            let state = plus(step, past)?.tanh()?;
            states.push(state.clone());
            hidden = Some(state);
        }
        stack("rnn", &states)
    }
}

/// The gated recurrent unit (Cho et al., 2014): `r = sigmoid(Wxr x + Whr h + br)`,
/// `z = sigmoid(Wxz x + Whz h + bz)`, `n = tanh(Wxn x + bn + r (Whn h + bhn))`,
/// `h' = (1 - z) n + z h`. The rows of r, z and n follow each other in this order.
#[derive(Clone, Debug, Module)]
pub struct Gru {
    /// From the input, `(3 hidden, inputs)`.
    #[module(rename = "Wx")]
    pub wx: Param,
    /// From the state, `(3 hidden, hidden)`.
    #[module(rename = "Wh")]
    pub wh: Param,
    /// `(3 hidden)`.
    pub b: Option<Param>,
    /// The bias of n's part that comes from the state, `(hidden)`.
    pub bhn: Option<Param>,
}

impl Gru {
    /// A layer with uniform parameters.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(inputs: usize, hidden: usize) -> Result<Gru> {
        let new = |shape: &[usize]| uniform_parameter(shape, hidden).map(Param::new);
        Ok(Gru {
            wx: new(&[3 * hidden, inputs])?,
            wh: new(&[3 * hidden, hidden])?,
            b: Some(new(&[3 * hidden])?),
            bhn: Some(new(&[hidden])?),
        })
    }

    /// The state after each step.
    ///
    /// # Errors
    /// As [`Rnn::forward`].
    pub fn forward(&self, x: &Array, hidden: Option<&Array>) -> Result<Array> {
        let mut hidden = hidden.cloned();
        let recurrent = self.wh.t()?;
        let mut states = Vec::new();
        for step in steps("gru", &project(x, &self.wx, &self.b)?)? {
            let new = step.split(3, -1)?;
            let past = hidden.as_ref().map(|h| h.matmul(&recurrent)?.split(3, -1)).transpose()?;
            let part = |i: usize| past.as_ref().map(|past| past[i].clone());
            let r = plus(new[0].clone(), part(0))?.sigmoid()?;
            let z = plus(new[1].clone(), part(1))?.sigmoid()?;
            let bhn = self.bhn.as_ref().map(|b| b.value.clone());
            let from_state = match (part(2), bhn) {
                (Some(a), Some(b)) => Some(a.add(&b)?),
                (a, b) => a.or(b),
            };
            let gated = from_state.map(|h| r.multiply(&h)).transpose()?;
            let n = plus(new[2].clone(), gated)?.tanh()?;
            let kept = hidden.as_ref().map(|h| z.multiply(h)).transpose()?;
            let state = plus((1.0 - &z).multiply(&n)?, kept)?;
            states.push(state.clone());
            hidden = Some(state);
        }
        stack("gru", &states)
    }
}

/// The long short-term memory (Hochreiter and Schmidhuber, 1997): with `i, f, g, o` the four parts
/// of `Wx x + Wh h + bias`, `c' = sigmoid(f) c + sigmoid(i) tanh(g)`, `h' = sigmoid(o) tanh(c')`.
#[derive(Clone, Debug, Module)]
pub struct Lstm {
    /// From the input, `(4 hidden, inputs)`.
    #[module(rename = "Wx")]
    pub wx: Param,
    /// From the state, `(4 hidden, hidden)`.
    #[module(rename = "Wh")]
    pub wh: Param,
    /// `(4 hidden)`.
    pub bias: Option<Param>,
}

impl Lstm {
    /// A layer with uniform parameters.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(inputs: usize, hidden: usize) -> Result<Lstm> {
        let new = |shape: &[usize]| uniform_parameter(shape, hidden).map(Param::new);
        let bias = Some(new(&[4 * hidden])?);
        Ok(Lstm { wx: new(&[4 * hidden, inputs])?, wh: new(&[4 * hidden, hidden])?, bias })
    }

    /// The hidden and the cell states after each step; `state` holds those before the first.
    ///
    /// # Errors
    /// As [`Rnn::forward`].
    pub fn forward(&self, x: &Array, state: Option<(&Array, &Array)>) -> Result<(Array, Array)> {
        let mut state = state.map(|(h, c)| (h.clone(), c.clone()));
        let recurrent = self.wh.t()?;
        let (mut hiddens, mut cells) = (Vec::new(), Vec::new());
        for step in steps("lstm", &project(x, &self.wx, &self.bias)?)? {
            let past = state.as_ref().map(|(h, _)| h.matmul(&recurrent)).transpose()?;
            let parts = plus(step, past)?.split(4, -1)?;
            let new = parts[0].sigmoid()?.multiply(&parts[2].tanh()?)?;
            let forget = parts[1].sigmoid()?;
            let kept = state.as_ref().map(|(_, c)| forget.multiply(c)).transpose()?;
            let cell = plus(new, kept)?;
            let hidden = parts[3].sigmoid()?.multiply(&cell.tanh()?)?;
            hiddens.push(hidden.clone());
            cells.push(cell.clone());
            state = Some((hidden, cell));
        }
        Ok((stack("lstm", &hiddens)?, stack("lstm", &cells)?))
    }
}
