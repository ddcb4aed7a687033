"""The cases of the golden files, and how one is run with either package.

`make_golden.py` runs them with MLX and stores the results; the tests run them with lazulite and
compare. Inputs and weights follow a formula, so that only results are stored.
"""

import math

CALLS = [
    *(
        f"nn.{name}"
        for name in (
            "celu elu gelu gelu_approx gelu_fast_approx glu hard_shrink hard_tanh hardswish "
            "leaky_relu log_sigmoid log_softmax mish relu relu2 relu6 selu sigmoid silu softmax "
            "softmin softplus softshrink softsign step tanh"
        ).split()
    ),
    "lambda x: nn.elu(x, 2.5)",
    "lambda x: nn.celu(x, 2.5)",
    "lambda x: nn.leaky_relu(x, 2.0)",
    "lambda x: nn.hard_tanh(x, -0.2, 0.4)",
    "lambda x: nn.glu(x, axis=0)",
    "lambda x: nn.prelu(x, x)",
]

# Each is a layer and the shapes of its inputs.
LAYERS = [
    ("nn.Linear(5, 3)", [(4, 5)]),
    ("nn.Linear(5, 3, bias=False)", [(2, 2, 5)]),
    ("nn.Bilinear(3, 2, 4)", [(5, 3), (5, 2)]),
    ("nn.Identity(1, a=2)", [(3,)]),
    ("nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))", [(2, 3)]),
    ("nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2)", [(2, 7, 4)]),
    ("nn.Conv2d(2, 3, (3, 2), stride=(1, 2), padding=(1, 0))", [(1, 5, 6, 2)]),
    ("nn.Conv2d(2, 3, 2, dilation=2, bias=False)", [(1, 5, 5, 2)]),
    ("nn.Conv3d(2, 3, 2, padding=1)", [(1, 3, 3, 2, 2)]),
    ("nn.ConvTranspose1d(2, 3, 3, 2, 1, output_padding=1)", [(1, 4, 2)]),
    ("nn.ConvTranspose2d(2, 3, 3, (2, 1), padding=1)", [(1, 3, 3, 2)]),
    ("nn.ConvTranspose3d(2, 3, 2, 2)", [(1, 2, 2, 2, 2)]),
    ("nn.Dropout(0.3).eval()", [(3, 4)]),
    ("nn.LayerNorm(6)", [(3, 6)]),
    ("nn.LayerNorm(6, affine=False)", [(3, 6)]),
    ("nn.RMSNorm(6)", [(3, 6)]),
    ("nn.InstanceNorm(4, affine=True)", [(2, 3, 3, 4)]),
    ("nn.GroupNorm(2, 6)", [(2, 3, 6)]),
    ("nn.GroupNorm(2, 6, pytorch_compatible=True)", [(2, 3, 6)]),
    ("nn.BatchNorm(3)", [(4, 3)]),
    ("nn.BatchNorm(3, momentum=0.4)", [(2, 2, 3, 3)]),
    ("nn.BatchNorm(3, affine=False).eval()", [(4, 3)]),
    ("nn.MaxPool1d(2)", [(1, 6, 2)]),
    ("nn.MaxPool2d((2, 3), (1, 2), (1, 0))", [(1, 4, 5, 2)]),
    ("nn.MaxPool3d(2, padding=1)", [(1, 4, 4, 3, 1)]),
    ("nn.AvgPool1d(3, 2, 1)", [(1, 7, 2)]),
    ("nn.AvgPool2d(2)", [(1, 5, 4, 2)]),
    ("nn.AvgPool3d(2, stride=1)", [(1, 3, 3, 3, 1)]),
    ("nn.RoPE(6)", [(2, 3, 8)]),
    ("nn.RoPE(8, traditional=True, base=100.0, scale=0.5)", [(2, 3, 8)]),
    ("nn.SinusoidalPositionalEncoding(8, cos_first=True, full_turns=True)", [(3,)]),
    ("nn.ALiBi()", [(1, 3, 3, 4)]),
    ("nn.RNN(3, 4)", [(2, 4, 3)]),
    ("nn.RNN(3, 4, nonlinearity=nn.relu)", [(4, 3), (4,)]),
    ("nn.GRU(3, 4)", [(2, 3, 3)]),
    ("nn.GRU(3, 4, bias=False)", [(2, 3, 3), (2, 4)]),
    ("nn.LSTM(3, 4)", [(2, 3, 3)]),
    ("nn.LSTM(3, 4)", [(3, 3), (4,), (4,)]),
    ("nn.MultiHeadAttention(8, 2)", [(1, 3, 8), (1, 4, 8), (1, 4, 8)]),
    ("nn.MultiHeadAttention(8, 2, 6, 4, 10, 12, 5, bias=True)", [(1, 3, 6), (1, 2, 4), (1, 2, 10)]),
    ("nn.TransformerEncoder(1, 4, 2, 6)", [(1, 3, 4), (3, 3)]),
    ("nn.TransformerEncoder(1, 4, 2, 6, norm_first=False, checkpoint=True)", [(1, 3, 4), (3, 3)]),
    ("nn.TransformerDecoder(1, 4, 2, 6)", [(1, 3, 4), (1, 2, 4), (3, 3), (3, 2)]),
    (
        "nn.Transformer(4, 2, 1, 1, 6, norm_first=False)",
        [(1, 3, 4), (1, 2, 4), (3, 3), (2, 2), (2, 3)],
    ),
    ("nn.PReLU(3, 0.1)", [(2, 3)]),
    ("nn.GELU('tanh')", [(2, 3)]),
    ("nn.AllToShardedLinear(4, 2)", [(3, 4)]),
    ("nn.ShardedToAllLinear(4, 2)", [(3, 4)]),
    *(
        (f"nn.Upsample({scale}, '{mode}', {corners}, {antialias})", [(1, 5, 1)])
        for scale in (0.5, 0.7, 1.5, 2, 2.3)
        for mode in ("nearest", "linear", "cubic")
        for corners in (False, True)
        for antialias in (False, True)
        if not (antialias and (corners or mode == "nearest"))
    ),
    ("nn.Upsample((2, 1.5), 'linear')", [(1, 2, 3, 2)]),
]

# Each is a layer made from full weights and the shape of its input.
QUANTIZED = [
    ("nn.Linear(64, 4).to_quantized()", (2, 64)),
    ("nn.Linear(64, 4, bias=False).to_quantized(32, 8)", (2, 64)),
    ("nn.Linear(64, 4).to_quantized(mode='mxfp4')", (2, 64)),
    ("nn.QuantizedLinear(64, 4, group_size=32, bits=3)", None),
    ("nn.QuantizedEmbedding(4, 64)", None),
    ("nn.QQLinear(64, 4, mode='mxfp8')", None),
]

LOSSES = [
    ("cross_entropy(x, labels)", "none"),
    ("cross_entropy(x, labels, weights=p[:, 0], label_smoothing=0.2)", "sum"),
    ("cross_entropy(x, p / p.sum(-1, keepdims=True))", "mean"),
    ("cross_entropy(x, labels[:3], axis=0)", "none"),
    ("binary_cross_entropy(x, p)", "mean"),
    ("binary_cross_entropy(x, p, weights=p)", "none"),
    ("binary_cross_entropy(p, p, with_logits=False)", "sum"),
    ("l1_loss(x, p)", "mean"),
    ("mse_loss(x, p)", "none"),
    ("nll_loss(x, labels)", "sum"),
    ("gaussian_nll_loss(x, p, p, full=True)", "mean"),
    ("kl_div_loss(nn.log_softmax(x), mx.log(p))", "none"),
    ("smooth_l1_loss(3 * x, p, beta=0.5)", "none"),
    ("huber_loss(3 * x, p, delta=0.7)", "none"),
    ("log_cosh_loss(50 * x, p)", "none"),
    ("hinge_loss(x, mx.sign(p - 0.5))", "mean"),
    ("triplet_loss(x, p, x * p)", "none"),
    ("triplet_loss(x, p, x * p, p=3, axis=0)", "sum"),
    ("cosine_similarity_loss(x, p)", "none"),
    ("margin_ranking_loss(x, p, mx.sign(p - 0.5), margin=0.3)", "none"),
]

OPTIMIZERS = [
    "SGD(0.1)",
    "SGD(0.1, momentum=0.9, weight_decay=0.1, dampening=0.2)",
    "SGD(0.1, momentum=0.9, nesterov=True)",
    "SGD(optim.linear_schedule(0.0, 0.1, 3))",
    "RMSprop(0.1, alpha=0.9)",
    "Adagrad(0.1)",
    "AdaDelta(0.1, rho=0.8, eps=1e-3)",
    "Adam(0.1)",
    "Adam(optim.cosine_decay(0.1, 4), betas=[0.8, 0.9], bias_correction=True)",
    "AdamW(0.1, weight_decay=0.2)",
    "Adamax(0.1)",
    "Lion(0.1, weight_decay=0.1)",
    "Adafactor()",
    "Adafactor(0.1, relative_step=False, beta_1=0.9, weight_decay=0.1)",
    "Adafactor(warmup_init=True, scale_parameter=False)",
    "Muon(0.1)",
    "Muon(0.1, momentum=0.5, weight_decay=0.0, nesterov=False)",
    "MultiOptimizer([optim.SGD(0.1), optim.Adam(0.1)], [lambda k, g: k.endswith('b')])",
]


def wave(mx, shape, phase=0.0):
    """Values between -1 and 1 without ties, the same in every package."""
    size = math.prod(shape)
    values = [
        math.sin(1.7 * i + 0.3 + phase) * (0.5 + 0.5 * math.cos(0.37 * i)) for i in range(size)
    ]
    return mx.array(values).reshape(shape)


def plain(x, digits=7):
    """A tree of arrays as what JSON holds: nested lists and numbers of some digits."""
    if isinstance(x, dict):
        return {k: plain(v, digits) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(v, digits) for v in x]
    if hasattr(x, "tolist"):
        return plain(x.tolist(), digits)
    if isinstance(x, float):
        return float(f"{x:.{digits}g}")
    return x


def _set_weights(mx, utils, module):
    """Give every parameter a wave; running variances stay positive."""
    flat = utils.tree_flatten(module.parameters())
    new = [
        (path, wave(mx, a.shape, 0.1 * i) * 0.5 + (1.0 if path.endswith("var") else 0.0))
        for i, (path, a) in enumerate(flat)
    ]
    if new:
        module.update(utils.tree_unflatten(new))


def _scalar(mx, y):
    parts = y if isinstance(y, tuple) else (y,)
    return sum((p * wave(mx, p.shape, 2.0)).sum() for p in parts)


def run_call(text, mx, nn):
    """The values and the derivative of a function of one array."""
    fn = eval(text, {"mx": mx, "nn": nn})
    x = 3 * wave(mx, (4, 6))
    y = fn(x)
    result = {"y": plain(y), "dtype": str(y.dtype).split(".")[-1]}
    if result["dtype"] == "float32":
        result["dx"] = plain(mx.grad(lambda x: _scalar(mx, fn(x)))(x))
    return result


def run_layer(text, shapes, mx, nn, utils):
    """What a layer prints, holds, returns, and the gradients through it."""
    module = eval(text, {"mx": mx, "nn": nn})
    shown = repr(module).split(" nonlinearity=")[0]
    _set_weights(mx, utils, module)
    inputs = [wave(mx, shape, 0.5 * i) for i, shape in enumerate(shapes)]
    parameters = {k: list(a.shape) for k, a in utils.tree_flatten(module.parameters())}
    value, grads = _scalar(mx, module(*inputs)), {}
    if module.trainable_parameters() and parameters:
        loss = nn.value_and_grad(module, lambda *xs: _scalar(mx, module(*xs)))
        value, grads = loss(*inputs)
    dx = mx.grad(lambda x: _scalar(mx, module(x, *inputs[1:])))(inputs[0])
    _set_weights(mx, utils, module)
    return {
        "repr": shown,
        "parameters": parameters,
        "trainable": [k for k, _ in utils.tree_flatten(module.trainable_parameters())],
        "y": plain(module(*inputs)),
        "value": plain(value),
        "grads": plain(grads),
        "dx": plain(dx),
        "after": plain([a for _, a in utils.tree_flatten(module.parameters()) if a.ndim == 1]),
    }


def run_quantized(text, shape, mx, nn, utils):
    """What a quantised layer prints and holds, and its values for weights that are a wave."""
    if shape is None:
        module = eval(text, {"nn": nn})
    else:
        linear, _, convert = text.partition(".to_quantized")
        full = eval(linear, {"nn": nn})
        _set_weights(mx, utils, full)
        module = eval("full.to_quantized" + convert, {"full": full})
    result = {
        "repr": repr(module),
        "parameters": {k: list(a.shape) for k, a in utils.tree_flatten(module.parameters())},
        "trainable": [k for k, _ in utils.tree_flatten(module.trainable_parameters())],
    }
    if shape is not None:
        result["y"] = plain(module(wave(mx, shape)))
    return result


def run_loss(text, reduction, mx, nn):
    """The value of a loss and its derivative."""
    call = f"nn.losses.{text[:-1]}, reduction={reduction!r})"

    def loss(x):
        p = mx.sigmoid(wave(mx, (4, 3), 1.0))
        return eval(call, {"mx": mx, "nn": nn, "x": x, "p": p, "labels": mx.array([2, 0, 1, 1])})

    x = wave(mx, (4, 3))
    return {"y": plain(loss(x)), "dx": plain(mx.grad(lambda x: _scalar(mx, loss(x)))(x))}


def run_optimizer(text, mx, optim, utils):
    """The parameters after each of three steps, and the last state."""
    optimizer = eval("optim." + text, {"optim": optim})
    parameters = {
        "l": [{"w": wave(mx, (3, 4)), "b": wave(mx, (4,), 1.0)}],
        "c": wave(mx, (2, 2, 3), 2.0),
    }
    steps = []
    for i in range(3):
        grads = utils.tree_map(lambda x: mx.sin(3 * x + i), parameters)
        parameters = optimizer.apply_gradients(grads, parameters)
        steps.append(plain({k: v for k, v in utils.tree_flatten(parameters)}))
    state = {k: plain(v) for k, v in utils.tree_flatten(optimizer.state)}
    return {"steps": steps, "state": state}
