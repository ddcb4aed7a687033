"""A small transformer learns English, one character after the other, from Python's own manual.

    python examples/train_transformer.py [--steps 400] [--plot loss.png] [--sample 400]

The text is `pydoc_data.topics`, which comes with every Python: 460,000 characters. The cells (`# %%`)
run one by one in an editor that knows them. Needs tqdm, and matplotlib for the plot.
"""

# %% What to do
import argparse
from functools import partial
from pydoc_data.topics import topics

import lazulite.core as mx
import lazulite.nn as nn
import lazulite.optimizers as optim
from lazulite.utils import tree_flatten
from tqdm import tqdm

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=400)
parser.add_argument("--plot", default="loss.png", help="where the curve of the loss is saved")
parser.add_argument("--sample", type=int, default=400, help="characters to write at the end")
args = parser.parse_args()
mx.random.seed(1)

# %% The text as numbers: nine tenths to learn from, one to be tested with
text = "\n".join(topics[name] for name in sorted(topics))
letters = sorted(set(text))
codes = mx.array([letters.index(c) for c in text], mx.uint8)
cut = len(text) * 9 // 10
learn, held_out = codes[:cut], codes[cut:]

LENGTH, BATCH, WIDTH, HEADS, LAYERS = 64, 16, 128, 4, 3


def batch(codes):
    """BATCH windows of LENGTH characters at places drawn at random, and what follows each character."""
    starts = mx.random.randint(0, codes.size - LENGTH - 1, (BATCH, 1))
    windows = codes[starts + mx.arange(LENGTH + 1)]
    return windows[:, :-1], windows[:, 1:]


# %% The model: the usual decoder with rotary positions
class Block(nn.Module):
    """Attention and two layers of gelu, each behind a norm and beside a residual path."""

    def __init__(self):
        super().__init__()
        self.norms = [nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)]
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.rope = nn.RoPE(WIDTH // HEADS)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def __call__(self, x):
        heads = self.qkv(self.norms[0](x)).reshape(*x.shape[:2], 3, HEADS, -1)
        q, k, v = heads.transpose(2, 0, 3, 1, 4)
        scale = q.shape[-1] ** -0.5
        seen = mx.fast.scaled_dot_product_attention(
            self.rope(q), self.rope(k), v, scale=scale, mask="causal"
        )
        x = x + self.out(seen.transpose(0, 2, 1, 3).reshape(x.shape))
        return x + self.down(nn.gelu(self.up(self.norms[1](x))))


class Transformer(nn.Module):
    """Logits of the next character for each place: (batch, length) -> (batch, length, letters)."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(len(letters), WIDTH)
        self.blocks = [Block() for _ in range(LAYERS)]
        self.norm = nn.RMSNorm(WIDTH)

    def __call__(self, codes):
        x = self.embed(codes)
        for block in self.blocks:
            x = block(x)
        return self.embed.as_linear(self.norm(x))


model = Transformer()
mx.eval(model.parameters())
count = sum(p.size for _, p in tree_flatten(model.parameters()))
print(f"{len(text):,} characters, {len(letters)} of them different; {count:,} parameters")


# %% Training: one compiled step, a cosine schedule
def loss_of(codes, targets):
    return nn.losses.cross_entropy(model(codes), targets, reduction="mean")


schedule = optim.join_schedules(
    [optim.linear_schedule(0, 3e-3, 20), optim.cosine_decay(3e-3, args.steps)], [20]
)
optimizer = optim.AdamW(learning_rate=schedule, weight_decay=0.01)
state = [model.state, optimizer.state]


@partial(mx.compile, inputs=state, outputs=state)
def step(codes, targets):
    loss, gradients = nn.value_and_grad(model, loss_of)(codes, targets)
    gradients, _ = optim.clip_grad_norm(gradients, 1.0)
    optimizer.update(model, gradients)
    return loss


losses, tests = [], []
with tqdm(range(args.steps), unit="step") as bar:
    for i in bar:
        loss = step(*batch(learn))
        mx.eval(loss, state)
        losses.append(loss.item())
        if i % 20 == 0 or i == args.steps - 1:
            tests.append((i, loss_of(*batch(held_out)).item()))
            bar.set_postfix(loss=f"{losses[-1]:.2f}", held_out=f"{tests[-1][1]:.2f}")

# %% What it writes: a character is drawn, appended, and the last LENGTH are read again
written = [letters.index(c) for c in "The "]
for _ in tqdm(range(args.sample), unit="character"):
    logits = model(mx.array([written[-LENGTH:]]))[0, -1]
    written.append(mx.random.categorical(logits / 0.7).item())
print("".join(letters[c] for c in written))

# %% The curve
import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.plot(losses, linewidth=0.8, label="learning")
axes.plot(*zip(*tests), "o-", markersize=3, label="held out")
axes.set(xlabel="step", ylabel="cross-entropy of a character (nats)", title="A small transformer")
axes.legend()
figure.savefig(args.plot, dpi=120)
print(f"{args.plot}: from {losses[0]:.2f} to {losses[-1]:.2f}")
