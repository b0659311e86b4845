# Everything that is made here goes into .venv; `make help` lists the targets.

BIN := .venv/bin
STAMP := .venv/installed
UPGRADE ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test coverage check prove prove-quick storm storm-quick fuzz lock bench usb-kernel clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile

demo: $(STAMP) ## two simulated devices, two therapies, one refusal; ends by itself within a minute
	@$(BIN)/python -m hil.demo

test: $(STAMP) ## the whole test suite
	@$(BIN)/python -m pytest -n auto

coverage: $(STAMP) ## every branch of the judge is walked by a test
	@$(BIN)/python -m pytest -q -n auto tests/safety --cov

check: $(STAMP) ## style, types, import contracts, requirements and their tests, lock file
	@echo "ruff:      lint"
	@$(BIN)/ruff check --quiet .
	@echo "ruff:      format"
	@$(BIN)/ruff format --quiet --check .
	@echo "mypy:      types"
	@$(BIN)/mypy
	@echo "contracts: imports"
	@$(BIN)/lint-imports --no-logo
	@echo "trace:     requirements"
	@$(BIN)/python -m tests.traceability
	@echo "trace:     safety case"
	@$(BIN)/python -m tests.safety_case --check
	@sh .ci/check_lock.sh

prove: $(STAMP) ## proves the judge: under 15 minutes on 2 cores
	@$(BIN)/python -m tests.proof --write && $(BIN)/python -m tests.safety_case

prove-quick: $(STAMP) ## the same methods in their short form, two minutes
	@$(BIN)/python -m tests.proof --quick

fuzz: $(STAMP) ## fuzzes everything that reads bytes: over 10 million executions, about a quarter of an hour
	@$(BIN)/python -m tests.fuzz && $(BIN)/python -m tests.fuzz --twins

storm: $(STAMP) ## 100,000 simulated storms, then the bugs of the road that measure them; hours
	@$(BIN)/neuraxis storm --device pump --seeds 1..90000
	@$(BIN)/neuraxis storm --device stimulator --seeds 1..10000
	@$(BIN)/python -m tests.storm.hunt --write && $(BIN)/python -m tests.safety_case

storm-quick: $(STAMP) ## 2,000 simulated storms, as CI runs them; some two minutes
	@$(BIN)/neuraxis storm --device pump --seeds 1..1800
	@$(BIN)/neuraxis storm --device stimulator --seeds 1..200

lock: $(STAMP) ## compile requirements.lock again; UPGRADE=1 takes the newest versions
	@sh .ci/check_lock.sh --write $(if $(UPGRADE),--upgrade)

bench: $(STAMP) ## speed, as ratios against the bare libraries
	@$(BIN)/python -m benchmarks

usb-kernel: $(STAMP) ## the main job through a real kernel's USB, in qemu: two minutes; needs Debian's apt
	@$(BIN)/python -m tests.usb_kernel

clean: ## remove .venv, caches and build products
	rm -rf .venv .usb-kernel build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Made once, and again when the lock or the project changes. PYTHON=python3.N picks the Python.
$(STAMP): requirements.lock pyproject.toml
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		python=$$(sh .ci/find_python.sh) || exit 1; \
		echo "neuraxis: making .venv with $$($$python --version); once, it takes a minute or two"; \
		$$python -m venv --clear .venv; \
	fi
	@echo "neuraxis: installing requirements.lock (every file checked against its hash)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r requirements.lock
	@echo "neuraxis: installing neuraxis itself"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
	@touch $@
