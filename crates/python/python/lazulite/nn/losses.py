"""Loss functions.

Every loss is computed element by element and then reduced: ``"none"`` returns the elements,
``"mean"`` their mean, ``"sum"`` their sum.
"""

import math
from typing import Literal, Optional

import lazulite.core as mx

Reduction = Literal["none", "mean", "sum"]


def _reduce(loss: mx.array, reduction: Reduction = "none") -> mx.array:
    if reduction == "mean":
        return mx.mean(loss)
    if reduction == "sum":
        return mx.sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def _check_same_shape(a_name: str, a: mx.array, b_name: str, b: mx.array) -> None:
    if a.shape != b.shape:
        raise ValueError(f"{a_name} shape {a.shape} does not match {b_name} shape {b.shape}.")


def _check_weights(weights: mx.array, loss: mx.array) -> None:
    if weights.shape != loss.shape:
        raise ValueError(
            f"Weights with shape {weights.shape} do not match the loss with shape {loss.shape}."
        )


def cross_entropy(
    logits: mx.array,
    targets: mx.array,
    weights: Optional[mx.array] = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
    reduction: Reduction = "none",
) -> mx.array:
    """``-sum(p * log_softmax(logits))`` along ``axis``, for target probabilities ``p``.

    As in MLX it is computed as ``logsumexp(z) - sum(p * z)`` with ``z = logits - max(logits)``, which
    for targets that do not sum to 1 is something else.

    Shapes: ``logits: (..., classes, ...)``; ``targets`` are class indices with the shape of
    ``logits`` without ``axis``, or probabilities with the shape of ``logits``; the loss and
    ``weights`` have the shape of ``logits`` without ``axis``.
    Dtypes: of ``logits`` floats; ``targets`` are integers, or floats for probabilities.

    Args:
        logits: Unnormalised log-probabilities.
        targets: Class indices or probabilities.
        weights: Factors of the elements of the loss.
        axis: The axis of the classes.
        label_smoothing: ``s`` in ``[0, 1)``: the targets become ``(1 - s) * p + s / classes``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: If shapes, ``label_smoothing`` or ``reduction`` don't fit.

    Example:
        >>> import lazulite.core as mx
        >>> loss = cross_entropy(mx.zeros((1, 4)), mx.array([2]))
        >>> round(loss.item(), 4)
        1.3863
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    as_probabilities = targets.ndim == logits.ndim
    expected = list(logits.shape)
    if not as_probabilities:
        expected.pop(axis)
    if list(targets.shape) != expected:
        raise ValueError(
            f"Targets shape {targets.shape} does not match logits shape {logits.shape}."
        )

    if as_probabilities:
        # Differences to the greatest logit lose less to rounding than the logits themselves.
        logits = logits - mx.stop_gradient(mx.max(logits, axis=axis, keepdims=True))
        score = mx.sum(logits * targets, axis=axis)
    else:
        score = mx.take_along_axis(logits, mx.expand_dims(targets, axis), axis).squeeze(axis)
    if label_smoothing > 0:
        score = (1 - label_smoothing) * score + label_smoothing * mx.mean(logits, axis=axis)
    loss = mx.logsumexp(logits, axis=axis) - score

    if weights is not None:
        _check_weights(weights, loss)
        loss = loss * weights
    return _reduce(loss, reduction)


def binary_cross_entropy(
    inputs: mx.array,
    targets: mx.array,
    weights: Optional[mx.array] = None,
    with_logits: bool = True,
    reduction: Reduction = "mean",
) -> mx.array:
    """``-(t * log(p) + (1 - t) * log(1 - p))`` for targets ``t`` and probabilities ``p``.

    With logits it is computed as ``logaddexp(0, x) - x * t``, which does not overflow; without,
    the logarithms are limited to at least -100.

    Shapes: all arguments and the elements of the loss have one shape.
    Dtypes: floats; integers become float32.

    Args:
        inputs: Logits, or probabilities if ``with_logits`` is false.
        targets: Probabilities.
        weights: Factors of the elements of the loss.
        with_logits: What ``inputs`` are.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import lazulite.core as mx
        >>> round(binary_cross_entropy(mx.array([0.0]), mx.array([1.0])).item(), 4)
        0.6931
    """
    _check_same_shape("Inputs", inputs, "targets", targets)
    if with_logits:
        loss = mx.logaddexp(0.0, inputs) - inputs * targets
    else:
        log_p = mx.maximum(mx.log(inputs), -100)
        log_q = mx.maximum(mx.log(1 - inputs), -100)
        loss = -(targets * log_p + (1 - targets) * log_q)
    if weights is not None:
        _check_weights(weights, loss)
        loss = loss * weights
    return _reduce(loss, reduction)


def l1_loss(predictions: mx.array, targets: mx.array, reduction: Reduction = "mean") -> mx.array:
    """``abs(predictions - targets)``, for two arrays of one shape.

    Shapes: all the same. One number unless ``reduction`` is ``"none"``.
    Dtypes: floats; integers become float32.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape("Predictions", predictions, "targets", targets)
    return _reduce(mx.abs(predictions - targets), reduction)


def mse_loss(predictions: mx.array, targets: mx.array, reduction: Reduction = "mean") -> mx.array:
    """``(predictions - targets)^2``, for two arrays of one shape.

    Shapes: all the same. One number unless ``reduction`` is ``"none"``.
    Dtypes: floats; integers become float32.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape("Predictions", predictions, "targets", targets)
    return _reduce(mx.square(predictions - targets), reduction)


def nll_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: Reduction = "none"
) -> mx.array:
    """``-inputs[target]`` along ``axis``: the negative log-likelihood of class indices.

    Shapes: ``inputs: (..., classes, ...)``, log-probabilities; ``targets`` and the elements of
    the loss have that shape without ``axis``.
    Dtypes: of ``inputs`` any, of ``targets`` integers.
    Other numbers of axes, and an unknown reduction, raise ValueError.
    """
    chosen = mx.take_along_axis(inputs, mx.expand_dims(targets, axis), axis)
    return _reduce(-chosen.squeeze(axis), reduction)


def gaussian_nll_loss(
    inputs: mx.array,
    targets: mx.array,
    vars: mx.array,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> mx.array:
    """``(log(v) + (inputs - targets)^2 / v) / 2`` with ``v = max(vars, eps)``: the negative
    log-likelihood of a normal distribution.

    Shapes: all the same. One number unless ``reduction`` is ``"none"``.
    Dtypes: floats; integers become float32.

    Args:
        inputs: The means.
        targets: The samples.
        vars: The variances, of the same shape.
        full: If true, the constant ``log(2 * pi) / 2`` is added.
        eps: The least variance.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape("Inputs", inputs, "targets", targets)
    _check_same_shape("Inputs", inputs, "vars", vars)
    vars = mx.maximum(vars, eps)
    loss = 0.5 * (mx.log(vars) + mx.square(targets - inputs) / vars)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce(loss, reduction)


def kl_div_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: Reduction = "none"
) -> mx.array:
    """``sum(exp(targets) * (targets - inputs))`` along ``axis``: the Kullback-Leibler divergence
    of two arrays of log-probabilities.

    Shapes: broadcast together; the axis is summed over. One number unless ``reduction`` is
    ``"none"``.
    Dtypes: floats; integers become float32.
    Shapes that do not broadcast, and an unknown reduction, raise ValueError.
    """
    return _reduce(mx.sum(mx.exp(targets) * (targets - inputs), axis), reduction)


def smooth_l1_loss(
    predictions: mx.array,
    targets: mx.array,
    beta: float = 1.0,
    reduction: Reduction = "mean",
) -> mx.array:
    """``d^2 / (2 * beta)`` where ``d = abs(predictions - targets)`` is below ``beta``, and
    ``d - beta / 2`` elsewhere.

    Shapes: all the same. One number unless ``reduction`` is ``"none"``.
    Dtypes: floats; integers become float32.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape("Predictions", predictions, "targets", targets)
    difference = mx.abs(predictions - targets)
    loss = mx.where(difference < beta, 0.5 * mx.square(difference) / beta, difference - 0.5 * beta)
    return _reduce(loss, reduction)


def huber_loss(
    inputs: mx.array, targets: mx.array, delta: float = 1.0, reduction: Reduction = "none"
) -> mx.array:
    """``d^2 / 2`` where ``d = abs(inputs - targets)`` is at most ``delta``, and
    ``delta * (d - delta / 2)`` elsewhere (Huber, 1964).

    Shapes: broadcast together. One number unless ``reduction`` is ``"none"``.
    Dtypes: floats; integers become float32.
    Shapes that do not broadcast, and an unknown reduction, raise ValueError.
    """
    difference = mx.abs(inputs - targets)
    loss = mx.where(
        difference <= delta, 0.5 * mx.square(difference), delta * (difference - 0.5 * delta)
    )
    return _reduce(loss, reduction)


def log_cosh_loss(inputs: mx.array, targets: mx.array, reduction: Reduction = "none") -> mx.array:
    """``log(cosh(inputs - targets))``, computed without overflow.

    Shapes: broadcast together. One number unless ``reduction`` is ``"none"``.
    Dtypes: floats; integers become float32.
    Shapes that do not broadcast, and an unknown reduction, raise ValueError.
    """
    difference = inputs - targets
    return _reduce(mx.logaddexp(difference, -difference) - math.log(2), reduction)


def hinge_loss(inputs: mx.array, targets: mx.array, reduction: Reduction = "none") -> mx.array:
    """``max(0, 1 - inputs * targets)`` for targets of -1 or 1.

    Shapes: broadcast together. One number unless ``reduction`` is ``"none"``.
    Dtypes: floats and integers.
    Shapes that do not broadcast, and an unknown reduction, raise ValueError.
    """
    return _reduce(mx.maximum(1 - inputs * targets, 0), reduction)


def triplet_loss(
    anchors: mx.array,
    positives: mx.array,
    negatives: mx.array,
    axis: int = -1,
    p: int = 2,
    margin: float = 1.0,
    eps: float = 1e-6,
    reduction: Reduction = "none",
) -> mx.array:
    """``max(d(anchors, positives) - d(anchors, negatives) + margin, 0)`` with
    ``d(a, b) = (sum(abs(a - b)^p) + eps)^(1 / p)`` along ``axis``.

    Shapes: broadcast together; the axis is summed over. One number unless ``reduction`` is
    ``"none"``.
    Dtypes: floats; integers become float32.
    Shapes that do not broadcast, and an unknown reduction, raise ValueError.

    Args:
        anchors, positives, negatives: Vectors along ``axis``.
        axis: The axis of the vectors.
        p: The degree of the norm.
        margin: How much nearer the positives should be.
        eps: Keeps the root differentiable at 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
    """

    def distance(a, b):
        return mx.power(mx.power(mx.abs(a - b), p).sum(axis) + eps, 1 / p)

    loss = mx.maximum(distance(anchors, positives) - distance(anchors, negatives) + margin, 0)
    return _reduce(loss, reduction)


def cosine_similarity_loss(
    x1: mx.array,
    x2: mx.array,
    axis: int = 1,
    eps: float = 1e-8,
    reduction: Reduction = "none",
) -> mx.array:
    """``sum(x1 * x2) / max(norm(x1) * norm(x2), eps)`` along ``axis``: the cosine of the angle
    between vectors, which is 1 for parallel ones.

    Shapes: broadcast together; the axis is summed over. One number unless ``reduction`` is
    ``"none"``.
    Dtypes: floats; integers become float32.
    Shapes that do not broadcast, and an unknown reduction, raise ValueError.
    """
    norms = mx.linalg.norm(x1, axis=axis) * mx.linalg.norm(x2, axis=axis)
    return _reduce(mx.sum(x1 * x2, axis=axis) / mx.maximum(norms, eps), reduction)


def margin_ranking_loss(
    inputs1: mx.array,
    inputs2: mx.array,
    targets: mx.array,
    margin: float = 0.0,
    reduction: Reduction = "none",
) -> mx.array:
    """``max(0, -targets * (inputs1 - inputs2) + margin)``, where a target of 1 says that the
    first input should be larger and one of -1 that the second should.

    Shapes: all the same. One number unless ``reduction`` is ``"none"``.
    Dtypes: floats; integers become float32.

    Raises:
        ValueError: If the shapes differ.
    """
    if not inputs1.shape == inputs2.shape == targets.shape:
        raise ValueError(
            f"The shapes of the arguments do not match: inputs1 {inputs1.shape}, "
            f"inputs2 {inputs2.shape}, targets {targets.shape}."
        )
    return _reduce(mx.maximum(0, -targets * (inputs1 - inputs2) + margin), reduction)
