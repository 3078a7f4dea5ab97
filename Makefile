# `make demo` shows fsserver at work, `make test` runs every test; both set up first. Everything lives in .venv.
PYTHON_DIRS = fsserver tests benchmarks scripts
BIN = .venv/bin
# How many processes run the tests: one more than processors, since many tests wait. JOBS=0 runs them in one, for a debugger.
# One that has nothing left to do takes over from the others: some tests take half a minute.
JOBS ?= $(shell expr $$(nproc) + 1)
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
PYTEST_ARGS ?=
COMPAT_ARGS ?=

.PHONY: help setup fmt lint types test test-fast coverage bench compat conformance demo lock clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup:  ## make .venv; does nothing when it is current
	@scripts/setup.sh

fmt: setup  ## format the code
	@$(BIN)/ruff check --quiet --fix-only $(PYTHON_DIRS)
	@$(BIN)/ruff format --quiet $(PYTHON_DIRS)

lint: setup  ## style and likely mistakes
	@$(BIN)/ruff check --quiet $(PYTHON_DIRS)
	@$(BIN)/ruff format --quiet --check $(PYTHON_DIRS)

types: setup  ## mypy --strict
	@$(BIN)/mypy --no-error-summary

test: setup  ## every test
	@$(PYTEST) $(PYTEST_ARGS)

test-fast: setup  ## the tests that take less than two seconds each
	@$(PYTEST) -m "not slow" $(PYTEST_ARGS)

coverage: setup  ## every test, and which lines and branches the test process ran
	@$(PYTEST) --cov --cov-report=term $(PYTEST_ARGS)

bench: setup  ## fsserver against the reference server, its commands and searches against others, its log, its service; needs node, bwrap, wrk
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.commands
	@$(BIN)/python -m benchmarks.audit
	@$(BIN)/python -m benchmarks.search
	@$(BIN)/python -m benchmarks.http

compat: setup  ## ask the reference server again and compare; COMPAT_ARGS=--record keeps its answers; needs node
	@$(BIN)/python -m tests.compat.live $(COMPAT_ARGS)

conformance: setup  ## MCP's own conformance suite against the HTTP transport; needs node
	@$(BIN)/python -m tests.conformance.live

demo: setup  ## a client, the real server, a temporary workspace
	@$(BIN)/python scripts/demo.py

lock:  ## write constraints.txt anew, with the .venv that there is; needs the network
	@scripts/lock.sh

clean:  ## remove .venv, caches and what was built
	@rm -rf .venv build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find fsserver tests benchmarks scripts -name __pycache__ -prune -exec rm -rf {} +
