# Two commands matter: `make demo` and `make test`. Each does all the set-up it needs and may be run again at any time.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-check test lint bench clean

PYTHON ?= python3
SEED ?= 1
TESTS ?= tests
VENV := .venv
STAMP := $(VENV)/.installed
COLLATERAL := $(VENV)/bin/collateral

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## virtual environment with everything in it (.venv)

$(STAMP): pyproject.toml constraints.txt
	@echo "setup: creating $(VENV) with $$($(PYTHON) --version) and installing the packages of pyproject.toml (about 2 minutes)" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup: Python 3.11 or newer is needed; name one with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "setup: this Python lacks ensurepip; on Debian install the package python3-venv, or name another with PYTHON=..."; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)
	@echo "setup: done, the command is $(COLLATERAL)" >&2

demo: setup ## sample world, services, detectors, live fleet and dashboard; Ctrl-C stops all
	@$(COLLATERAL) demo up --seed $(SEED)

demo-check: setup ## the demo unattended on free ports, verified, as JSON; SEED=n gives another world
	@$(COLLATERAL) demo check --seed $(SEED) --json

# --dist load: where a worker dies its test fails and the rest goes on (dealt out by group, xdist waits for ever)
test: setup ## all tests, on a real TimescaleDB, Mosquitto and Chromium
	@echo "test: running $(TESTS) on real servers (first run fetches them)"
	@$(VENV)/bin/python -m pytest $(TESTS) -n 2 --dist load -q

lint: setup ## ruff and mypy strict
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

bench: setup ## the measured comparisons, small
	@$(COLLATERAL) bench ingest --quick --json

clean: ## removes .venv and stops and removes private services and sample worlds (.runtime)
	@for state in .runtime/services.json .runtime/*/services.json; do \
	  if [ -x $(COLLATERAL) ] && [ -f $$state ]; then COLLATERAL_RUNTIME=$$(dirname $$state) $(COLLATERAL) services down; fi; \
	done
	@rm -rf $(VENV) .runtime .mypy_cache .ruff_cache .pytest_cache build *.egg-info
