//! Losses: computed element by element and then reduced.

use crate::operators::weak_scalar;
use crate::shape::normalize_axis;
use crate::{Array, Error, Literal, Result, linalg};
use std::f64::consts::{LN_2, PI};

/// What becomes of the elements of a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// They are returned.
    None,
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

impl Reduction {
    /// The reduced loss.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn apply(self, loss: Array) -> Result<Array> {
        match self {
            Reduction::None => Ok(loss),
            Reduction::Mean => loss.mean(None, false),
            Reduction::Sum => loss.sum(None, false),
        }
    }
}

fn same_shape(op: &'static str, a: &Array, b: &Array) -> Result<()> {
    if a.shape() == b.shape() {
        return Ok(());
    }
    let message = format!("arrays of {:?} and {:?}, expected one shape", a.shape(), b.shape());
    Err(Error::shape(op, &[a.shape(), b.shape()], message))
}

fn at_least(x: &Array, low: f64) -> Result<Array> {
    x.maximum(&weak_scalar(low, x.dtype()))
}

/// What [`CrossEntropy::loss`] does beyond the common case.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a> {
    /// Factors of the elements of the loss.
    pub weights: Option<&'a Array>,
    /// The axis of the classes.
    pub axis: i64,
    /// `s` in `[0, 1)`: targets become `(1 - s) p + s / classes`.
    pub label_smoothing: f64,
    /// What becomes of the elements.
    pub reduction: Reduction,
}

impl Default for CrossEntropy<'_> {
    fn default() -> Self {
        CrossEntropy { weights: None, axis: -1, label_smoothing: 0.0, reduction: Reduction::Mean }
    }
}

impl CrossEntropy<'_> {
    /// `-sum(p log_softmax(logits))` along the axis, for target probabilities `p`. As in MLX it is computed
    /// as `logsumexp(z) - sum(p z)` with `z = logits - max(logits)`, which for targets that do not sum to 1
    /// is something else.
    ///
    /// # Shapes
    /// Targets are classes with the shape of the logits without the axis, or probabilities with
    /// the shape of the logits; weights and loss have that shape without the axis.
    ///
    /// # Errors
    /// Kind `Shape` if shapes do not fit, `Argument` if `label_smoothing` is not in `[0, 1)`.
    pub fn loss(&self, logits: &Array, targets: &Array) -> Result<Array> {
        const OP: &str = "cross_entropy";
        let s = self.label_smoothing;
        if !(0.0..1.0).contains(&s) {
            return Err(Error::argument(OP, format!("label smoothing is {s}; it is in [0, 1)")));
        }
        let axis = normalize_axis(OP, self.axis, logits.ndim())?;
        let (probabilities, axes) = (targets.ndim() == logits.ndim(), [axis as i64]);
        let mut expected = logits.shape().to_vec();
        if !probabilities {
            expected.remove(axis);
        }
        if targets.shape() != expected {
            let message =
                format!("targets of {:?} for logits of {:?}", targets.shape(), logits.shape());
            return Err(Error::shape(OP, &[targets.shape(), logits.shape()], message));
        }
        // Scores of the log-probabilities: of the targets, and on average.
        let (hit, average) = if probabilities {
            let greatest = logits.max(Some(&axes), true)?.stop_gradient()?;
            let below = logits.subtract(&greatest)?;
            let total = below.logsumexp(Some(&axes), false)?;
            let hit = below.multiply(targets)?.sum(Some(&axes), false)?;
            (hit.subtract(&total)?, below.mean(Some(&axes), false)?.subtract(&total)?)
        } else {
            // The logits themselves are read at the targets only.
            let total = logits.logsumexp(Some(&axes), false)?;
            let chosen = logits.take_along_axis(&targets.expand_dims(&axes)?, Some(axes[0]))?;
            let average = logits.mean(Some(&axes), false)?.subtract(&total)?;
            (chosen.squeeze(Some(&axes))?.subtract(&total)?, average)
        };
        let score = if s > 0.0 { (hit * (1.0 - s)).add(&(average * s))? } else { hit };
        let mut loss = score.negative()?;
        if let Some(weights) = self.weights {
            same_shape(OP, weights, &loss)?;
            loss = loss.multiply(weights)?;
        }
        self.reduction.apply(loss)
    }
}

/// The cross entropy of classes or probabilities along the last axis; [`CrossEntropy`] has more.
///
/// # Errors
/// As [`CrossEntropy::loss`].
pub fn cross_entropy(logits: &Array, targets: &Array, reduction: Reduction) -> Result<Array> {
    CrossEntropy { reduction, ..CrossEntropy::default() }.loss(logits, targets)
}

/// `-(t log(p) + (1 - t) log(1 - p))` for targets `t` and probabilities `p`, whose logarithms are
/// held at -100 or more.
///
/// # Errors
/// Kind `Shape` if the shapes differ.
pub fn binary_cross_entropy(p: &Array, targets: &Array, reduction: Reduction) -> Result<Array> {
    same_shape("binary_cross_entropy", p, targets)?;
    let hit = targets.multiply(&at_least(&p.log()?, -100.0)?)?;
    let miss = (1.0 - targets).multiply(&at_least(&(1.0 - p).log()?, -100.0)?)?;
    reduction.apply(hit.add(&miss)?.negative()?)
}

/// As [`binary_cross_entropy`] of `sigmoid(logits)`, as `logaddexp(0, x) - x t`, which does not
/// overflow.
///
/// # Errors
/// Kind `Shape` if the shapes differ.
pub fn binary_cross_entropy_with_logits(
    logits: &Array,
    targets: &Array,
    reduction: Reduction,
) -> Result<Array> {
    same_shape("binary_cross_entropy", logits, targets)?;
    let loss = super::activations::softplus(logits)?.subtract(&logits.multiply(targets)?)?;
    reduction.apply(loss)
}

/// `|predictions - targets|`.
///
/// # Errors
/// Kind `Shape` if the shapes differ.
pub fn l1_loss(predictions: &Array, targets: &Array, reduction: Reduction) -> Result<Array> {
    same_shape("l1_loss", predictions, targets)?;
    reduction.apply(predictions.subtract(targets)?.abs()?)
}

/// `(predictions - targets)^2`.
///
/// # Errors
/// Kind `Shape` if the shapes differ.
pub fn mse_loss(predictions: &Array, targets: &Array, reduction: Reduction) -> Result<Array> {
    same_shape("mse_loss", predictions, targets)?;
    reduction.apply(predictions.subtract(targets)?.square()?)
}

/// `-x[target]` along `axis`, of log-probabilities.
///
/// # Errors
/// Kind `Axis` if the axis is out of range, `Shape` if targets do not have the shape of the
/// log-probabilities without it.
pub fn nll_loss(x: &Array, targets: &Array, axis: i64, reduction: Reduction) -> Result<Array> {
    let chosen = x.take_along_axis(&targets.expand_dims(&[axis])?, Some(axis))?;
    reduction.apply(chosen.squeeze(Some(&[axis]))?.negative()?)
}

/// `(log(v) + (means - targets)^2 / v) / 2` with `v = max(vars, 1e-6)`: the negative log-likelihood
/// of a normal distribution, with its constant `log(2 pi) / 2` if `full`.
///
/// # Errors
/// Kind `Shape` if the shapes differ.
pub fn gaussian_nll_loss(
    means: &Array,
    targets: &Array,
    vars: &Array,
    full: bool,
    reduction: Reduction,
) -> Result<Array> {
    same_shape("gaussian_nll_loss", means, targets)?;
    same_shape("gaussian_nll_loss", means, vars)?;
    let v = at_least(vars, 1e-6)?;
    let away = targets.subtract(means)?.square()?.divide(&v)?;
    let loss = v.log()?.add(&away)? * 0.5;
    reduction.apply(if full { loss + 0.5 * (2.0 * PI).ln() } else { loss })
}

/// `sum(exp(targets) (targets - x))` along `axis`: the Kullback-Leibler divergence of
/// log-probabilities.
///
/// # Errors
/// Kind `Axis` if the axis is out of range, `Shape` if the shapes cannot be broadcast.
pub fn kl_div_loss(x: &Array, targets: &Array, axis: i64, reduction: Reduction) -> Result<Array> {
    let terms = targets.exp()?.multiply(&targets.subtract(x)?)?;
    reduction.apply(terms.sum(Some(&[axis]), false)?)
}

/// `d^2 / (2 beta)` where `d = |predictions - targets|` is below `beta`, `d - beta / 2` elsewhere.
///
/// # Errors
/// Kind `Shape` if the shapes differ.
pub fn smooth_l1_loss(
    predictions: &Array,
    targets: &Array,
    beta: f64,
    reduction: Reduction,
) -> Result<Array> {
    same_shape("smooth_l1_loss", predictions, targets)?;
    let d = predictions.subtract(targets)?.abs()?;
    let near = d.less(&weak_scalar(beta, d.dtype()))?;
    reduction.apply(near.select(&(d.square()? * (0.5 / beta)), &(&d - 0.5 * beta))?)
}

/// `d^2 / 2` where `d = |x - targets|` is at most `delta`, `delta (d - delta / 2)` elsewhere (Huber,
/// 1964).
///
/// # Errors
/// Kind `Shape` if the shapes cannot be broadcast.
pub fn huber_loss(x: &Array, targets: &Array, delta: f64, reduction: Reduction) -> Result<Array> {
    let d = x.subtract(targets)?.abs()?;
    let near = d.less_equal(&weak_scalar(delta, d.dtype()))?;
    reduction.apply(near.select(&(d.square()? * 0.5), &((&d - 0.5 * delta) * delta))?)
}

/// `log(cosh(x - targets))`, which does not overflow.
///
/// # Errors
/// Kind `Shape` if the shapes cannot be broadcast.
pub fn log_cosh_loss(x: &Array, targets: &Array, reduction: Reduction) -> Result<Array> {
    let d = x.subtract(targets)?;
    reduction.apply(d.logaddexp(&d.negative()?)? - LN_2)
}

/// `max(0, 1 - x targets)` for targets of -1 or 1.
///
/// # Errors
/// Kind `Shape` if the shapes cannot be broadcast.
pub fn hinge_loss(x: &Array, targets: &Array, reduction: Reduction) -> Result<Array> {
    reduction.apply(at_least(&(1.0 - x.multiply(targets)?), 0.0)?)
}

/// `max(d(anchors, positives) - d(anchors, negatives) + margin, 0)` along `axis`, with
/// `d(a, b) = (sum |a - b|^p + 1e-6)^(1 / p)`.
///
/// # Errors
/// Kind `Axis` if the axis is out of range, `Shape` if the shapes cannot be broadcast.
pub fn triplet_loss(
    [anchors, positives, negatives]: [&Array; 3],
    axis: i64,
    p: f64,
    margin: f64,
    reduction: Reduction,
) -> Result<Array> {
    // Keeps the root differentiable at 0.
    const EPS: f64 = 1e-6;
    let distance = |other: &Array| -> Result<Array> {
        let d = anchors.subtract(other)?.abs()?;
        let power = |x: &Array, e: f64| x.power(&Array::literal(Literal::from_f64(e, x.dtype())));
        power(&(power(&d, p)?.sum(Some(&[axis]), false)? + EPS), 1.0 / p)
    };
    let lead = distance(positives)?.subtract(&distance(negatives)?)? + margin;
    reduction.apply(at_least(&lead, 0.0)?)
}

/// `sum(a b) / max(|a| |b|, 1e-8)` along `axis`: the cosine of the angle between vectors.
///
/// # Errors
/// Kind `Axis` if the axis is out of range, `Shape` if the shapes cannot be broadcast.
pub fn cosine_similarity_loss(
    a: &Array,
    b: &Array,
    axis: i64,
    reduction: Reduction,
) -> Result<Array> {
    let norm = |x: &Array| linalg::vector_norm(x, 2.0, Some(&[axis]), false);
    let norms = at_least(&norm(a)?.multiply(&norm(b)?)?, 1e-8)?;
    reduction.apply(a.multiply(b)?.sum(Some(&[axis]), false)?.divide(&norms)?)
}

/// `max(0, -targets (a - b) + margin)`, where a target of 1 says that `a` should be larger and one
/// of -1 that `b` should.
///
/// # Errors
/// Kind `Shape` if the shapes differ.
pub fn margin_ranking_loss(
    a: &Array,
    b: &Array,
    targets: &Array,
    margin: f64,
    reduction: Reduction,
) -> Result<Array> {
    same_shape("margin_ranking_loss", a, b)?;
    same_shape("margin_ranking_loss", a, targets)?;
    let lead = b.subtract(a)?.multiply(targets)? + margin;
    reduction.apply(at_least(&lead, 0.0)?)
}
