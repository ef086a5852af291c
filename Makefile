# Everything runs in an environment of its own: a fresh machine needs Python 3.10 or newer and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test torture lint format clean

help:
	@echo "make demo     a synthetic world, a training run, scores and pictures, in five to fifteen minutes"
	@echo "make test     run the tests (makes the environment first)"
	@echo "make torture  call everything with everything that can be wrong, and count what comes of it"
	@echo "make lint     ruff and mypy"
	@echo "make format   let ruff format the code"
	@echo "make clean    remove the environment and caches"

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Resight needs Python 3.10 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[imagenet,dev]'
	$(BIN)/python -m compileall -qq -j 0 -x '/tests/' $(VENV)/lib src || true  # as pip would, but on all cores
	@touch $@

demo: install
	$(BIN)/resight demo

# One process for each core, and one thread in each: two threads of one process would wait for each other.
# A file of tests goes to one process: what its tests share is made once.
test: install
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

torture: install
	$(BIN)/python -W ignore tests/robustness

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build src/*.egg-info
