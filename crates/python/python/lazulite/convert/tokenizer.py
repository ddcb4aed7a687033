"""From GGUF's vocabulary to `tokenizer.json` and `tokenizer_config.json`."""

#: Kinds of tokens in `tokenizer.ggml.token_type`.
CONTROL, USER_DEFINED = 3, 4

#: What SentencePiece writes for a space.
SPACE = "\u2581"


def _words(digits):
    """The pattern of words, runs of at most `digits` digits, punctuation and white space."""
    contraction = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    word, number = r"[^\r\n\p{L}\p{N}]?\p{L}+", rf"\p{{N}}{{1,{digits}}}"
    rest = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    return "|".join([contraction, word, number, rest])


def _bytes(cut):
    """The step that writes bytes in GPT-2's alphabet, and cuts by its pattern if `cut`."""
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {**step, "use_regex": cut}


def _cut_words(digits):
    pattern = {"Regex": _words(digits)}
    return [{"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}]


_DIGITS = [{"type": "Digits", "individual_digits": True}]

#: How text is cut before pairs are merged, by `tokenizer.ggml.pre`; see `crates/cli/src/text`.
RULES = {
    "gpt2": [_bytes(True)],
    "digits": [*_DIGITS, _bytes(True)],
    "words of 3 digits": [*_cut_words(3), _bytes(False)],
    "words of 1 digit": [*_cut_words(1), _bytes(False)],
}
PRE = {
    **dict.fromkeys(("gpt-2", "gpt2", "phi-2", "jina-es", "jina-de", "roberta-bpe"), "gpt2"),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), "digits"),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "dbrx", "smaug-bpe"), "words of 3 digits"),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"), "words of 1 digit"),
}


def tokenizer_json(metadata):
    """The contents of `tokenizer.json`."""
    model = metadata.need("tokenizer.ggml.model")
    tokens = metadata.need("tokenizer.ggml.tokens")
    if model == "gpt2":
        parts = _by_merges(metadata, tokens)
    elif model == "llama":
        parts = _by_scores(metadata, tokens)
    else:
        raise ValueError(f"convert: the tokenizer {model!r} is not known")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(metadata, tokens),
        "post_processor": _marks(metadata, tokens, default=model == "llama"),
        **parts,
    }


def _by_merges(metadata, tokens):
    """Byte pair encoding over bytes, by a list of merges."""
    pre = metadata.get("tokenizer.ggml.pre", "gpt2")
    if pre not in PRE:
        raise ValueError(f"convert: the rules of splitting {pre!r} are not known")
    steps = RULES[PRE[pre]]
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "decoder": _bytes(True),
        "model": _model(
            tokens,
            [merge.split(" ", 1) for merge in metadata.need("tokenizer.ggml.merges")],
            ignore_merges=PRE[pre] == "words of 3 digits",
        ),
    }


def _by_scores(metadata, tokens):
    """Byte pair encoding over characters, by the scores of the tokens."""
    scores = metadata.need("tokenizer.ggml.scores")
    ids = {token: i for i, token in enumerate(tokens)}
    merges = []
    for token in tokens:
        cuts = ((token[:i], token[i:]) for i in range(1, len(token)))
        merges += [(ids[token], a, b) for a, b in cuts if a in ids and b in ids]
    # The best result first; of one result, the cut of the earliest tokens.
    merges.sort(key=lambda m: (-scores[m[0]], ids[m[1]], ids[m[2]]))
    prefix = metadata.get("tokenizer.ggml.add_space_prefix", True)
    normalizers = [{"type": "Prepend", "prepend": SPACE}] if prefix else []
    normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    decoders = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = _token(metadata, tokens, "unknown")
    return {
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": _model(
            tokens,
            [[a, b] for _, a, b in merges],
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        ),
    }


def _model(tokens, merges, **settings):
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    vocab = {token: i for i, token in enumerate(tokens)}
    return {**model, **settings, "vocab": vocab, "merges": merges}


def _token(metadata, tokens, name):
    """The text of the token that the metadata name, or None."""
    i = metadata.get(f"tokenizer.ggml.{name}_token_id")
    return tokens[i] if i is not None and i < len(tokens) else None


def _added(metadata, tokens):
    """The tokens that are found in a text before it is cut."""
    kinds = metadata.get("tokenizer.ggml.token_type", [])
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": i, "content": token, **plain, "special": kind == CONTROL}
        for i, (token, kind) in enumerate(zip(tokens, kinds, strict=False))
        if kind in (CONTROL, USER_DEFINED)
    ]


def _flag(metadata, name, default):
    return metadata.get(f"tokenizer.ggml.add_{name}_token", default)


def _marks(metadata, tokens, default):
    """The step that puts the tokens that begin and end a text around it."""
    bos = _token(metadata, tokens, "bos") if _flag(metadata, "bos", default) else None
    eos = _token(metadata, tokens, "eos") if _flag(metadata, "eos", False) else None
    if bos is None and eos is None:
        return None

    def around(text, kind):
        parts = [bos and {"SpecialToken": {"id": bos, "type_id": kind}}, text]
        parts.append(eos and {"SpecialToken": {"id": eos, "type_id": kind}})
        return [part for part in parts if part]

    first = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    marks = {
        mark: {"id": mark, "ids": [tokens.index(mark)], "tokens": [mark]}
        for mark in dict.fromkeys((bos, eos))
        if mark
    }
    return {
        "type": "TemplateProcessing",
        "single": around(first, 0),
        "pair": around(first, 0) + around(second, 1),
        "special_tokens": marks,
    }


def tokenizer_config(metadata):
    """The contents of `tokenizer_config.json`, the chat template included."""
    tokens = metadata.need("tokenizer.ggml.tokens")
    name = metadata.need("general.architecture")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata.get(f"{name}.context_length", 2048),
        "bos_token": _token(metadata, tokens, "bos"),
        "eos_token": _token(metadata, tokens, "eos"),
        "unk_token": _token(metadata, tokens, "unknown"),
        "pad_token": _token(metadata, tokens, "padding"),
        "chat_template": metadata.get("tokenizer.chat_template"),
    }
    return {key: value for key, value in settings.items() if value is not None}
