"""What `grad` and `vmap` are asked for, and the gradients of determinants."""

import lazulite.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize("transform", [mx.grad, mx.value_and_grad])
def test_arguments_are_named_once(transform):
    def f(x, y):
        return x * y

    name = transform.__name__
    with pytest.raises(ValueError, match=rf"\[{name}\] Duplicate argument index 0"):
        transform(f, argnums=(0, 1, 0))
    with pytest.raises(ValueError, match=rf"\[{name}\] Duplicate argument name y"):
        transform(f, argnames=["y", "y"])
    with pytest.raises(ValueError, match="no argument"):
        transform(f, argnums=[])


@pytest.mark.parametrize(("axes", "shape"), [({"a": 0}, (2,)), ({"a": 1}, (3,))])
def test_a_dict_of_axes_speaks_of_the_only_argument(axes, shape):
    tree = {"a": mx.ones((2, 3))}
    assert mx.vmap(lambda t: t["a"].sum(), in_axes=axes)(tree).shape == shape
    assert mx.vmap(lambda t: t["a"].sum(), in_axes=(axes,))(tree).shape == shape
    with pytest.raises(ValueError, match="prefix"):
        mx.vmap(lambda t, u: t["a"].sum(), in_axes=axes)(tree, tree)


def test_random_bools():
    x = mx.random.randint(0, 2, (1000,), dtype=mx.bool_, key=mx.random.key(2))
    assert x.dtype == mx.bool_
    # Six standard deviations of a fair coin.
    assert 405 < x.sum().item() < 595
    with pytest.raises(ValueError, match="integer type or bool"):
        mx.random.randint(0, 2, (4,), dtype=mx.float32)


def test_rope_says_what_is_missing():
    options = {"traditional": False, "scale": 1.0, "offset": 0}
    x = mx.ones((1, 2, 4))
    with pytest.raises(ValueError, match="Neither base nor freqs"):
        mx.fast.rope(x, 4, base=None, **options)
    with pytest.raises(ValueError, match="Only one of base or freqs"):
        mx.fast.rope(x, 4, base=1.0, freqs=mx.ones(2), **options)


@pytest.mark.parametrize("name", ["inv", "cholesky", "solve", "cholesky_inv"])
def test_integers_are_factored_as_floats(name):
    a = np.array([[4, 1], [1, 3]])
    want = {
        "inv": np.linalg.inv(a),
        "cholesky": np.linalg.cholesky(a),
        "solve": np.eye(2),
        "cholesky_inv": np.linalg.inv(np.tril(a) @ np.tril(a).T),
    }[name]
    x = mx.array(a, mx.int32)
    got = getattr(mx.linalg, name)(*[x] * (1 + (name == "solve")))
    assert got.dtype == mx.float32
    np.testing.assert_allclose(np.array(got), want, atol=1e-6)


def adjugate(a):
    """By minors, in the widest type."""
    n = len(a)
    minors = [[np.delete(np.delete(a, i, 0), j, 1) for j in range(n)] for i in range(n)]
    signs = np.fromfunction(lambda i, j: (-1.0) ** (i + j), (n, n))
    return (signs * np.linalg.det(np.array(minors))).T if n > 1 else np.ones((1, 1))


def of_rank(n, rank, complex_numbers=False):
    rng = np.random.default_rng(n)
    parts = [rng.integers(-3, 4, (2, n, rank)).astype(float) for _ in range(2)]
    left, right = (p[0] + 1j * p[1] if complex_numbers else p[0] for p in parts)
    return left @ right.T


SHIFT = np.eye(4, k=1)
SINGULAR = {
    "two rows": np.array([[1.0, 2.0], [2.0, 4.0]]),
    "zeros of 3": np.zeros((3, 3)),
    "zeros of 5": np.zeros((5, 5)),
    "a shift": SHIFT,
    "a shift of 8": np.eye(8, k=1),
    "ones": np.ones((6, 6)),
    **{f"rank {r} of {n}": of_rank(n, r) for n in (3, 4, 5, 7) for r in (n, n - 1, n - 2)},
}


@pytest.mark.parametrize("name", SINGULAR)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float64])
def test_the_gradient_of_a_determinant_is_the_adjugate(name, dtype):
    a = SINGULAR[name]
    with mx.stream(mx.cpu):
        x = mx.array(a, dtype)
        got = np.array(mx.grad(mx.linalg.det)(x))
        t = mx.array(np.random.default_rng(0).normal(size=a.shape), dtype)
        forward = mx.jvp(mx.linalg.det, [x], [t])[1][0].item()
    want = adjugate(a).T
    # A matrix that is singular but for rounding is not taken for one: its size is the measure.
    size = max(np.abs(a).max(), 1) ** (len(a) - 1) * len(a)
    error = size * (4e-6 if dtype == mx.float32 else 4e-8)
    np.testing.assert_allclose(got, want, atol=error)
    np.testing.assert_allclose(forward, (want * np.array(t)).sum(), atol=len(a) * 4 * error)


def test_the_gradient_of_determinants_in_batches():
    batch = np.stack([of_rank(4, r) for r in (4, 3, 2)]).astype(np.float32)
    want = np.stack([adjugate(a).T for a in batch.astype(float)])
    x = mx.array(batch)
    whole = mx.grad(lambda x: mx.linalg.det(x).sum())
    for f in (whole, mx.compile(whole), mx.vmap(mx.grad(mx.linalg.det)),
              mx.grad(lambda x: mx.vmap(mx.linalg.det)(x).sum())):  # fmt: skip
        np.testing.assert_allclose(np.array(f(x)), want, atol=1e-3 * np.abs(want).max())


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_gradient_of_a_complex_determinant(n):
    a = of_rank(n, n - 1, complex_numbers=True).astype(np.complex64)
    got = mx.vjp(mx.linalg.det, [mx.array(a)], [mx.array(1 + 0j)])[1][0]
    want = adjugate(a.astype(complex)).T.conj()
    # What is added to a singular matrix of more than three rows is 2^-16 of its size.
    np.testing.assert_allclose(np.array(got), want, atol=1e-3 * np.abs(want).max())


@pytest.mark.parametrize("name", ["two rows", "a shift", "rank 2 of 3", "rank 1 of 3", "rank 3 of 4", "rank 2 of 4"])  # fmt: skip
def test_the_second_derivative_of_a_determinant(name):
    a = SINGULAR[name]
    rng = np.random.default_rng(1)
    t, u = rng.normal(size=(2, *a.shape))
    # A polynomial, whose second difference with a step of 1e-3 has an error of 1e-6.
    step = 1e-3
    at = [np.linalg.det(a + i * step * t + j * step * u) for i, j in ((1, 1), (1, -1), (-1, 1), (-1, -1))]  # fmt: skip
    want = (at[0] - at[1] - at[2] + at[3]) / (4 * step**2)
    with mx.stream(mx.cpu):
        x, t, u = (mx.array(v, mx.float64) for v in (a, t, u))
        got = mx.grad(lambda x: (mx.grad(mx.linalg.det)(x) * t).sum())(x)
        got = (got * u).sum().item()
    assert got == pytest.approx(want, rel=1e-3, abs=1e-3 * max(np.abs(a).max(), 1) ** 2)
