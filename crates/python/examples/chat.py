"""Chat with a 4-bit language model through mlx-lm, unchanged, on this package.

    python examples/chat.py model.gguf [--ask "A question" ...] [--plot chat.png]

The GGUF file becomes a model folder beside it once. Without `--ask` it reads questions from the
terminal until an empty line. The cells (`# %%`) run one by one in an editor that knows them. Needs
mlx-lm and tqdm, and matplotlib for the plot.
"""

# %% What to do
import argparse
import time
from pathlib import Path

import lazulite.mlx  # noqa: F401, from here on `import mlx` finds this package
import mlx.core as mx
from lazulite.convert import convert
from mlx_lm import load, stream_generate
from mlx_lm.models.cache import make_prompt_cache
from tqdm import tqdm

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("model", type=Path, help="a GGUF file, or a folder for mlx-lm")
parser.add_argument("--ask", action="append", help="a question; again for the next one")
parser.add_argument("--max-tokens", type=int, default=200)
parser.add_argument("--plot", default="chat.png", help="where the times of the tokens are saved")
args = parser.parse_args()

# %% The model: its 4-bit weights stay as they are in the file
folder = args.model
if folder.is_file():
    folder = folder.with_suffix("")
    if not (folder / "config.json").is_file():
        print(f"converting to {folder}")
        convert(args.model, folder)
model, tokenizer = load(str(folder))
print(f"{mx.get_active_memory() / 1e6:.0f} MB of weights on {mx.default_device()}")

# %% The talk: what was said stays in the cache, so each turn reads only what is new
cache = make_prompt_cache(model)
turns = []


def answer(question):
    """Streams an answer to standard output and returns the seconds of each of its tokens."""
    messages = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    seconds, before = [], time.perf_counter()
    with tqdm(total=args.max_tokens, unit="token", leave=False) as bar:
        for part in stream_generate(
            model, tokenizer, prompt, max_tokens=args.max_tokens, prompt_cache=cache
        ):
            now = time.perf_counter()
            seconds.append(now - before)
            before = now
            bar.update()
            tqdm.write(part.text, end="")
    print(f"\n[{len(seconds)} tokens, {part.generation_tps:.0f} a second]")
    return seconds


if args.ask:
    for question in args.ask:
        print(f"> {question}")
        turns.append(answer(question))
else:
    while question := input("> ").strip():
        turns.append(answer(question))

# %% How long each token took: the first of a turn has the prompt in it
import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for number, seconds in enumerate(turns, 1):
    axes.plot([1e3 * s for s in seconds], linewidth=0.8, label=f"turn {number}")
axes.set(xlabel="token of the answer", ylabel="milliseconds", yscale="log", title=folder.name)
axes.legend()
figure.savefig(args.plot, dpi=120)
print(f"times of the tokens: {args.plot}")
