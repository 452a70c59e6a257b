# On a fresh machine with Python 3.11 and make: `make demo` runs the demo, `make test` the tests.
# Both set up what they need in .venv, once, and again when pyproject.toml or constraints.txt change.

ifndef PYTHON
PYTHON := $(shell python3.11 -c 'print("python3.11")' 2>/dev/null || echo python3)
endif
# Tests that run side by side; each works with one thread.
JOBS ?= 2
# What is installed beside calque; `dev,parity` also brings the large libraries that tests/parity compares with.
EXTRAS ?= dev

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Modules are compiled when they are first imported: most of a large library never is.
INSTALL := -m pip install -q --no-compile --disable-pip-version-check -c '$(CURDIR)/constraints.txt'
TORCH := $(shell grep '^torch==' constraints.txt)
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

.DEFAULT_GOAL := help
.PHONY: help install parity demo test test-slow test-long test-all lint types wheel clean

help:
	@echo 'make demo       train English-Chinese on built-in phrases, in minutes'
	@echo 'make test       run the tests, all but the slow ones'
	@echo 'make test-all   run all tests but those of `make test-long`'
	@echo 'make test-long  run tests that train for minutes each'
	@echo 'make lint       ruff and import-linter'
	@echo 'make types      mypy, strict'
	@echo 'make wheel      build the wheel and start it in a fresh environment'
	@echo 'make install    only set up .venv'
	@echo 'make clean      remove what these commands made; runs/ stays'

install: $(STAMP)

# torch comes first and by its exact version: whatever depends on it then takes the build that is there.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) $(TORCH)
	$(BIN)/python $(INSTALL) -e '.[$(EXTRAS)]'
	@touch $(STAMP)

# What `make install EXTRAS=dev,parity` brings, into an environment that is there.
parity: $(STAMP)
	$(BIN)/python $(INSTALL) -e '.[parity]'

demo: $(STAMP)
	$(BIN)/calque demo

# Tests of one file stay in one process, so that what a file trains for its tests is trained once.
test: $(STAMP)
	$(PYTEST) --dist loadfile --durations=15 -m 'not slow'

# One of these takes as long as half of the others: whoever is free takes what is left.
test-slow: $(STAMP)
	$(PYTEST) --dist worksteal --durations=40 -m 'slow and not long'

test-long: $(STAMP)
	$(PYTEST) --dist worksteal -m long

test-all: test test-slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(STAMP)
	$(BIN)/mypy

# The commands run outside the repository, so that nothing but the wheel can answer.
wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . > /dev/null
	@set -e; place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; \
	$(BIN)/python -m venv "$$place/env"; \
	"$$place/env/bin/python" $(INSTALL) $(TORCH); \
	"$$place/env/bin/python" $(INSTALL) '$(CURDIR)'/dist/*.whl; \
	cd "$$place"; \
	for number in $$(seq 60); do printf 'page %s\tSeite %s\n' $$number $$number; done > pairs.tsv; \
	env/bin/calque --version; \
	env/bin/calque check pairs.tsv; \
	env/bin/python -c 'from calque.demo.phrasebook import count_pairs; print(f"the demo can make {count_pairs():,} pairs")'

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
