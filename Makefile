# What people do here. Each target makes .venv, with pinned versions, when it is missing or out of date.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
BIN := $(VENV)/bin

.PHONY: demo test slow lint types docs faults bench clean

demo: $(INSTALLED)
	$(BIN)/taskcatalog demo

test: $(INSTALLED)
	$(BIN)/pytest -n 2 -m "not slow"

slow: $(INSTALLED)
	$(BIN)/pytest -n 2 -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/zensical build --clean --strict

faults: $(INSTALLED)
	PYTHONPATH=tests $(BIN)/python -m faults

bench: $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python benchmarks/scan.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/ngrams.py
	$(BIN)/python benchmarks/lookups.py
	$(BIN)/python benchmarks/tokenize_text.py
	$(BIN)/python benchmarks/reading.py

clean:
	rm -rf $(VENV) taskcatalog-demo site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "taskcatalog needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(INSTALLED)
