# Every task of the project; `make help` lists them. CI and the GitHub workflow call the same targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/streamify
export CARGO_TARGET_DIR ?= $(CACHE)/target
export STREAMIFY_HOME ?= $(CURDIR)/.streamify
# One virtual environment, in the checkout; the lock file decides.
export UV_FROZEN := 1
UV := $(or $(shell command -v uv),$(CACHE)/tools/uv/bin/uv)
RUN := $(UV) run --no-sync
CARGO := cargo
DENY := $(CACHE)/tools/bin/cargo-deny
DENY_VERSION := 0.20.2

# What `make prove` and `make bench` take: PART (bronze, dagster, generate, silver), SIZE (small, full), SEED.
PART ?= bronze
SIZE ?= full
SEED ?= 7

# libcurl4-openssl-dev: librdkafka includes curl's header even where it is told to do without curl.
SYSTEM_PACKAGES := build-essential cmake pkg-config libcurl4-openssl-dev libssl-dev openssl zlib1g-dev python3-venv openjdk-17-jdk-headless maven

.PHONY: help setup build demo demo-stop ui test test-rust test-python lint format wheel bench prove stack-up stack-down clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}'

setup: ## install what is missing: system packages (as root), uv and the Python environment
	@tools/setup.sh "$(CACHE)" "$(UV)" $(SYSTEM_PACKAGES)

build: setup ## build the Rust programs and the Python package (about 15 minutes the first time, on two cores)
	$(CARGO) build --release --locked --workspace --bins --examples
	$(UV) sync --quiet

demo: build ## start a broker, make events, let Dagster land them in Iceberg, show the result
	@$(RUN) python -m tools.demo

demo-stop: ## stop the broker of the demo; the tables stay
	@$(CARGO_TARGET_DIR)/release/streamify-generate broker stop

ui: build ## open the Dagster UI on http://127.0.0.1:3000 on the demo's tables
	@DAGSTER_HOME="$$($(RUN) python -m dagster_project.home)" $(RUN) dg dev --host 127.0.0.1 --port 3000

test: test-rust test-python ## all tests, against real components too

test-rust: build
	$(CARGO) test --release --locked --workspace

test-python: build
	$(RUN) pytest

lint: setup $(DENY) ## formatting, clippy, ruff, mypy, licences and bans of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	$(DENY) --locked check --hide-inclusion-graph bans licenses sources
	$(UV) sync --quiet
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy
	$(RUN) stubtest dagster_project._native

wheel: setup ## build the Python package with its extension into dist/, for Python 3.11 and later
	$(UV) build --wheel --quiet --out-dir dist

format: ## rewrite sources in the house format
	$(CARGO) fmt --all
	$(RUN) ruff format
	$(RUN) ruff check --fix

$(DENY):
	CARGO_TARGET_DIR=$(CACHE)/tools/target $(CARGO) install cargo-deny --locked --no-default-features \
		--version $(DENY_VERSION) --root $(CACHE)/tools

bench: build ## measure the worker against real Kafka, MinIO and catalog; SIZE=small is a quick look
	@$(RUN) python -m bench.run --size $(SIZE) --seed $(SEED)

prove: build ## run the correctness claims against real components and print the verdicts; PART, SIZE, SEED
	@$(RUN) python -m tools.prove $(PART) --size $(SIZE) --seed $(SEED)

stack-up: setup ## start real Kafka, MinIO and an Iceberg REST catalog without Docker
	@$(UV) sync --quiet
	@$(RUN) python -m tools.stack up

stack-down: ## stop them
	@$(RUN) python -m tools.stack down

clean: ## stop the demo's broker, remove its tables and the virtual environment; caches stay
	-@[ ! -x "$(CARGO_TARGET_DIR)/release/streamify-generate" ] || $(MAKE) --no-print-directory demo-stop
	rm -rf .streamify .venv dist
