//! The optimisers' rules. `g` is the gradient, `w` the parameter, `lr` the learning rate, which
//! takes the gradient's dtype: the arithmetic has the dtype of the parameters. Defaults are MLX's.

use super::{Rule, Slots, Step};
use crate::{Array, Result, linalg};

/// Zeros of the parameter's form under each of these names.
fn zeros(parameter: &Array, names: &[&str]) -> Result<Slots> {
    names.iter().map(|&name| Ok((name.to_string(), parameter.zeros_like()?))).collect()
}

/// What is remembered under a name; a slot that is not there is zeros of the form of `like`.
fn slot(slots: &Slots, name: &str, like: &Array) -> Result<Array> {
    slots.get(name).map_or_else(|| like.zeros_like(), |array| Ok(array.clone()))
}

fn keep(slots: &mut Slots, name: &str, value: &Array) {
    slots.insert(name.to_string(), value.clone());
}

/// `share * old + (1 - share) * new`.
fn blend(share: f64, old: &Array, new: &Array) -> Result<Array> {
    (old * share).add(&(new * (1.0 - share)))
}

/// `g / (sqrt(v) + eps)`.
fn scaled(g: &Array, v: &Array, eps: f64) -> Result<Array> {
    g.divide(&(v.sqrt()? + eps))
}

/// `w - lr * move`.
fn descend(step: &Step, w: &Array, direction: &Array) -> Result<Array> {
    w.subtract(&step.rate.astype(direction.dtype())?.multiply(direction)?)
}

/// Stochastic gradient descent: `v' = momentum v + (1 - dampening) (g + weight_decay w)`,
/// `w' = w - lr v'`; with Nesterov's momentum `w' = w - lr (g + weight_decay w + momentum v')`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sgd {
    /// How slowly the velocity forgets; with 0 there is none.
    pub momentum: f64,
    /// How strongly parameters are drawn to 0.
    pub weight_decay: f64,
    /// How much less of the gradient the velocity takes.
    pub dampening: f64,
    /// Whether the momentum is Nesterov's.
    pub nesterov: bool,
}

impl Rule for Sgd {
    fn init(&self, parameter: &Array) -> Result<Slots> {
        zeros(parameter, if self.momentum > 0.0 { &["v"] } else { &[] })
    }

    fn apply(&self, step: &Step, g: &Array, w: &Array, slots: &mut Slots) -> Result<Array> {
        let mut g = g.clone();
        if self.weight_decay != 0.0 {
            g = g.add(&(w * self.weight_decay))?;
        }
        if self.momentum <= 0.0 {
            return descend(step, w, &g);
        }
        let mut v = slot(slots, "v", w)? * self.momentum;
        v = v.add(&if self.dampening > 0.0 { &g * (1.0 - self.dampening) } else { g.clone() })?;
        keep(slots, "v", &v);
        let direction = if self.nesterov { g.add(&(v * self.momentum))? } else { v };
        descend(step, w, &direction)
    }
}

/// RMSprop (Tieleman and Hinton, 2012): `v' = alpha v + (1 - alpha) g^2`,
/// `w' = w - lr g / (sqrt(v') + eps)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// How slowly the mean square forgets.
    pub alpha: f64,
    /// Keeps the quotient finite.
    pub eps: f64,
}

impl Default for RmsProp {
    fn default() -> RmsProp {
        RmsProp { alpha: 0.99, eps: 1e-8 }
    }
}

impl Rule for RmsProp {
    fn init(&self, parameter: &Array) -> Result<Slots> {
        zeros(parameter, &["v"])
    }

    fn apply(&self, step: &Step, g: &Array, w: &Array, slots: &mut Slots) -> Result<Array> {
        let v = blend(self.alpha, &slot(slots, "v", w)?, &g.square()?)?;
        keep(slots, "v", &v);
        descend(step, w, &scaled(g, &v, self.eps)?)
    }
}

/// Adagrad (Duchi et al., 2011): `v' = v + g^2`, `w' = w - lr g / (sqrt(v') + eps)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// Keeps the quotient finite.
    pub eps: f64,
}

impl Default for Adagrad {
    fn default() -> Adagrad {
        Adagrad { eps: 1e-8 }
    }
}

impl Rule for Adagrad {
    fn init(&self, parameter: &Array) -> Result<Slots> {
        zeros(parameter, &["v"])
    }

    fn apply(&self, step: &Step, g: &Array, w: &Array, slots: &mut Slots) -> Result<Array> {
        let v = slot(slots, "v", w)?.add(&g.square()?)?;
        keep(slots, "v", &v);
        descend(step, w, &scaled(g, &v, self.eps)?)
    }
}

/// AdaDelta (Zeiler, 2012): `v' = rho v + (1 - rho) g^2`,
/// `d = sqrt(u + eps) / sqrt(v' + eps) g`, `u' = rho u + (1 - rho) d^2`, `w' = w - lr d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaDelta {
    /// How slowly the mean squares forget.
    pub rho: f64,
    /// Keeps the quotient finite.
    pub eps: f64,
}

impl Default for AdaDelta {
    fn default() -> AdaDelta {
        AdaDelta { rho: 0.9, eps: 1e-6 }
    }
}

impl Rule for AdaDelta {
    fn init(&self, parameter: &Array) -> Result<Slots> {
        zeros(parameter, &["v", "u"])
    }

    fn apply(&self, step: &Step, g: &Array, w: &Array, slots: &mut Slots) -> Result<Array> {
        let v = blend(self.rho, &slot(slots, "v", w)?, &g.square()?)?;
        let u = slot(slots, "u", w)?;
        let root = |x: &Array| (x + self.eps).sqrt();
        let direction = root(&u)?.divide(&root(&v)?)?.multiply(g)?;
        keep(slots, "v", &v);
        keep(slots, "u", &blend(self.rho, &u, &direction.square()?)?);
        descend(step, w, &direction)
    }
}

/// Adam (Kingma and Ba, 2015): `m' = b1 m + (1 - b1) g`, `v' = b2 v + (1 - b2) g^2`,
/// `w' = w - lr m' / (sqrt(v') + eps)`. With bias correction `m'` and `v'` are divided by
/// `1 - b1^step` and `1 - b2^step` in the last rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// `b1` and `b2`.
    pub betas: (f64, f64),
    /// Keeps the quotient finite.
    pub eps: f64,
    /// Whether the zeros that the moments start with are made up for.
    pub bias_correction: bool,
}

impl Default for Adam {
    fn default() -> Adam {
        Adam { betas: (0.9, 0.999), eps: 1e-8, bias_correction: false }
    }
}

impl Rule for Adam {
    fn init(&self, parameter: &Array) -> Result<Slots> {
        zeros(parameter, &["m", "v"])
    }

    fn apply(&self, step: &Step, g: &Array, w: &Array, slots: &mut Slots) -> Result<Array> {
        let (b1, b2) = self.betas;
        let m = blend(b1, &slot(slots, "m", w)?, g)?;
        let v = blend(b2, &slot(slots, "v", w)?, &g.square()?)?;
        keep(slots, "m", &m);
        keep(slots, "v", &v);
        if !self.bias_correction {
            return descend(step, w, &scaled(&m, &v, self.eps)?);
        }
        // One less the share that is left of the first zeros.
        let full = |beta: f64| -> Result<Array> {
            Ok(1.0 - Array::scalar(beta as f32).power(&step.number)?)
        };
        let rate = step.rate.divide(&full(b1)?)?.astype(g.dtype())?;
        let root = v.sqrt()?.multiply(&full(b2)?.rsqrt()?.astype(g.dtype())?)? + self.eps;
        w.subtract(&rate.multiply(&m)?.divide(&root)?)
    }
}

/// [`Adam`] with decoupled weight decay (Loshchilov and Hutter, 2019): its rule with
/// `w (1 - lr weight_decay)` in place of `w`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// The rule without decay.
    pub adam: Adam,
    /// How strongly parameters are drawn to 0.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW { adam: Adam::default(), weight_decay: 0.01 }
    }
}

impl Rule for AdamW {
    fn init(&self, parameter: &Array) -> Result<Slots> {
        self.adam.init(parameter)
    }

    fn apply(&self, step: &Step, g: &Array, w: &Array, slots: &mut Slots) -> Result<Array> {
        self.adam.apply(step, g, &decayed(step, w, self.weight_decay)?, slots)
    }
}

/// `w (1 - lr decay)`.
fn decayed(step: &Step, w: &Array, decay: f64) -> Result<Array> {
    w.multiply(&(1.0 - &step.rate * decay).astype(w.dtype())?)
}

/// Adamax, Adam with the maximum norm (Kingma and Ba, 2015, section 7.1):
/// `m' = b1 m + (1 - b1) g`, `v' = max(b2 v, |g|)`, `w' = w - lr m' / (v' + eps)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adamax {
    /// `b1` and `b2`.
    pub betas: (f64, f64),
    /// Keeps the quotient finite.
    pub eps: f64,
}

impl Default for Adamax {
    fn default() -> Adamax {
        Adamax { betas: (0.9, 0.999), eps: 1e-8 }
    }
}

impl Rule for Adamax {
    fn init(&self, parameter: &Array) -> Result<Slots> {
        zeros(parameter, &["m", "v"])
    }

    fn apply(&self, step: &Step, g: &Array, w: &Array, slots: &mut Slots) -> Result<Array> {
        let m = blend(self.betas.0, &slot(slots, "m", w)?, g)?;
        let v = (slot(slots, "v", w)? * self.betas.1).maximum(&g.abs()?)?;
        keep(slots, "m", &m);
        keep(slots, "v", &v);
        descend(step, w, &m.divide(&(v + self.eps))?)
    }
}

/// Lion (Chen et al., 2023): `c = b1 m + (1 - b1) g`, `m' = b2 m + (1 - b2) g`,
/// `w' = w - lr (sign(c) + weight_decay w)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// `b1` and `b2`.
    pub betas: (f64, f64),
    /// How strongly parameters are drawn to 0.
    pub weight_decay: f64,
}

impl Default for Lion {
    fn default() -> Lion {
        Lion { betas: (0.9, 0.99), weight_decay: 0.0 }
    }
}

impl Rule for Lion {
    fn init(&self, parameter: &Array) -> Result<Slots> {
        zeros(parameter, &["m"])
    }

    fn apply(&self, step: &Step, g: &Array, w: &Array, slots: &mut Slots) -> Result<Array> {
        let m = slot(slots, "m", w)?;
        let direction = blend(self.betas.0, &m, g)?.sign()?;
        keep(slots, "m", &blend(self.betas.1, &m, g)?);
        let w =
            if self.weight_decay > 0.0 { decayed(step, w, self.weight_decay)? } else { w.clone() };
        descend(step, &w, &direction)
    }
}

/// Adafactor (Shazeer and Stern, 2018). The second moment of a matrix is kept as its row and column
/// means only. Each update is divided by `max(1, rms(update) / clip_threshold)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adafactor {
    /// Added to squares, and the least root mean square of a parameter for `scale_parameter`.
    pub eps: (f64, f64),
    /// The greatest root mean square of an update.
    pub clip_threshold: f64,
    /// The second moment forgets by `1 - step^decay_rate`.
    pub decay_rate: f64,
    /// How slowly the first moment forgets; without it there is none.
    pub beta1: Option<f64>,
    /// How strongly parameters are drawn to 0.
    pub weight_decay: f64,
    /// Whether the learning rate is multiplied by the root mean square of the parameter.
    pub scale_parameter: bool,
    /// Whether the learning rate is `min(1e-2, 1 / sqrt(step))` in place of the optimiser's.
    pub relative_step: bool,
    /// Whether that `1e-2` is `1e-6 step`.
    pub warmup_init: bool,
}

impl Default for Adafactor {
    fn default() -> Adafactor {
        Adafactor {
            eps: (1e-30, 1e-3),
            clip_threshold: 1.0,
            decay_rate: -0.8,
            beta1: None,
            weight_decay: 0.0,
            scale_parameter: true,
            relative_step: true,
            warmup_init: false,
        }
    }
}

fn rms(x: &Array) -> Result<Array> {
    x.square()?.mean(None, false)?.sqrt()
}

impl Adafactor {
    fn rate(&self, step: &Step, w: &Array) -> Result<Array> {
        let mut rate = step.rate.clone();
        if self.relative_step {
            let most = if self.warmup_init { &step.number * 1e-6 } else { Array::scalar(1e-2f32) };
            rate = most.minimum(&step.number.rsqrt()?)?;
        }
        rate = rate.astype(w.dtype())?;
        if self.scale_parameter {
            let size = rms(w)?;
            rate = rate.multiply(&size.maximum(&Array::scalar(self.eps.1 as f32))?)?;
        }
        Ok(rate)
    }
}

impl Rule for Adafactor {
    fn init(&self, parameter: &Array) -> Result<Slots> {
        let mut slots = zeros(parameter, if self.beta1.is_some() { &["exp_avg"] } else { &[] })?;
        if let [outer @ .., _, n] = parameter.shape() {
            let rows = &parameter.shape()[..outer.len() + 1];
            let columns = [outer, &[*n]].concat();
            keep(&mut slots, "exp_avg_sq_row", &Array::zeros(rows, parameter.dtype())?);
            keep(&mut slots, "exp_avg_sq_col", &Array::zeros(&columns, parameter.dtype())?);
        } else {
            keep(&mut slots, "exp_avg_sq", &parameter.zeros_like()?);
        }
        Ok(slots)
    }

    fn apply(&self, step: &Step, g: &Array, w: &Array, slots: &mut Slots) -> Result<Array> {
        let rate = self.rate(step, w)?;
        let forget = step.number.power(&Array::scalar(self.decay_rate as f32))?;
        let forget = forget.astype(w.dtype())?;
        let square = g.square()? + self.eps.0;
        let mut move_mean = |name: &str, new: Array| -> Result<Array> {
            let old = slot(slots, name, &new)?;
            let mean = (1.0 - &forget).multiply(&old)?.add(&forget.multiply(&new)?)?;
            keep(slots, name, &mean);
            Ok(mean)
        };
        let mut update = if g.ndim() >= 2 {
            let row = move_mean("exp_avg_sq_row", square.mean(Some(&[-1]), false)?)?;
            let column = move_mean("exp_avg_sq_col", square.mean(Some(&[-2]), false)?)?;
            let row = row.divide(&row.mean(Some(&[-1]), true)?)?.rsqrt()?.expand_dims(&[-1])?;
            row.multiply(&column.rsqrt()?.expand_dims(&[-2])?)?.multiply(g)?
        } else {
            move_mean("exp_avg_sq", square)?.rsqrt()?.multiply(g)?
        };
        let excess = rms(&update)? / self.clip_threshold;
        update = update.divide(&excess.maximum(&Array::scalar(1.0f32))?)?.multiply(&rate)?;
        if let Some(beta1) = self.beta1 {
            update = blend(beta1, &slot(slots, "exp_avg", w)?, &update)?;
            keep(slots, "exp_avg", &update);
        }
        let drawn = w.multiply(&(rate * self.weight_decay))?;
        let w = if self.weight_decay != 0.0 { w.subtract(&drawn)? } else { w.clone() };
        w.subtract(&update)
    }
}

/// Muon (Jordan et al., 2024): `v' = momentum v + (1 - momentum) g`; the update is `v'`, or with
/// Nesterov's momentum `momentum v' + (1 - momentum) g`. Matrices, and convolution weights as
/// matrices of their first axis, are brought near the closest orthogonal matrix by Newton-Schulz
/// iterations and scaled by `sqrt(max(1, rows / columns))`. It is meant for the matrices inside a
/// network: give the other gradients to another optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// How slowly the velocity forgets.
    pub momentum: f64,
    /// How strongly parameters are drawn to 0.
    pub weight_decay: f64,
    /// Whether the momentum is Nesterov's.
    pub nesterov: bool,
    /// The number of Newton-Schulz iterations.
    pub ns_steps: usize,
}

impl Default for Muon {
    fn default() -> Muon {
        Muon { momentum: 0.95, weight_decay: 0.01, nesterov: true, ns_steps: 5 }
    }
}

/// A matrix near `u v^T` for the singular value decomposition `u s v^T` of `x`: each step maps
/// every singular value `s` to `a s + b s^3 + c s^5`.
fn near_orthogonal(x: &Array, steps: usize) -> Result<Array> {
    // The quintic of Jordan et al., chosen for the steepest slope at 0.
    let (a, b, c) = (3.4445, -4.7750, 2.0315);
    let tall = x.shape()[0] > x.shape()[1];
    let x = if tall { x.t()? } else { x.clone() };
    let norm = linalg::norm(&x, None, None, true)?;
    let mut x = x.divide(&(norm + 1e-7))?;
    for _ in 0..steps {
        let square = x.matmul(&x.t()?)?;
        let mix = (&square * b).addmm(&square, &square, c, 1.0)?;
        x = (&x * a).addmm(&mix, &x, 1.0, 1.0)?;
    }
    if tall { x.t() } else { Ok(x) }
}

impl Rule for Muon {
    fn init(&self, parameter: &Array) -> Result<Slots> {
        zeros(parameter, &["v"])
    }

    fn apply(&self, step: &Step, g: &Array, w: &Array, slots: &mut Slots) -> Result<Array> {
        let mut g = g.clone();
        if self.weight_decay != 0.0 {
            g = g.add(&(w * self.weight_decay))?;
        }
        let v = blend(self.momentum, &slot(slots, "v", w)?, &g)?;
        keep(slots, "v", &v);
        let update = if self.nesterov { blend(self.momentum, &v, &g)? } else { v };
        let [rows, rest @ ..] = update.shape() else { return descend(step, w, &update) };
        let columns: usize = rest.iter().product();
        if rest.is_empty() || columns == 0 {
            return descend(step, w, &update);
        }
        let matrix = near_orthogonal(&update.reshape(&[*rows, columns])?, self.ns_steps)?;
        let stretch = (*rows as f64 / columns as f64).max(1.0).sqrt();
        descend(step, w, &(matrix.reshape(w.shape())? * stretch))
    }
}
