# Two commands from a fresh clone: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help setup demo play docs links test test-all test-jax soak check format lock clean

help:
	@echo "make setup   build .venv from the locked requirements"
	@echo "make demo    train, evaluate, explain, export and serve on what is in the repository"
	@echo "make play    a page on which to watch the shipped models, at http://127.0.0.1:8000/"
	@echo "make docs    build the pages of docs/ and the reference, at build/docs/index.html"
	@echo "make links   ask each address that the pages link to whether it is there (needs the network)"
	@echo "make test    lint, type check and test"
	@echo "make test-all  the same, and what takes long and few changes can break: what CI runs"
	@echo "make test-jax  the layer and the models on JAX, in a venv of its own without TensorFlow"
	@echo "make soak    try for an hour to break training, export, models and servers; SOAK=--help tells how to do it in short"
	@echo "make format  let ruff put the code in order"
	@echo "make lock    resolve pyproject.toml anew into requirements.lock"

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

test: check
	$(BIN)/python -m pytest -n 2 -m "not thorough"

test-all: check
	$(BIN)/python -m pytest -n 2

# The layer and the models in an environment that has no TensorFlow at all; other tests use it as their oracle.
JAX_VENV := .venv-jax
JAX_TESTS := tests/test_lstm.py tests/models/test_classifier.py tests/models/test_encoder.py tests/models/test_pretraining.py tests/models/test_pooled_shares.py

$(JAX_VENV)/.ready: Makefile
	$(PYTHON) -m venv $(JAX_VENV)
	$(JAX_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		"keras>=3.15,<3.16" jax "numpy>=2" "pytest>=9" "pytest-xdist>=3.8" "hypothesis>=6.150"
	touch $@

test-jax: $(JAX_VENV)/.ready
	KERAS_BACKEND=jax JAX_ENABLE_X64=1 $(JAX_VENV)/bin/python -m pytest -n 2 $(JAX_TESTS)

soak: setup
	PYTHONPATH=tests $(BIN)/python -m soak --json soak.json $(SOAK)

demo: setup
	PYTHON=$(abspath $(BIN)/python) sh apps/demo.sh

play: setup
	$(BIN)/python apps/playground.py

# Every warning is an error: a link within the pages that leads nowhere, a docstring that cannot be read.
docs: setup
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs build/docs

links: setup
	$(BIN)/sphinx-build --quiet -b linkcheck docs build/links

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --upgrade --output-file requirements.lock

clean:
	rm -rf $(VENV) $(JAX_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
