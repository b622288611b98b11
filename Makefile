# `make demo` and `make test` each set up all they need on a fresh machine, then run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AGENTS ?= 50
MINUTES ?= 110
NANO := src/aios/drivers/models/nano

.PHONY: help demo test test-long test-crash test-huggingface check lint types floors install dev model clean
help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "AIOS needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed  ## the virtual environment with AIOS in it
dev: $(VENV)/.installed-dev  ## the same with the developer's tools

demo: install  ## agents sharing one model through the kernel (AGENTS=50)
	$(BIN)/aios demo --agents $(AGENTS)

test: check  ## all that CI checks

check: lint types floors  ## lint, types, floors, then every test
	$(BIN)/python -m pytest -n auto --dist loadfile

test-long: dev  ## the long versions: a thousand simulated histories, a million budget operations
	AIOS_LONG=1000 $(BIN)/python -m pytest -n auto tests/kernel/test_simulation.py
	AIOS_OPERATIONS=1000000 $(BIN)/python -m pytest tests/kernel/test_budget.py -k long

test-crash: dev  ## a thousand kill -9, ten thousand power losses, every operation on the disk failed once
	AIOS_CRASH_KILLS=1000 AIOS_CRASH_POWER_LOSSES=10000 AIOS_CRASH_FAULTS=1000000 AIOS_CRASH_BITS=1000 \
	AIOS_CRASH_PLANTED_LOSSES=500 AIOS_CRASH_PLANTED_KILLS=100 $(BIN)/python -m pytest tests/crash -p no:xdist

$(VENV)-huggingface/.installed: pyproject.toml | $(BIN)/python
	$(PYTHON) -m venv $(VENV)-huggingface
	$(VENV)-huggingface/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -e '.[dev,huggingface]'
	@touch $@

test-huggingface: $(VENV)-huggingface/.installed  ## models of Hugging Face's files with torch, beside transformers' own
	$(VENV)-huggingface/bin/python -m pytest tests/huggingface

lint: dev
	$(BIN)/ruff check src tests training examples
	$(BIN)/ruff format --check src tests training examples

types: dev
	$(BIN)/mypy

floors: dev
	$(BIN)/lint-imports

$(VENV)-training/.installed: | $(BIN)/python
	$(PYTHON) -m venv $(VENV)-training
	$(VENV)-training/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy sentencepiece safetensors msgspec
	@touch $@

model: $(VENV)-training/.installed  ## train the embedded model from nothing (MINUTES=110), then put its weights into the package
	PYTHONPATH=src $(VENV)-training/bin/python -u training/train.py training/runs/model --minutes $(MINUTES) $(if $(shell command -v g++),--compile)
	cp training/runs/model/model.safetensors training/runs/model/config.json $(NANO)/

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) $(VENV)-training $(VENV)-huggingface .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
