# The face of this repository. `make help` lists the targets; CI runs .ci/run, which calls them.
SHELL := /bin/sh
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup test pages-test unit lint types demo demo-real e2e e2e-small first-live bench config-fuzz format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv from the hashed lock file; nothing to do when it is current

$(READY): requirements-dev.lock pyproject.toml scripts/setup
	@scripts/setup
	@touch $@

test: setup lint types ## everything that needs no third-party system: lint, types, all tests
	$(BIN)/python -m pytest -n 4 --dist worksteal -m "not real" tests

pages-test: setup ## every page and action in headless Chromium, under axe-core (needs Chromium and npm)
	$(BIN)/python -m pytest -m real -rs tests/real/test_pages_in_chromium.py tests/real/test_rehearsal_page_in_chromium.py

unit: setup ## the fast tests only: no database, no process
	$(BIN)/python -m pytest tests/unit tests/house

lint: setup ## style, formatting, import walls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: setup ## mypy --strict
	$(BIN)/mypy

demo: setup ## shops, an ERP and Tidegate between them, a naive script beside it, and keys to break things
	$(BIN)/python -m demo

demo-real: setup ## the same with two real Vendure shops and a real Tryton (needs Node >= 20)
	$(BIN)/python -m demo.real

e2e: setup ## end to end against real systems, with kills (needs Node >= 20)
	$(BIN)/python -m e2e

e2e-small: setup ## the part of it that CI runs
	$(BIN)/python -m e2e --small

config-fuzz: setup ## ten thousand configuration files, changed at random: read, or refused with a line
	TIDEGATE_FUZZ=10000 $(BIN)/python -m pytest -q -s -p no:xdist --timeout=1800 tests/property/test_config_fuzz.py

first-live: setup ## from init to everything live beside a shop and an ERP with a past (needs Node >= 20)
	$(BIN)/python -m e2e.first_live

bench: setup ## how fast are intake and apply on this machine
	$(BIN)/python -m bench.intake
	$(BIN)/python -m bench.apply

format: setup ## let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## compile the lock files anew (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock

clean: ## remove what the targets made, the virtual environment too
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
