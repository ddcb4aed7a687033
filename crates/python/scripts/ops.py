"""Writes `docs/ops.md`: what every name of the manifest takes, and which transforms it has.

    python crates/python/scripts/ops.py [FILE]

Nothing in the page is written by hand. Names are those of `tests/data/core_manifest.json`; each
function is called as in `tests/test_differential.py` or in `CALLS` below, with arrays of every
dtype, under every transform; what it is made of is asked of `export_function`; and which
primitives have a kernel on NVIDIA devices is read from the match in `crates/cuda/src/backend.rs`.
"""

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path

import lazulite.core as mx

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE.parents[1]
PAGE = ROOT / "docs/ops.md"
MANIFEST = json.loads((PACKAGE / "tests/data/core_manifest.json").read_text(encoding="utf-8"))
DTYPES = {
    "bool": "bool_",
    "integers": "uint8 uint16 uint32 uint64 int8 int16 int32 int64",
    "floats": "float16 bfloat16 float32 float64",
    "complex": "complex64",
}
#: Modules whose functions are called.
OPS = ["mlx.core", *(f"mlx.core.{m}" for m in "fast fft linalg random distributed".split())]
#: Calls for functions of which neither the tests nor the simplest calls (of `u`, or of `x` and `y`)
#: show all that there is.
CALLS = """
mx.imag(c) | mx.real(c) | mx.conjugate(c) | mx.conj(c) | mx.arccosh(u + 1.5) | mx.acosh(u + 1.5) | mx.power(u, y) | mx.pow(u, y) | mx.remainder(x, u) | mx.where(b, x, y) | mx.clip(x, 0, 1)
mx.concat([x, y]) | mx.concatenate([x, y]) | mx.stack([x, y]) | mx.permute_dims(x, (1, 0)) | mx.astype(x, mx.float32)
mx.cumulative_sum(x, axis=0) | mx.cumulative_prod(u, axis=0) | mx.cumsum(x, axis=0) | mx.cumprod(u, axis=0) | mx.logcumsumexp(x, axis=0)
mx.argpartition(x, 2) | mx.partition(x, 2) | mx.topk(x, 2) | mx.bartlett(5) | mx.blackman(5) | mx.hamming(5) | mx.hanning(5)
mx.conv1d(w, w[:1]) | mx.conv2d(q, q[:1]) | mx.conv3d(q[None], q[None, :1]) | mx.conv_general(q, q[:1]) | mx.convolve(v, v)
mx.conv_transpose1d(w, w[:1]) | mx.conv_transpose2d(q, q[:1]) | mx.conv_transpose3d(q[None], q[None, :1])
mx.einsum("ij,kj->ik", x, y) | mx.empty((2, 3)) | mx.full_like(x, 2) | mx.full((2, 2), s) | mx.linspace(0, 1, 3) | mx.zeros_like(x)
mx.segmented_mm(x, y.T, mx.array([[0, 2], [1, 4]], mx.uint32)) | mx.slice(x, mx.array([1]), (0,), (2, 4)) | mx.view(x, mx.int32)
mx.slice_update(x, y[:2], mx.array([1]), (0,)) | mx.quantize(mx.tile(x, (1, 16)))
mx.dequantize(mx.full((3, 8), 1985229328, mx.uint32), x[:, :1], x[:, :1])
mx.quantized_matmul(mx.tile(x, (1, 16)), *mx.quantize(mx.ones((2, 64)))) | mx.gather_qmm(mx.tile(x, (1, 16)), *mx.quantize(mx.ones((2, 64))))
mx.qqmm(mx.tile(x, (1, 16)), mx.ones((2, 64), x.dtype)) | mx.gather_qqmm(mx.tile(x, (1, 16)), mx.ones((2, 64), x.dtype))
mx.block_masked_mm(mx.tile(x, (11, 8)), mx.tile(x, (11, 8)).T, 32, mx.array([[True, False], [True, True]]))
mx.put_along_axis(x, mx.array([[0], [1], [2]]), y[:, :1], axis=1) | mx.searchsorted(mx.sort(v), x) | mx.unique(v, 2) | mx.from_fp8(k)
mx.masked_scatter(x, b, y.reshape(-1)) | mx.meshgrid(v, v) | mx.as_strided(x, (2, 2), (1, 2)) | mx.prod(u, axis=0)
mx.squeeze(o, 0) | mx.reshape(x, (-1,)) | mx.unflatten(x, 1, (2, -1)) | mx.split(x, 2, axis=1) | mx.take(x, p[:2], axis=0)
mx.take_along_axis(x, mx.argsort(y, axis=0), axis=0) | mx.tensordot(x, y, axes=[[1], [1]]) | mx.matmul(x, y.T) | mx.addmm(s, x, y.T)
mx.softmax(x, axis=-1) | mx.repeat(x, 2, axis=1) | mx.roll(x, 1, axis=0) | mx.pad(x, 1) | mx.tile(x, (1, 2)) | mx.outer(v, v) | mx.diag(v)
mx.fast.cross_entropy(x, p[:3]) | mx.fast.rms_norm(x, v, 1e-5) | mx.fast.layer_norm(x, v, v, 1e-5)
mx.fast.rope(q[..., :2], 2, traditional=False, base=100.0, scale=1.0, offset=0)
mx.fast.gated_delta_update(q, q, q, mx.ones((2, 4, 4), q.dtype), mx.ones((2, 4, 4), q.dtype))
mx.linalg.cholesky(DIAGONAL) | mx.linalg.inv(DIAGONAL) | mx.linalg.cross(x[:, :3], y[:, :3]) | mx.linalg.lu(m) | mx.linalg.lu_factor(m) | mx.linalg.qr(m)
mx.linalg.svd(m) | mx.linalg.eigh(m + m.T) | mx.linalg.eigvalsh(m + m.T) | mx.linalg.eig(m) | mx.linalg.eigvals(m) | mx.linalg.pinv(m)
mx.linalg.cholesky_inv(DIAGONAL) | mx.linalg.solve(DIAGONAL, x) | mx.linalg.solve_triangular(mx.tril(m), x)
mx.fft.ifft(c) | mx.fft.ifft2(c) | mx.fft.ifftn(c) | mx.fft.irfft(c) | mx.fft.irfft2(c) | mx.fft.irfftn(c)
mx.fft.stft(mx.tile(x, (1, 8))[0], 16) | mx.fft.istft(mx.fft.stft(mx.tile(x, (1, 8))[0], 16))
mx.random.bernoulli(u) | mx.random.uniform(x, x + 1) | mx.random.gumbel((3,)) | mx.random.laplace((3,)) | mx.random.normal((3,)) | mx.random.multivariate_normal(v[:3], m @ m.T)
mx.random.permutation(x) | mx.random.randint(0, 9, (3,)) | mx.random.truncated_normal(x, x + 1) | mx.random.split(mx.random.key(0)) | mx.random.key(3)
"""
# A matrix that is regular in every dtype.
CALLS = CALLS.replace("DIAGONAL", "mx.where(mx.eye(3) > 0, m * m + 1, mx.zeros_like(m))")
#: Why a name has no columns, by what it is.
NOT_OPS = {
    "class": "a class",
    "constant": "a constant",
    "dtype": "a dtype",
    "dtype-category": "a category of dtypes",
    "module": "a module",
    "dynamic attribute": "the state of the generator",
    "function": "takes and returns no arrays, or works on functions, files, devices or memory",
}


def loaded(name):
    """A module of `tests`, by path."""
    spec = importlib.util.spec_from_file_location(name, PACKAGE / f"tests/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def differential():
    """The differential tests' expressions."""
    peer = loaded("peer")
    tables = [t for t in (PACKAGE / "tests/test_differential.py").read_text().split('"""')]
    found = [e.strip() for t in tables for line in t.splitlines() for e in line.split(" | ")]
    return peer.inputs(mx), [e for e in found if e.startswith("mx.")]


INPUTS, TESTED = differential()


def head(expression):
    """The name that an expression calls: `mx.fft.fft` of `mx.fft.fft(x)[0]`."""
    try:
        call = ast.parse(expression, mode="eval").body
    except SyntaxError:
        return None
    return ast.unparse(call.func) if isinstance(call, ast.Call) else None


def calls(module, name):
    """The expressions that call a name: the tables' own, the tests', and the simplest ones."""
    own = [e.strip() for line in CALLS.splitlines() for e in line.split(" | ")]
    plain = [f"mx.{name}({args})" for args in ("u", "x, y", "i, z", "i", "b")]
    # Tests that call nothing else first.
    tested = sorted(TESTED, key=lambda e: e.count("mx."))
    given = [e for e in [*own, *tested] if head(e) == f"mx.{name}" and "lambda" not in e]
    return [*given, *plain] if module in OPS else []


def arrays(tree):
    """The arrays of a result."""
    if isinstance(tree, mx.array):
        return [tree]
    return [a for item in tree for a in arrays(item)] if isinstance(tree, (list, tuple)) else []


class Call:
    """An expression as a function of the arrays that it names."""

    def __init__(self, expression):
        names = {n.id for n in ast.walk(ast.parse(expression)) if isinstance(n, ast.Name)}
        self.code = compile(expression, expression, "eval")
        self.names = sorted(names & INPUTS.keys(), key=expression.find)
        self.inexact = [n for n in self.names if mx.issubdtype(INPUTS[n].dtype, mx.inexact)]

    def __call__(self, **given):
        return arrays([eval(self.code, {"mx": mx, **INPUTS, **given})])

    def of(self, names):
        """The call as a function of the arrays of these names, and these arrays."""

        def f(*values):
            out = self(**dict(zip(names, values, strict=True)))
            return out if len(out) != 1 else out[0]

        return f, [INPUTS[n] for n in names]


def attempt(f):
    """What `f` returns, evaluated, and what it raises."""
    mx.random.seed(1)
    try:
        out = f()
        mx.eval(out)
        return out, None
    except Exception as error:
        return None, error


def same(a, b):
    """True if both results have the same elements."""
    a, b = arrays([a]), arrays([b])
    if [p.shape for p in a] != [q.shape for q in b]:
        return False
    return all(mx.allclose(p, q, 1e-4, 1e-4, equal_nan=True) for p, q in zip(a, b, strict=True))


def dtypes(call):
    """The dtypes with which the call works, in place of those of its arrays."""
    taken = {}
    for group, members in DTYPES.items():
        for member in members.split():
            varied = call.inexact or call.names
            given = {n: INPUTS[n].astype(getattr(mx, member)) for n in varied}
            if attempt(lambda g=given: call(**g))[1] is None:
                taken.setdefault(group, []).append(member.rstrip("_"))
    whole = {g: len(t) == len(DTYPES[g].split()) for g, t in taken.items()}
    return ", ".join(g if whole[g] else " ".join(t) for g, t in taken.items())


def noise(arrays):
    """Random numbers of the arrays' shapes and dtypes."""
    keys = [mx.random.key(i) for i in range(len(arrays))]
    made = [mx.random.normal(x.shape, key=k) for x, k in zip(arrays, keys, strict=True)]
    return [m.astype(x.dtype) for m, x in zip(made, arrays, strict=True)]


def derivative(run):
    """`yes`, `zero`, or why there is none."""
    out, error = attempt(run)
    if error is not None:
        return f"no: {type(error).__name__}"
    return "yes" if any(mx.any(a != 0).item() for a in arrays([out])) else "zero"


def derivatives(call):
    """How the call's tangents and cotangents are."""
    if not call.inexact:
        return ["integers only"] * 2
    f, given = call.of(call.inexact)
    outputs = noise(arrays([f(*given)]))
    return [
        derivative(lambda: mx.jvp(f, given, noise(given))[1]),
        derivative(lambda: mx.vjp(f, given, outputs)[1]),
    ]


def batched(call):
    """Whether a batch gives what its examples give."""
    f, given = call.of(call.names[:1])
    out, error = attempt(lambda: mx.vmap(f)(*(mx.stack([x, x]) for x in given)))
    if error is not None:
        return f"no: {type(error).__name__}"
    each, _ = attempt(lambda: f(*given))
    return "yes" if same([a[0] for a in arrays([out])], each) else "draws for each"


def shapeless(call):
    """Whether one trace serves other sizes of its arrays."""
    result = "no: the call itself names sizes"
    first = INPUTS[call.names[0]].shape
    alike = [n for n in call.names if INPUTS[n].shape == first]
    for names in (alike, call.names, call.names[:1]):
        f, given = call.of(names)
        least = min(x.ndim for x in given)
        # Sizes of one axis doubled, from the front and from the end, or of all.
        axes = [*([a] for a in range(least)), *([-1 - a] for a in range(least)), range(least)]
        for some in axes:
            larger = given
            for axis in some:
                larger = [mx.concatenate([x, x], axis=axis) for x in larger]
            want, error = attempt(lambda v=larger, f=f: f(*v))
            if error is not None:
                continue
            g = mx.compile(f, shapeless=True)
            attempt(lambda g=g, x=given: g(*x))
            got, error = attempt(lambda v=larger, g=g: g(*v))
            if error is None and same(got, want):
                return "yes"
            result = "no: sizes stay as traced" if error is None else "no: refused"
    return result


def kernels():
    """How the CUDA backend runs each primitive, from the match that sends them there."""
    source = (ROOT / "crates/cuda/src/backend.rs").read_text(encoding="utf-8")
    body = source[source.index("fn execute(\n    launch") :]
    body = body[: body.index("\n}\n")]
    found = {}
    for arm in re.finditer(
        r"((?:\s*\|?\s*Primitive::\w+(?:\(\w+\))?)+)( if [^=]+?)? =>([^,{]*)", body
    ):
        pattern, guard, result = arm.groups()
        for variant in re.findall(r"Primitive::(\w+)", pattern):
            kind = "host" if "host::execute" in result else "part" if guard else "yes"
            found.setdefault(variant, set()).add(kind)
    return found


KERNELS = kernels()
# Made on a processor alone: a device gets selections and a product instead.
KERNELS["MaskedMatmul"] = KERNELS["Matmul"] | KERNELS["Select"]
VIEWS = "Broadcast Reshape Transpose Slice AsStrided Bitcast Identity".split()


def cuda(call):
    """Where an NVIDIA device runs the parts of a call."""
    f, given = call.of(call.names)
    parts = []
    _, error = attempt(lambda: mx.export_function(parts.append, f, *given))
    if error is not None:
        return f"unknown: {type(error).__name__}"
    kinds = set()
    for part in parts:
        if part["type"] == "primitive" and part["name"] not in VIEWS:
            # A row of the op table is named by itself, and the device runs all of them.
            kinds |= KERNELS.get(part["name"], {"yes"})
    if "host" not in kinds:
        return "kernel"
    return "kernel, host for some" if "part" in kinds else "host"


def row(module, name, facts):
    """A line of the table: the name and its seven columns."""
    found = mx
    for part in module.split(".")[2:]:
        found = getattr(found, part)
    short = f"{module[9:]}.{name}".lstrip(".")
    if not hasattr(found, name):
        return [short, "absent"]
    for expression in calls(module, short):
        call = Call(expression)
        out, error = attempt(call)
        if error is not None or not out:
            continue
        if not call.names:
            return [short, "makes arrays from none", *["no array argument"] * 4, "yes", "kernel"]
        ways = [batched(call), shapeless(call), "yes", cuda(call)]
        return [short, dtypes(call), *derivatives(call), *ways]
    return [short, NOT_OPS[facts["kind"]]]


def page():
    """The whole page."""
    ops, others = [], {}
    for module in MANIFEST["modules"]:
        if not module.startswith("mlx.core"):
            continue
        for name, facts in MANIFEST["modules"][module]["names"].items():
            cells = row(module, name, facts)
            if len(cells) > 2:
                ops.append(cells)
            else:
                others.setdefault(cells[1], []).append(cells[0])
    lines = [
        "# Every name of MLX's core, and what it does here",
        "",
        "Written by `crates/python/scripts/ops.py`, which calls every function; a test compares.",
        "",
        "- *dtypes*: those of the arrays with which the call works; *integers* are all eight, *floats* are",
        "  float16, bfloat16, float32 and float64.",
        "- *jvp*, *vjp*: *zero* where the function is constant almost everywhere.",
        "- *vmap*: a batch gives what its examples give, one by one.",
        "- *shapeless*: one trace of `compile(shapeless=True)` serves arrays of other sizes; *refused* is an",
        "  error that names the sizes.",
        "- *CPU*: it was run there. *CUDA*: *kernel* where all its parts run on the device, *host* where one is",
        "  sent to the processor and back, *host for some* where that depends on dtypes and shapes.",
        "",
        "| name | dtypes | jvp | vjp | vmap | shapeless | CPU | CUDA |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += ["| " + " | ".join([f"`{c[0]}`", *c[1:]]) + " |" for c in ops]
    lines += ["", "## Names that are no operations on arrays", ""]
    for reason, names in others.items():
        listed = ", ".join(f"`{n}`" for n in names)
        lines.append(f"- {reason}: {listed}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    target.write_text(page(), encoding="utf-8")
