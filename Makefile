.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
BENCH := .venv-bench
MANIFESTS := .venv-manifests
SITE := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

.PHONY: help demo setup bench-setup test test-fast test-s3 test-containers images image-cpu check-manifests lint format \
	clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## set up and fine-tune a tiny policy from start to report
	@$(BIN)/rapid demo

setup: $(READY) ## make the virtual environment .venv with locked versions

# Layered over .venv by a .pth file, so that TRL and what it needs never enter the project's own environment.
bench-setup: $(READY) ## make .venv-bench, with TRL, for benchmarks/update.py
	$(BIN)/python -m venv --clear --without-pip $(BENCH)
	$(BIN)/python $(SITE) > "$$($(BENCH)/bin/python $(SITE))/project.pth"
	$(BIN)/python -m pip --python $(BENCH)/bin/python install -qq --disable-pip-version-check --no-deps \
		-r requirements/benchmarks.txt

# Two at a time, by file, because files share what is slow to make; the longest files first.
test: lint ## lint, types and every test but those of test-s3 and test-containers
	$(PYTEST) -m "not rgw and not containers" -n 2 --dist loadfile --no-loadscope-reorder tests/e2e tests/integration tests/unit

test-fast: $(READY) ## only the tests that take seconds
	$(PYTEST) -m "not rgw and not containers and not slow"

test-s3: $(READY) ## the tests that need a real S3 server (Ceph RGW)
	$(PYTEST) -m rgw

test-containers: $(READY) ## the tests that need a Docker daemon: images, and the pipeline in containers
	$(PYTEST) -m containers tests/containers

# docs/kubernetes/images.md says what else can be set: base images, own indexes and certificates, the builder.
images: ## build the images of a GPU cluster: make images PREFIX=registry/team TAG=1
	PREFIX='$(PREFIX)' TAG='$(TAG)' docker/build base rollout reward train

image-cpu: ## build the one image that runs every stage without a GPU
	PREFIX='$(PREFIX)' TAG='$(TAG)' docker/build cpu

# `make test` has what is quick: schemas, pod security, what the network policies mean.
check-manifests: $(MANIFESTS)/.ready ## policy checks of k8s/ with checkov (needs kubectl)
	@mkdir -p $(MANIFESTS)/rendered
	@for overlay in gpu local; do \
		kubectl kustomize k8s/overlays/$$overlay > $(MANIFESTS)/rendered/$$overlay.yaml || exit 1; done
	$(MANIFESTS)/bin/checkov --framework kubernetes --compact --quiet --skip-download \
		--file $(MANIFESTS)/rendered/gpu.yaml $(MANIFESTS)/rendered/local.yaml

lint: $(READY) ## ruff (lint, format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy components pipelines

format: $(READY) ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment, caches and the demo's policy; runs stay
	rm -rf $(VENV) $(BENCH) $(MANIFESTS) .pytest_cache .mypy_cache .ruff_cache .hypothesis .rapid *.egg-info

$(MANIFESTS)/.ready: requirements/manifests.txt
	python3 -m venv --clear --without-pip $(MANIFESTS)
	python3 -m pip --python $(MANIFESTS)/bin/python install -qq --disable-pip-version-check --no-deps -r $<
	@touch $@

$(READY): requirements/lock.txt requirements/install pyproject.toml
	@requirements/install $(VENV)
	@touch $@
