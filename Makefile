# `make help` lists what there is.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help setup study dev test lint types imports bench-search clean
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(VENV)/.setup: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 must be there as $(PYTHON); install it, or run make PYTHON=/its/path"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "$(PYTHON) must be Python 3.11; run make PYTHON=/its/path"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -r requirements.lock
	$(PIP) install --no-deps -e .
	touch $@

$(VENV)/.dev: $(VENV)/.setup requirements-dev.lock
	$(PIP) install -r requirements-dev.lock
	touch $@

setup: $(VENV)/.setup ## build .venv from exact pins

study: $(VENV)/.setup ## run studies/quickstart.toml to a ranking and a report; goes on if interrupted
	$(BIN)/rheobase run studies/quickstart.toml --resume

dev: $(VENV)/.dev ## add the test tools to .venv

test: $(VENV)/.dev ## run the tests
	RAY_USAGE_STATS_ENABLED=0 $(BIN)/pytest -q

lint: $(VENV)/.dev ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.dev ## the direction of imports
	PYTHONPATH=platform $(BIN)/lint-imports

bench-search: $(VENV)/.setup ## search beside stock OptunaSearch and random draws; most of an hour
	PYTHONPATH=platform OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0 $(BIN)/python benchmarks/search.py > benchmarks/search.partial
	mv benchmarks/search.partial benchmarks/search.md

clean: ## remove .venv and caches, keep runs/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache platform/*.egg-info
