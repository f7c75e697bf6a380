.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest

.PHONY: help demo setup test test-fast test-s3 lint format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## set up and fine-tune a tiny policy from start to report
	@$(BIN)/rapid demo

setup: $(READY) ## make the virtual environment .venv with locked versions

test: lint ## lint, types and every test but those of test-s3
	$(PYTEST) -m "not rgw"

test-fast: $(READY) ## only the tests that take seconds
	$(PYTEST) -m "not rgw and not slow"

test-s3: $(READY) ## the tests that need a real S3 server (Ceph RGW)
	$(PYTEST) -m rgw

lint: $(READY) ## ruff (lint, format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy components pipelines

format: $(READY) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment, caches and the demo's policy; runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .rapid *.egg-info

$(READY): requirements/lock.txt requirements/install pyproject.toml
	@requirements/install $(VENV)
	@touch $@
