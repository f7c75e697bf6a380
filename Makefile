.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
BENCH := .venv-bench
MANIFESTS := .venv-manifests
UV := python3 requirements/uv.py
EXTRAS := prepare rollout-cpu reward reasoning-gym train publish tracking trainjob dev
SITE := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

.PHONY: help demo setup lock bench-setup test test-fast test-s3 test-containers images image-cpu check-manifests \
	lint format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## set up, and fine-tune a tiny policy from start to report
	@$(BIN)/rapid demo

setup: $(READY) ## make the virtual environment .venv with the locked versions

# Keeps what is locked where pyproject.toml allows it; UPGRADE=--upgrade takes the newest versions instead.
lock: $(READY) ## derive requirements/lock.txt and requirements/images from pyproject.toml
	$(UV) pip compile --quiet $(UPGRADE) --no-header --no-annotate $(EXTRAS:%=--extra %) \
		--output-file requirements/lock.txt pyproject.toml
	@$(MAKE) --no-print-directory $(READY)
	$(BIN)/python requirements/images.py

# Layered over .venv by a .pth file, so that TRL and its dependencies never enter the project's own environment.
bench-setup: $(READY) ## make .venv-bench, with TRL, for benchmarks/update.py
	$(UV) venv --quiet --clear --python $(BIN)/python $(BENCH)
	$(BIN)/python $(SITE) > "$$($(BENCH)/bin/python $(SITE))/project.pth"
	$(UV) pip sync --quiet --python $(BENCH) requirements/benchmarks.txt

# Three files at a time, because a quarter of the time is waiting; whole files, because the tests of a file share slow
# fixtures; the slowest files first.
test: lint ## lint, types, and every test except those of test-s3 and test-containers
	$(PYTEST) -m "not rgw and not containers" -n 3 --dist loadfile --no-loadscope-reorder tests/e2e tests/integration tests/unit

test-fast: $(READY) ## only the tests that take seconds
	$(PYTEST) -m "not rgw and not containers and not slow"

test-s3: $(READY) ## the tests that need a real S3 server (Ceph RGW)
	$(PYTEST) -m rgw

test-containers: $(READY) ## the tests that need a Docker daemon: images, and the pipeline in containers
	$(PYTEST) -m containers tests/containers

# docs/kubernetes/images.md lists further variables: base images, package sources, certificates, the builder.
images: ## build the images of a GPU cluster: make images PREFIX=registry/team TAG=1
	PREFIX='$(PREFIX)' TAG='$(TAG)' docker/build base rollout reward train pod

image-cpu: ## build the one image that runs every stage without a GPU
	PREFIX='$(PREFIX)' TAG='$(TAG)' docker/build cpu

# `make test` checks schemas, pod security and network policies; this adds checkov's policies.
check-manifests: $(MANIFESTS)/.ready ## policy checks of k8s/ with checkov (needs kubectl)
	@mkdir -p $(MANIFESTS)/rendered
	@for overlay in gpu local; do \
		kubectl kustomize k8s/overlays/$$overlay > $(MANIFESTS)/rendered/$$overlay.yaml || exit 1; done
	$(MANIFESTS)/bin/checkov --framework kubernetes --compact --quiet --skip-download \
		--file $(MANIFESTS)/rendered/gpu.yaml $(MANIFESTS)/rendered/local.yaml

lint: $(READY) ## check style with ruff and types with mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy components pipelines

format: $(READY) ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove environments, caches and the demo's base policy, but no runs
	rm -rf $(VENV) $(BENCH) $(MANIFESTS) .pytest_cache .mypy_cache .ruff_cache .hypothesis .rapid .uv *.egg-info

$(MANIFESTS)/.ready: requirements/manifests.txt
	$(UV) venv --quiet --clear $(MANIFESTS)
	$(UV) pip sync --quiet --python $(MANIFESTS) $<
	@touch $@

$(READY): requirements/lock.txt pyproject.toml
	@echo "installing $$(grep -c == $<) locked packages into $(VENV) (one to two minutes)"
	@$(UV) venv --quiet --allow-existing $(VENV)
	@$(UV) pip install --quiet --python $(VENV) --no-deps --exact --compile-bytecode --requirements $< --editable .
	@touch $@
