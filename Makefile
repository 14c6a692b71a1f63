# `make help` lists what there is.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ALLEN := .venv-allen
ALLEN_PIP := $(ALLEN)/bin/python -m pip --disable-pip-version-check --quiet
# The AllenSDK and the benchmarks' peers are pinned for Python 3.11 alone.
PYTHON_3_11 ?= $(PYTHON)
PYTHONS ?= 3.12 3.13
BENCH := .venv-bench
# Those that need neither torch nor Ray.
FAST_TESTS := tests/core tests/sessions tests/shards tests/measures tests/study/file/test_spec.py tests/study/file/test_ablation.py tests/study/records tests/study/ranking/test_pareto.py tests/study/ranking/test_rank.py tests/study/ranking/test_statistics.py tests/study/ranking/test_intervals.py
SAMPLE := 2000
TEST_PROCESSES ?= 2
ONE_THREAD := PYTHONPATH=platform RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1

.PHONY: help interpreter interpreter-3.11 setup exporter cluster study dev chromium test test-cluster soak audit docs test-pythons test-wheel mutants fuzz lint types imports bench bench-table bench-told bench-data bench-search bench-student bench-gpu bench-commands bench-statistics profile clean
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

interpreter:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "$(PYTHON) must be Python 3.11, 3.12 or 3.13; install one, or run make PYTHON=/its/path"; exit 2; }

interpreter-3.11:
	@$(PYTHON_3_11) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "$(PYTHON_3_11) must be Python 3.11 for this target; run make PYTHON_3_11=/its/path"; exit 2; }

$(VENV)/.setup: requirements.lock pyproject.toml | interpreter
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -r requirements.lock
	$(PIP) install --no-deps -e .
	touch $@

$(VENV)/.dev: $(VENV)/.setup requirements-dev.lock
	$(PIP) install -r requirements-dev.lock
	touch $@

# Always a fresh one: pynwb keeps what it has read of older versions in site-packages.
$(ALLEN)/.setup: platform/allen_export/requirements.lock platform/allen_export/pyproject.toml | interpreter-3.11
	rm -rf $(ALLEN)
	$(PYTHON_3_11) -m venv $(ALLEN)
	$(ALLEN_PIP) install -r platform/allen_export/requirements.lock
	$(ALLEN_PIP) install --no-deps --no-build-isolation -e platform/allen_export
	touch $@

$(ALLEN)/.dev: $(ALLEN)/.setup platform/allen_export/requirements-dev.lock
	$(ALLEN_PIP) install -r platform/allen_export/requirements-dev.lock
	touch $@

$(VENV)/.mutants: $(VENV)/.dev requirements-mutants.lock
	$(PIP) install -r requirements-mutants.lock
	touch $@

# Boto3 needs an older python-dateutil than the lock has, so that this comes second; Ray's autoscaler
# must find boto3 where it runs itself.
$(VENV)/.cluster: $(VENV)/.setup requirements-cluster.lock
	$(PIP) install -r requirements-cluster.lock
	touch $@

setup: $(VENV)/.setup ## build .venv from exact pins

exporter: $(ALLEN)/.setup ## build .venv-allen, in which the AllenSDK reads sessions

cluster: $(VENV)/.cluster ## add what `ray up` and `rheobase submit` need to .venv; every node of a cluster runs it

# Boto3 and moto want other packages than the lock; what runs studies stays in .venv.
$(VENV)/.cluster-dev: $(VENV)/.cluster $(VENV)/.dev requirements-cluster-dev.lock
	$(PIP) install -r requirements-cluster-dev.lock
	touch $@

test-cluster: ## a cluster over loopback, one of three nodes with faults, cluster.yaml in a simulated account (20 minutes; root, sshd, nc, rsync)
	$(MAKE) VENV=.venv-cluster .venv-cluster/.cluster-dev
	RHEOBASE_TEST_CLUSTER=1 RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1 .venv-cluster/bin/pytest -q -n 0 -s tests/cluster

study: $(VENV)/.setup ## run studies/quickstart.toml to a ranking and a report; goes on if interrupted
	$(BIN)/rheobase run studies/quickstart.toml --resume

dev: $(VENV)/.dev ## add the test tools to .venv

# The page and TensorBoard are looked at in a browser; without one those tests are skipped, and say so.
chromium:
	@command -v chromium > /dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } || echo "no chromium: tests in a browser are skipped"

test: $(VENV)/.dev $(ALLEN)/.dev | chromium ## run the tests, in TEST_PROCESSES side by side
	RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(TEST_PROCESSES) --dist worksteal

mutants: $(VENV)/.mutants ## break measures, shards and ranking line by line; tell what share the tests notice
	$(BIN)/python tests/mutants.py --sample $(SAMPLE)

fuzz: $(VENV)/.dev ## read 5,000 changed inputs of every kind; tell what was neither read nor refused in one line
	$(ONE_THREAD) PYTHONPATH=platform:tests $(BIN)/python -m fuzz.run --inputs 5000 --seconds 1500
	@if $(BIN)/python -c "import atheris" 2> /dev/null; then for target in study npz; do $(ONE_THREAD) PYTHONPATH=platform:tests $(BIN)/python -m fuzz.by_coverage $$target --seconds 60 || exit 1; done; else echo "no atheris: nothing is changed by what it reaches"; fi

# Without torch and Ray, which are gigabytes.
.venv-%/.dev: requirements.lock requirements-dev.lock pyproject.toml
	python$* -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check --quiet install -c requirements.lock -c requirements-dev.lock -e . pytest pytest-timeout hypothesis pynwb scikit-learn
	touch $@

test-pythons: $(PYTHONS:%=test-on-%) ## run the fast tests on other Pythons, those of PYTHONS

test-on-%: .venv-%/.dev
	.venv-$*/bin/python -m pytest -q $(FAST_TESTS)

test-wheel: | interpreter ## the wheel alone, in an empty environment and folder, from `new` to a network on new spikes (PYTHON=python3.13 for another)
	RAY_USAGE_STATS_ENABLED=0 $(PYTHON) tests/wheel.py --python $(PYTHON)

DOCS := .venv-docs
$(DOCS)/.setup: requirements-docs.lock | interpreter
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	touch $@

docs: $(DOCS)/.setup ## the pages as a site in .site; a broken link or a warning ends it
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build -f website/mkdocs.yml

lint: $(VENV)/.dev ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.dev ## the direction of imports
	PYTHONPATH=platform $(BIN)/lint-imports

$(BENCH)/.setup: benchmarks/requirements.lock | interpreter-3.11
	$(PYTHON_3_11) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	touch $@

REMAKE := PYTHONPATH=platform $(BIN)/python -W ignore benchmarks/remake.py
bench: $(VENV)/.setup $(BENCH)/.setup ## every table of benchmarks/ whose code has changed, most of a night; goes on where it was stopped
	$(REMAKE)

bench-table: $(VENV)/.setup $(BENCH)/.setup ## the table TABLE of benchmarks/tables.toml
	$(REMAKE) $(TABLE)

bench-told: $(VENV)/.setup ## write what each table says of its commit, after a change of code
	$(REMAKE) --told

bench-data: $(VENV)/.setup $(BENCH)/.setup ## sessions, shards, loader and plan beside their peers; writes benchmarks/data.md
	$(REMAKE) data loader plan
	@cat benchmarks/data.md

bench-search: $(VENV)/.setup ## search beside stock OptunaSearch and random draws, most of an hour; writes benchmarks/search.md
	$(REMAKE) search
	@cat benchmarks/search.md

bench-student: $(VENV)/.setup $(BENCH)/.setup ## a step of packed students beside snntorch, norse and spikingjelly; writes benchmarks/student.md
	$(REMAKE) student
	@cat benchmarks/student.md

bench-gpu: $(VENV)/.dev ## students and teacher on a GPU beside snntorch and the CPU; writes benchmarks/gpu.md
	$(ONE_THREAD) $(BIN)/python -W ignore benchmarks/gpu.py > benchmarks/.gpu.md
	mv benchmarks/.gpu.md benchmarks/gpu.md
	@cat benchmarks/gpu.md

bench-commands: $(VENV)/.setup ## CPU time and memory of commands that train nothing; writes benchmarks/commands.md
	$(REMAKE) commands
	@cat benchmarks/commands.md

bench-statistics: $(VENV)/.setup ## intervals, p-values, whole ablations and nulls beside the truth, on simulated studies; writes benchmarks/statistics.md and null_validity.md (half an hour)
	$(REMAKE) intervals effects nulls
	@cat benchmarks/statistics.md benchmarks/null_validity.md

profile: $(VENV)/.setup ## where the CPU time of an ingest, a teacher, a trial and a report goes, after make study; profiles in runs/profiles
	$(ONE_THREAD) $(BIN)/python -W ignore benchmarks/profiles.py runs/studies/quickstart --keep runs/profiles

soak: $(VENV)/.setup ## 500 trials on three nodes of this machine under random kills, half an hour
	$(ONE_THREAD) OPENBLAS_NUM_THREADS=1 $(BIN)/python -W ignore benchmarks/soak.py

# The one check that asks a package index about the packages in use; where none answers it fails.
AUDIT := .venv-audit
$(AUDIT)/.setup: | interpreter
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install pip-audit==2.10.1
	touch $@

LOCKS := requirements.lock requirements-cluster.lock platform/allen_export/requirements.lock
audit: $(AUDIT)/.setup ## known weaknesses of the locked packages (needs a package index that tells them)
	$(AUDIT)/bin/pip-audit --no-deps --disable-pip --progress-spinner off $(LOCKS:%=-r %)

clean: ## remove environments and caches, keep runs/
	rm -rf $(VENV) $(ALLEN) $(BENCH) $(DOCS) $(AUDIT) .site .venv-cluster .venv-3.* .mutants .pytest_cache .mypy_cache .ruff_cache .import_linter_cache platform/*.egg-info platform/allen_export/*.egg-info
