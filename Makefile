# Four commands, the same here and in CI: setup, check, test, docs. All paths are relative, so that a checkout may
# stand in a folder with blanks in its name.
.POSIX:
.PHONY: help setup check test test-fast docs bench demo lock clean
PYTHON ?= python3
PY = .venv/bin/python

help:
	@echo "make demo [ARGS='--for 20s']  the sales project, live, in a temporary folder"
	@echo "make setup      the virtual environment .venv with pinned versions"
	@echo "make check      format, lint, types"
	@echo "make test       all tests"
	@echo "make test-fast  the tests that need neither a server nor more than a second"
	@echo "make docs       write the generated pages of docs/reference"
	@echo "make bench      every benchmark; results go to bench/results"
	@echo "make lock       resolve the pinned versions again"

setup: .venv/dev.stamp

.venv/run.stamp: requirements/run.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found: $$($(PYTHON) --version). Name another: make PYTHON=python3.12"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo "setting up .venv ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: requirements/dev.lock .venv/run.stamp
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@

check: .venv/dev.stamp
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

test: .venv/dev.stamp
	$(PY) -m pytest -n 2 --dist loadgroup

test-fast: .venv/dev.stamp
	$(PY) -m pytest -n 2 -m "not slow"

docs: .venv/dev.stamp
	$(PY) -m tools.docs

bench: .venv/dev.stamp
	$(PY) -m bench

demo: .venv/run.stamp
	@$(PY) -m penstock demo $(ARGS)

lock:
	$(PYTHON) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header pyproject.toml --group build -o requirements/run.lock
	$(PYTHON) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header pyproject.toml --group dev -o requirements/dev.lock

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache
