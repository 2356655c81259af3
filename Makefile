# The commands of this checkout. A machine needs Python 3.11, git and make; the rest is
# installed into .venv at the exact versions of the two lock files.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
DEFAULT := not slow and not chaos and not service and not clients
# Tests wait for processes as often as they work; slow ones more so.
CORES  := $(shell nproc 2>/dev/null || echo 2)
WIDE   := -n $(shell expr $(CORES) + 1) --dist worksteal
WIDER  := -n $(shell expr $(CORES) + 2) --dist worksteal
# The product's own telemetry is nothing; its libraries' is switched off.
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help demo test coverage test-fast test-slow test-chaos test-services test-clients check bench bench-serving bench-tracking bench-workflows fmt docs lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

# Bytecode is compiled while installing: the first start of each process then takes a second,
# not four, also where Python is told to write no bytecode.
$(VENV)/.stamp-run: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-run requirements-dev.lock
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.stamp-run ## install, then run the whole loop on real data
	@$(BIN)/volant demo

test: $(VENV)/.stamp-dev ## install what tests need, then run the default suite
	$(BIN)/pytest $(WIDE) -m "$(DEFAULT)"

coverage: $(VENV)/.stamp-dev ## the default suite again, measured: coverage may only rise
	$(BIN)/pytest -n 2 --dist worksteal -m "$(DEFAULT)" --cov --cov-report=
	$(BIN)/python tests/coverage_ratchet.py

test-fast: $(VENV)/.stamp-dev ## unit tests only, one process, no coverage
	$(BIN)/pytest -q -x -m "$(DEFAULT)" --ignore=tests/acceptance

test-slow: $(VENV)/.stamp-dev ## crash and chaos tests: minutes
	$(BIN)/pytest $(WIDER) -m "slow and not chaos" --timeout 900

test-chaos: $(VENV)/.stamp-dev ## kill it at every crash point of workflows, codesets, searches, checkpoints
	$(BIN)/pytest $(WIDER) -m chaos --timeout 900

test-services: $(VENV)/.stamp-dev ## tests against real servers, installed where that can be done
	tests/install_services.sh
	$(BIN)/pytest -m service --timeout 300

test-clients: $(VENV)/.stamp-dev ## other people's clients and models, in environments of their own: gigabytes
	$(BIN)/pytest -m clients --timeout 1200
	VOLANT_TEST_IMAGES=1 $(BIN)/pytest -m service -k podman_pulls_the_image --timeout 300

check: $(VENV)/.stamp-dev ## format, lint, types, layers, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

bench: $(VENV)/.stamp-dev ## print the figures, as ratios to a floor in the same run
	$(BIN)/python -m benchmarks

bench-serving: $(VENV)/.stamp-dev ## serve beside other model servers, each in an environment of its own
	$(BIN)/python -m benchmarks.serving

bench-tracking: $(VENV)/.stamp-dev ## the same MLflow client against Volant and mlflow server
	$(BIN)/python -m benchmarks.tracking

bench-workflows: $(VENV)/.stamp-dev ## ten steps beside other workflow engines, each in an environment of its own
	$(BIN)/python -m benchmarks.workflows

fmt: $(VENV)/.stamp-dev ## format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.stamp-dev ## serve the documentation on this machine
	$(BIN)/mkdocs serve

lock: ## compile both lock files again
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --python-version 3.11 pyproject.toml --group dev --extra postgres -c requirements.lock -o requirements-dev.lock

clean: ## remove everything that was installed or built here
	rm -rf $(VENV) build dist site .coverage* htmlcov
