"""Writes tiny tokenizers, and texts with their tokens as the tokenizers' own libraries see them.

pip install tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0
python make.py
"""

import io
import json
import pathlib
import random

import gguf
import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
CORPUS = (
    pathlib.Path(__file__).read_text().splitlines()
    + [
        "Hello, world! It's what they'll say: we've done 1234 things, don't SHOUT'S.",
        "  indent\ttabs\r\n\r\nand   newlines \n",
        "  na\u00efve caf\u00e9 \u00e9\u00e8\u00ea \u4f60\u597d\u4e16\u754c \U0001f600\U0001f601",
        "The quick brown fox jumps over the lazy dog. Paris is the capital of France.",
    ]
    * 3
)
CONTROLS = ["<|begin|>", "<|end|>", "<|en|>"]
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,%d}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def texts():
    rng = random.Random(0)
    alphabet = list(
        "aehlostz'EST  \t\n\r09\u00b2\u0660.,-_\u00e9\u4f60"
        "\u00a0\u3000\u0301\u02b0\u2160\u017f\U0001f600"
    ) + ["'s", "'ll", "'RE", "the", " the", "  ", "\n\n", "123", "<|end|>", "<|en", "|>", "\u2581"]
    fixed = [
        "",
        " ",
        "\n",
        "'",
        "a",
        "Hello, world!",
        " a  b   c ",
        "x1y22 333 4444",
        "caf\u00e9s\n \n\tx",
        "'s 'S s's",
        "they'll've",
        "a\r\nb\r\n\r\n  c",
        "\u0000\u0001\u007f",
        "e\u0301",
        "\U0010fffd",
        "<|begin|>hi<|end|>",
        "<<|end|>>",
        "<|end|",
        "l" * 200,
        " " * 50 + "x",
    ]
    return fixed + ["".join(rng.choices(alphabet, k=rng.randint(1, 30))) for _ in range(150)]


def write(name, add, cases, **extra):
    writer = gguf.GGUFWriter(HERE / f"{name}.gguf", "llama")
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"name": name, "cases": cases, **extra}


def byte_level(name, pre, splitter, whole_first=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole_first))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=CONTROLS,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    state = json.loads(tokenizer.to_str())
    vocabulary = sorted(state["model"]["vocab"].items(), key=lambda item: item[1])

    def add(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list([token for token, _ in vocabulary])
        writer.add_token_types([3 if token in CONTROLS else 1 for token, _ in vocabulary])
        writer.add_token_merges([" ".join(merge) for merge in state["model"]["merges"]])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)

    cases = []
    for text in texts():
        ids = tokenizer.encode(text).ids
        cases.append([text, ids])
    return write(name, add, cases)


def sentence_piece():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        vocab_size=500,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    size = processor.vocab_size()

    def kind(i):
        if processor.is_unknown(i):
            return 2
        if processor.is_control(i):
            return 3
        return 6 if processor.is_byte(i) else 1

    def add(writer):
        writer.add_tokenizer_model("llama")
        writer.add_token_list([processor.id_to_piece(i) for i in range(size)])
        writer.add_token_scores([processor.get_score(i) for i in range(size)])
        writer.add_token_types([kind(i) for i in range(size)])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)

    # The library reads U+0000 as the end, and its own space mark as a space that decodes as one.
    cases = [[t, processor.encode(t)] for t in texts() if "\0" not in t and "\u2581" not in t]
    return write("sentencepiece", add, cases)


level = pre_tokenizers.ByteLevel


def cl100k(digits):
    splitter = pre_tokenizers.Split(Regex(CL100K % digits), "isolated")
    return pre_tokenizers.Sequence([splitter, level(add_prefix_space=False, use_regex=False)])


golden = [
    byte_level("gpt2", "gpt-2", level(add_prefix_space=False)),
    byte_level(
        "smollm",
        "smollm",
        pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), level(add_prefix_space=False)]
        ),
    ),
    byte_level("llama3", "llama-bpe", cl100k(3), whole_first=True),
    byte_level("qwen2", "qwen2", cl100k(1)),
    sentence_piece(),
]
(HERE / "golden.json").write_text(json.dumps(golden, separators=(",", ":")))
