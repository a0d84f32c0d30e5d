# Everything a checkout needs.  The set-up is kept up to date by itself: each target makes what it
# needs, and the second run starts at once.  PYTHON=... picks the interpreter, ARGS=... is passed on.

SHELL := /bin/bash
BIN := .venv/bin
VERSIONS := 5.2 5.7 6.4 7.2
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help matrix test test-versions setup native runtimes lint format docs bench sanitize wheel clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
	while IFS='|' read -r name text; do printf 'make %-14s %s\n' "$$name" "$$text"; done

matrix: native runtimes ## set everything up, run every pattern against every fix, print the matrix
	@$(BIN)/xdiag matrix $(ARGS)

test: setup ## set everything up, run the tests
	@$(BIN)/pytest -m "not slow and not versions" $(ARGS)

test-versions: setup ## run what needs the real HIP 5.7, 6.4 and 7.2, fetched into the cache
	@if $(BIN)/xdiag runtimes add $(VERSIONS); then export XDIAG_TEST_REQUIRE_VERSIONS=1; \
	else echo "test-versions: versions that could not be fetched are skipped"; fi; \
	$(BIN)/pytest -m versions $(ARGS)

setup: .venv/.dev native runtimes ## make .venv with xdiag and the tools for its development

native: .venv/.package ## build the C parts that are older than their sources
	@$(BIN)/python cffi_build/build_native.py --stale

runtimes: .venv/.package native ## fetch AMD's HIP runtime into the per-user cache
	@$(BIN)/xdiag runtimes add

lint: .venv/.dev ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

format: .venv/.dev ## let ruff write the code its way
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

docs: native ## write the pages of docs that come from the catalogues
	@$(BIN)/python docs/generate.py $(ARGS)

bench: native runtimes ## run the benchmarks
	@PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

sanitize: setup ## run the C parts' tests under the address, undefined and thread sanitizers
	@.ci/sanitize

wheel: .venv/.wheel ## build the portable wheel into dist/, check it, install it, run it
	@.ci/wheel

clean: ## remove all that was built or installed here, .venv too
	@rm -rf build dist .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@rm -rf xdiag/_native.abi3.so* xdiag/_lib

.venv/.package: pyproject.toml
	@.ci/setup

.venv/.dev: pyproject.toml
	@.ci/setup dev

.venv/.wheel: pyproject.toml
	@.ci/setup dev wheel
