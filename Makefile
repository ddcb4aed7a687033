# `make test` and `make demo` need Rust, Python 3.11 or newer, a C compiler and make; the rest they
# fetch into .venv and .cache. The checks themselves are `cargo xtask check`.

PYTHON ?= python3
CARGO ?= cargo

MODEL := .cache/SmolLM2-135M-Instruct.Q4_1.gguf
DIGITS := .cache/digits.csv
FASHION := .cache/fashion-mnist
VENV := .venv/.stamp
BENCH_VENV := .venv-bench/.stamp

# Cargo may have been told to build elsewhere.
TARGET := $(or $(CARGO_TARGET_DIR),target)
LAZULITE := $(TARGET)/release/lazulite

.PHONY: help test demo bench venv model digits fashion clean distclean

help:
	@echo "make test     every check and test (what CI runs)"
	@echo "make demo     a language model answers a question, then the guide's table"
	@echo "make bench    interleaved with NumPy, PyTorch, JAX and MLX; ARGS='--cases square,gelu' picks"
	@echo "make venv     the Python environment alone; make model, make digits: the files the tests use"
	@echo "make fashion  Fashion-MNIST, then a network trained on it"
	@echo "make clean    removes what was built; make distclean also the environments and downloads"

test: $(VENV) $(MODEL) $(DIGITS)
	$(CARGO) xtask check

demo: $(MODEL)
	$(CARGO) build --release --package lazulite-cli
	$(LAZULITE) generate --model $(MODEL) --prompt "What is the capital of France?"
	$(LAZULITE) guide

bench: $(BENCH_VENV) $(MODEL)
	$(CARGO) xtask bench $(ARGS)

venv: $(VENV)
model: $(MODEL)
digits: $(DIGITS)
fashion: $(FASHION)
	$(CARGO) run --release --package lazulite --example convnet

$(VENV): requirements-test.txt
	$(PYTHON) scripts/make_venv.py .venv requirements-test.txt

$(BENCH_VENV): requirements-bench.txt
	$(PYTHON) scripts/make_venv.py .venv-bench requirements-bench.txt

$(MODEL): scripts/model.py | $(VENV)
	.venv/bin/python scripts/model.py $@

$(DIGITS): scripts/digits.py $(VENV)
	.venv/bin/python scripts/digits.py $@

$(FASHION): scripts/fashion_mnist.py
	$(PYTHON) scripts/fashion_mnist.py $@
	touch $@

clean:
	$(CARGO) clean

distclean: clean
	rm -rf .venv .venv-bench .cache
