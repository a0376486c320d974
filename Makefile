# PYTHON picks the interpreter (3.11 or newer), VENV where its packages go:
#   make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TESTS := $(VENV)/.ready-tests
EXTRAS := --extra postgres --extra cockroach --extra dashboard --extra prometheus --extra otel

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults check format bench lock clean

help: ## What can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(READY) ## Install what the rest needs into $(VENV)

$(READY): requirements.lock pyproject.toml infra/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh infra/setup.sh
	@touch $@

$(READY_TESTS): $(READY)
	@sh infra/setup.sh tests
	@touch $@

demo: setup ## Seed fake companies and users into demo/companies.db, tick by tick
	@mkdir -p demo
	@$(BIN)/workermanager run examples/load_runner.py:worker \
		--database sqlite:///demo/companies.db --json demo/report.json --html demo/report.html

test: $(READY_TESTS) ## Run the tests, in two processes: most of them wait for others
	@$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile

faults: $(READY_TESTS) ## The long version of the fault tests
	@WORKERMANAGER_TEST_FAULTS=long $(BIN)/python -m pytest -q tests/faults

check: setup ## Format, lint, types, layers
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@layers=$$($(BIN)/lint-imports --no-logo) || { echo "$$layers"; exit 1; }

format: setup ## Format, and mend what the linter can mend
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

bench: setup ## Measure against the peers that are installed (pip install -r benchmarks/peers.txt)
	@$(BIN)/python -m benchmarks

lock: setup ## Pin every package again
	@$(BIN)/pip install --quiet pip-tools
	@$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-annotate --no-header \
		$(EXTRAS) --extra dev --output-file requirements.lock pyproject.toml
	@$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-annotate --no-header \
		$(EXTRAS) --constraint requirements.lock \
		--output-file infra/runtime.lock pyproject.toml

clean: ## Remove what was made
	@rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
