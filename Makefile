# `make help` lists the targets. Everything happens in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_DOCS := $(VENV)/.installed-docs
# `make test CPUS=64` lets the tests believe in 64 CPUs; as many of them run side by side as really fit.
PRETEND = $(if $(CPUS),PYTEST_XDIST_AUTO_NUM_WORKERS=$$($(BIN)/python tests/workers.py) PRETENDED_CPUS=$(CPUS) PYTHONPATH=$(CURDIR)/tests/cpus)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup run test test-cores test-all test-lowest test-newest test-gpu coverage mutation fuzz lint bench bench-keras format docs results notebooks release-check clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing lit_cifar and its dependencies into $(VENV); this takes a minute or two."
	$(PIP_INSTALL) --editable .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(PIP_INSTALL) --editable '.[docs]'
	@touch $@

setup: $(INSTALLED)  ## Create .venv and install lit_cifar

run: setup  ## Compare the exercise's variants (a quick study, some minutes) and write a report
	$(BIN)/lit-cifar compare --quick --data.source auto

test: $(INSTALLED_DEV)  ## Run the tests
	$(PRETEND) $(BIN)/python -m pytest -n auto

test-cores:  ## Run the tests as on machines with 1, 4 and 64 CPUs
	for cpus in 1 4 64; do $(MAKE) test CPUS=$$cpus || exit 1; done

test-all: $(INSTALLED_DEV)  ## Run every test, the slow ones included
	$(BIN)/python -m pytest -n auto -m ''

test-gpu: $(INSTALLED_DEV)  ## Run the tests that need a CUDA GPU
	$(BIN)/python -m pytest -m gpu

coverage: $(INSTALLED_DEV)  ## Run the tests and print the lines and branches they leave out; at least 90 % must be covered
	$(BIN)/python -m pytest -n auto --cov --cov-report=term-missing:skip-covered

.venv-lowest/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-lowest/bin/uv pip install --quiet --compile-bytecode --python .venv-lowest --resolution lowest-direct --editable '.[ray,test]'
	@touch $@

test-lowest: PYTHON = python3.11
test-lowest: .venv-lowest/.installed  ## Run the tests with the lowest versions that pyproject.toml allows, with PYTHON=python3.11
	.venv-lowest/bin/python -m pytest -n auto

test-newest:  ## Run the tests with the newest versions there are, with PYTHON=python3
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager --editable '.[ray,test]'
	.venv-newest/bin/python -m pytest -n auto

mutation: $(INSTALLED_DEV)  ## Change uncertainty/, lr_find/curve.py and study/statistics.py in small ways: does a test fail? (hours)
	$(PIP_INSTALL) mutmut
	$(BIN)/mutmut run
	$(BIN)/mutmut results

fuzz: $(INSTALLED_DEV)  ## Damage pictures, archives and checkpoints at random and read them, for two minutes
	$(BIN)/python tests/fuzz/fuzz.py --seconds 120

lint: $(INSTALLED_DEV)  ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(INSTALLED_DEV)  ## Measure speed against references (half an hour or more; leave the machine alone)
	$(BIN)/python -m benchmarks --output benchmarks/results.md

bench-keras: $(INSTALLED_DEV)  ## The same with Keras as one more reference, installed into .venv-keras
	$(PYTHON) -m venv .venv-keras
	.venv-keras/bin/python -m pip install --quiet --disable-pip-version-check keras tensorflow
	$(BIN)/python -m benchmarks --output benchmarks/results.md

format: $(INSTALLED_DEV)  ## Mend style where that can be done automatically
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(INSTALLED_DOCS)  ## Build the documentation, the API's included, into site/
	$(BIN)/python .ci/commands_page.py
	$(BIN)/zensical build --clean --strict

results: $(INSTALLED)  ## Fill the pages from the records in docs/results/
	$(BIN)/python .ci/results_page.py

notebooks: $(INSTALLED_DEV)  ## Run the notebooks in examples/ and save what they show
	$(BIN)/python .ci/notebooks.py

release-check: $(INSTALLED_DEV)  ## Build sdist and wheel, install the wheel in a fresh environment, and use it there
	.ci/release-check $(BIN)/python

clean:  ## Remove .venv and caches; logs and data stay
	rm -rf $(VENV) .venv-keras .venv-lowest .venv-newest mutants .mypy_cache .pytest_cache .ruff_cache build *.egg-info
