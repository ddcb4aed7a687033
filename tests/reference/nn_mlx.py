"""Writes what the layers, losses, schedules and optimisers of the real MLX give, for the tests of
lazulite::nn: one list of numbers for each case. Inputs and parameters are `fill`, which the test
has too; parameters are filled in the order of their paths.

python tests/reference/nn_mlx.py crates/lazulite/tests/data/nn_golden.json

Needs mlx 0.32.4.
"""

import json
import math
import sys

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten


def fill(shape, seed, scale=1.0):
    i = np.arange(math.prod(shape))
    values = ((i * 37 + 11 * seed + 5) % 101) / 50 - 1
    return mx.array((values * scale).astype(np.float32).reshape(shape))


def filled(module):
    names = sorted(name for name, _ in tree_flatten(module.parameters()))
    arrays = dict(tree_flatten(module.parameters()))
    parts = [(name, fill(arrays[name].shape, i, 0.5)) for i, name in enumerate(names)]
    module.update(tree_unflatten(parts))
    return module


def activations():
    x = fill((24,), 1, 4.0)
    simple = ["sigmoid", "tanh", "relu", "relu2", "relu6", "selu", "silu", "gelu", "gelu_approx"]
    simple += ["gelu_fast_approx", "mish", "hardswish", "softplus", "softsign", "log_sigmoid"]
    for name in simple:
        yield name, getattr(nn, name)(x)
    yield "leaky_relu", nn.leaky_relu(x, 0.1)
    yield "prelu", nn.prelu(x, mx.array([0.3]))
    yield "elu", nn.elu(x, 0.7)
    yield "celu", nn.celu(x, 0.7)
    yield "hard_tanh", nn.hard_tanh(x, -1.5, 0.5)
    yield "hard_shrink", nn.hard_shrink(x, 0.6)
    yield "softshrink", nn.softshrink(x, 0.6)
    rows = x.reshape(4, 6)
    yield "softmax", nn.softmax(rows)
    yield "softmin", nn.softmin(rows)
    yield "log_softmax", nn.log_softmax(rows)
    yield "glu", nn.glu(rows)
    yield "step", nn.step(x, 0.5)


def losses():
    a, b = fill((6, 5), 1), fill((6, 5), 2)
    p, q = mx.sigmoid(a), mx.sigmoid(b)
    classes = mx.array([0, 3, 1, 4, 2, 0])
    signs = mx.sign(b)
    yield "cross_entropy", nn.losses.cross_entropy(a, classes)
    yield "cross_entropy_probabilities", nn.losses.cross_entropy(a, nn.softmax(b))
    yield (
        "cross_entropy_all",
        nn.losses.cross_entropy(
            a.T, classes, weights=fill((6,), 3), axis=0, label_smoothing=0.2, reduction="sum"
        ),
    )
    yield "binary_cross_entropy", nn.losses.binary_cross_entropy(p, q, with_logits=False)
    yield "binary_cross_entropy_with_logits", nn.losses.binary_cross_entropy(a, q)
    yield "l1_loss", nn.losses.l1_loss(a, b)
    yield "mse_loss", nn.losses.mse_loss(a, b, reduction="sum")
    yield "nll_loss", nn.losses.nll_loss(nn.log_softmax(a), classes)
    yield "gaussian_nll_loss", nn.losses.gaussian_nll_loss(a, b, p, full=True, reduction="none")
    yield "kl_div_loss", nn.losses.kl_div_loss(nn.log_softmax(a), nn.log_softmax(b))
    yield "smooth_l1_loss", nn.losses.smooth_l1_loss(a, b, beta=0.7, reduction="none")
    yield "huber_loss", nn.losses.huber_loss(a, b, delta=0.4)
    yield "log_cosh_loss", nn.losses.log_cosh_loss(a, b)
    yield "hinge_loss", nn.losses.hinge_loss(a, signs)
    yield "triplet_loss", nn.losses.triplet_loss(a, b, fill((6, 5), 3), p=3, margin=0.5)
    yield "cosine_similarity_loss", nn.losses.cosine_similarity_loss(a, b, axis=1)
    yield "margin_ranking_loss", nn.losses.margin_ranking_loss(a, b, signs, margin=0.1)


def layers():
    x = fill((2, 3, 8), 50)
    signal, image, volume = fill((2, 12, 4), 50), fill((2, 9, 8, 4), 50), fill((1, 5, 6, 4, 4), 50)
    yield "linear", filled(nn.Linear(8, 5))(x)
    yield "bilinear", filled(nn.Bilinear(8, 4, 5))(x, fill((2, 3, 4), 51))
    yield "embedding", filled(nn.Embedding(7, 4))(mx.array([[0, 6], [3, 2]]))
    yield "as_linear", filled(nn.Embedding(7, 8)).as_linear(x)
    yield "layer_norm", filled(nn.LayerNorm(8))(x)
    yield "rms_norm", filled(nn.RMSNorm(8, eps=1e-4))(x)
    yield "instance_norm", filled(nn.InstanceNorm(4, affine=True))(image)
    yield "group_norm", filled(nn.GroupNorm(2, 4))(image)
    yield "group_norm_pytorch", filled(nn.GroupNorm(2, 4, pytorch_compatible=True))(image)
    batch_norm = filled(nn.BatchNorm(4))
    batch_norm.running_var = mx.abs(batch_norm.running_var)
    yield "batch_norm_training", batch_norm(image)
    yield "running_mean", batch_norm.running_mean
    yield "running_var", batch_norm.running_var
    yield "batch_norm", batch_norm.eval()(image)
    yield "conv1d", filled(nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2))(signal)
    yield "conv2d", filled(nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)))(image)
    yield "conv3d", filled(nn.Conv3d(4, 2, 2, padding=1))(volume)
    up1 = nn.ConvTranspose1d(4, 3, 3, stride=2, padding=1, output_padding=1)
    yield "conv_transpose1d", filled(up1)(signal)
    yield "conv_transpose2d", filled(nn.ConvTranspose2d(4, 3, (3, 2), stride=(2, 1)))(image)
    yield "conv_transpose3d", filled(nn.ConvTranspose3d(4, 2, 2, dilation=2))(volume)
    yield "max_pool1d", nn.MaxPool1d(3)(signal)
    yield "avg_pool1d", nn.AvgPool1d(3, stride=2, padding=1)(signal)
    yield "max_pool2d", nn.MaxPool2d((3, 2), stride=2, padding=1)(image)
    yield "avg_pool2d", nn.AvgPool2d((3, 2))(image)
    yield "max_pool3d", nn.MaxPool3d(2)(volume)
    yield "avg_pool3d", nn.AvgPool3d(2, stride=1)(volume)
    yield "rope", nn.RoPE(6, base=500.0, scale=0.5)(x, offset=3)
    yield "rope_traditional", nn.RoPE(8, traditional=True)(x)
    yield "rnn", filled(nn.RNN(8, 4))(x, fill((2, 4), 51))
    yield "gru", filled(nn.GRU(8, 4))(x)
    yield "gru_state", filled(nn.GRU(8, 4))(x, fill((2, 4), 51))
    hidden, cell = filled(nn.LSTM(8, 4))(x, fill((2, 4), 51), fill((2, 4), 52))
    yield "lstm_hidden", hidden
    yield "lstm_cell", cell
    memory = fill((2, 5, 8), 51)
    mask = mx.where(mx.arange(3)[:, None] < mx.arange(3)[None], -1e9, 0.0)
    yield "attention", filled(nn.MultiHeadAttention(8, 2))(x, memory, memory)
    yield "causal", filled(nn.MultiHeadAttention(8, 2))(x, x, x, mask)
    encoder = nn.TransformerEncoder(2, 8, 2, mlp_dims=6)
    yield "encoder", filled(encoder)(x, mask)
    last = nn.TransformerEncoderLayer(8, 2, mlp_dims=6, norm_first=False, activation=nn.gelu)
    yield "encoder_norm_last", filled(last)(x, None)
    decoder = nn.TransformerDecoder(2, 8, 2, mlp_dims=6)
    yield "decoder", filled(decoder)(x, memory, mask, None)
    last = nn.TransformerDecoderLayer(8, 2, mlp_dims=6, norm_first=False)
    yield "decoder_norm_last", filled(last)(x, memory, None, None)


def schedules():
    warmup = optim.linear_schedule(0.0, 1.0, 10)
    table = {
        "exponential": optim.exponential_decay(0.5, 0.9),
        "step": optim.step_decay(0.5, 0.5, 4),
        "cosine": optim.cosine_decay(0.5, 12, 0.1),
        "linear": warmup,
        "join": optim.join_schedules([warmup, optim.cosine_decay(1.0, 10)], [10]),
    }
    for name, schedule in table.items():
        values = [mx.array(schedule(mx.array(step))) for step in range(25)]
        yield f"schedule_{name}", mx.stack([v.astype(mx.float32) for v in values])


def optimizers():
    rate = 0.1
    table = {
        "sgd": optim.SGD(rate),
        "sgd_momentum": optim.SGD(rate, momentum=0.9, weight_decay=0.1, dampening=0.2),
        "sgd_nesterov": optim.SGD(rate, momentum=0.9, nesterov=True),
        "rmsprop": optim.RMSprop(rate),
        "adagrad": optim.Adagrad(rate),
        "adadelta": optim.AdaDelta(rate),
        "adam": optim.Adam(rate),
        "adam_corrected": optim.Adam(rate, betas=[0.8, 0.99], bias_correction=True),
        "adamw": optim.AdamW(rate, weight_decay=0.1),
        "adamax": optim.Adamax(rate),
        "lion": optim.Lion(rate, weight_decay=0.1),
        "adafactor": optim.Adafactor(),
        "adafactor_fixed": optim.Adafactor(
            rate, beta_1=0.9, weight_decay=0.1, relative_step=False, scale_parameter=False
        ),
        "adafactor_warmup": optim.Adafactor(warmup_init=True, clip_threshold=0.5),
        "muon": optim.Muon(rate),
        "muon_plain": optim.Muon(rate, weight_decay=0.0, nesterov=False, ns_steps=3),
        "scheduled": optim.Adam(optim.cosine_decay(rate, 4)),
    }
    shapes = {"bias": (3,), "conv": (5, 2, 2, 3), "weight": (4, 3)}
    for name, optimizer in table.items():
        parameters = {key: fill(shape, i, 0.5) for i, (key, shape) in enumerate(shapes.items())}
        for step in range(3):
            gradients = {key: fill(p.shape, 10 + step) for key, p in parameters.items()}
            parameters = optimizer.apply_gradients(gradients, parameters)
        yield f"optimizer_{name}", mx.concatenate([parameters[key].flatten() for key in shapes])
    gradients = {key: fill(shape, 10) for key, shape in shapes.items()}
    clipped, norm = optim.clip_grad_norm(gradients, 1.5)
    yield "clip_grad_norm", mx.concatenate([clipped["weight"].flatten(), norm[None]])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    golden = {}
    for cases in (activations, losses, layers, schedules, optimizers):
        for name, value in cases():
            golden[name] = [float(f"{v:.8g}") for v in np.array(value).flatten().tolist()]
    with open(sys.argv[1], "w") as out:
        lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in golden.items()]
        out.write("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(golden)} cases, mlx {mx.__version__}")


if __name__ == "__main__":
    main()
