# Every goal runs in $(VENV), which is made when it is missing and remade when pyproject.toml or constraints.txt change.
#
#   make train ARGS="--seed 7"    train the example model; ARGS go to `braid train`
#   make test                     lint and all tests; PYTEST_ARGS go to pytest; BRAID_LONG=1 searches longer
#   make test-cluster             runs on a Ray of three nodes on this machine, of which some die (the extra `cluster`)
#   make bench NAME=messages      one benchmark, one JSON object a line
#   make sglang-cpu               SGLang for the CPU, in an environment of its own (2.8 GB); make test-sglang uses it
#   make fidelity DATA=FOLDER     predictions against recorded and published runs, into docs/fidelity.md
#   make lint | format | env | clean
#
# PYTHON is the interpreter that makes the environment (3.11 or newer). PIP_ARGS go to pip, e.g. the address of an index
# that has torch for the CPU alone: the pinned version is the same, and pip takes whichever build it is shown.

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
ARGS ?=
PYTEST_ARGS ?=
DATA ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
RAY_STAMP := $(VENV)/.made-ray
SGLANG_VENV ?= .venv-sglang
SGLANG_STAMP := $(SGLANG_VENV)/.made

.PHONY: env train test test-cluster sglang-cpu test-sglang bench lint format clean fidelity
.DEFAULT_GOAL := test

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[develop,testing]'
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[tasks]' || \
		echo "no reasoning-gym here (its pycosat is compiled: a C compiler is needed); tasks named gym are not available"
	@touch $@

train: $(STAMP)
	$(BIN)/braid train $(ARGS)

test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)

sglang-cpu: $(SGLANG_STAMP)

$(SGLANG_STAMP): constraints-sglang.txt
	$(PYTHON) -m venv $(SGLANG_VENV)
	@{ $(SGLANG_VENV)/bin/python -m pip install --quiet $(PIP_ARGS) torch==2.13.0 && \
		$(SGLANG_VENV)/bin/python -m pip install --quiet $(PIP_ARGS) --no-deps -r constraints-sglang.txt; } || \
		{ echo "error: SGLang cannot be installed here (pip's reason is above); without it: .ci/run test test-cluster" >&2; \
		exit 2; }
	@touch $@

test-sglang: $(STAMP) $(SGLANG_STAMP)
	BRAID_SGLANG_PYTHON=$(SGLANG_VENV)/bin/python $(BIN)/python -m pytest tests/sglang $(PYTEST_ARGS)

test-cluster: $(RAY_STAMP)
	$(BIN)/python -m pytest -s tests/cluster $(PYTEST_ARGS)

$(RAY_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[cluster]' || \
		{ echo "error: Ray cannot be installed here (pip's reason is above); without it: .ci/run test test-sglang" >&2; exit 2; }
	@touch $@

bench: $(STAMP)
	@$(BIN)/python -m tests.bench $(NAME)

fidelity: $(STAMP)
	@$(BIN)/braid fidelity $(DATA)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
