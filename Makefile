PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCHMARKS ?= ../shared/benchmarks
READY := $(VENV)/.ready

.PHONY: help demo test bench acceptance lint golden soundness docs docs-test examples clean

help:
	@echo "make demo        distil a network that ships in examples/, with proof"
	@echo "make test        lint, types and the whole test suite"
	@echo "make lint        ruff and mypy"
	@echo "make bench       the benchmark suites under BENCHMARKS=$(BENCHMARKS)"
	@echo "make acceptance  loads every network under BENCHMARKS"
	@echo "make soundness   the long adversarial suite (about an hour)"
	@echo "make golden      rewrites the expected programs in tests/golden"
	@echo "make docs        the documentation site, into build/docs"
	@echo "make docs-test   runs every command and code block of the documentation"
	@echo "make examples    trains the networks in examples/ again"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0" -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,onnx,huggingface,flax,haiku,equinox,sklearn]" -c constraints.txt
	@touch $(READY)

demo: $(READY)
	@$(BIN)/distill compile examples/modular_addition --out build/modular_addition
	@$(BIN)/distill check build/modular_addition

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2

golden: $(READY)
	$(BIN)/python -m pytest tests/golden --update-golden

soundness: $(READY)
	$(BIN)/python -m tests.soundness

bench: $(READY)
	@if [ -d "$(BENCHMARKS)" ]; then \
	  $(BIN)/python -m benchmarks suite $(BENCHMARKS) --time 300 --jobs 2 --json build/bench.json; \
	else echo "skipped: there is no folder $(BENCHMARKS); set BENCHMARKS=..."; fi

acceptance: $(READY)
	@if [ -d "$(BENCHMARKS)" ]; then \
	  $(BIN)/python -m benchmarks.acceptance $(BENCHMARKS); \
	else echo "skipped: there is no folder $(BENCHMARKS); set BENCHMARKS=..."; fi

docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]" -c constraints.txt
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q docs build/docs
	@echo "wrote   build/docs/index.html"

docs-test: $(READY)
	$(BIN)/python -m pytest tests/docs --slow-docs

examples: $(READY)
	$(BIN)/python examples/train.py

clean:
	rm -rf build dist *.egg-info $(VENV)
