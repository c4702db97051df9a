# Each target does its own set-up: a fresh clone needs python3 (3.11 or later) and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/turnwise
LAB := $(CACHE)/vllm-0.32.0
DYNAMO := $(CACHE)/bench-dynamo-1.6.1
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq
UV_VERSION := 0.13.8
UV_COMPILE := build/lock/bin/uv --no-config pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes
BY_DEFAULT := not vllm and not clients and not page and not phoenix and not tools

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check fuzz clients test-clients test-page deploy-tools phoenix test-phoenix tool-servers test-tools vllm test-vllm bench-setup bench-proxy bench-index \
	bench-knowledge bench-programs bench-tools bench-smoke docs format lock lock-clients lock-phoenix lock-tools lock-bench clean

help: ## Say what each target does.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/runtime ## Run three simulated replicas behind the proxy: KV-aware placement against round-robin.
	@$(BIN)/turnwise demo --seeds 5

test: $(VENV)/dev ## Run every test that needs no real engine.
	@$(BIN)/pytest -q -m "$(BY_DEFAULT)"

check: $(VENV)/dev ## Lint, check types and import rules, and try the wheel outside the tree.
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/mypy bench/proxy
	@$(BIN)/mypy bench/smoke
	@$(BIN)/mypy bench/index
	@$(BIN)/mypy bench/knowledge
	@$(BIN)/mypy bench/programs
	@$(BIN)/mypy bench/tools
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q tests/wheel

fuzz: $(VENV)/dev ## Throw 10,000 malformed and oddly split requests at the wire, and 20,000 answers with tool calls in each API at what dispatches them (TURNWISE_FUZZ_CASES sets the first number).
	@TURNWISE_FUZZ_CASES=$${TURNWISE_FUZZ_CASES:-10000} $(BIN)/pytest -q -m "$(BY_DEFAULT)" -k fuzz tests

clients: ## Install the agent clients that test-clients runs into the cache folder (850 MB, once).
	@PYTHON=$(PYTHON) tests/clients/install.sh $(CACHE) >/dev/null

test-clients: $(VENV)/dev ## Run real SDKs, agent frameworks and a coding CLI through the proxy, each through a tool loop.
	@folder=$$(PYTHON=$(PYTHON) tests/clients/install.sh $(CACHE)) && \
		CLIENTS_FOLDER=$$folder $(BIN)/pytest -q -m clients tests/clients

test-page: $(VENV)/dev ## Look at the web page in a real Chromium, fetched once into the cache folder where none is installed (400 MB).
	@program=$$(tests/page/install.sh $(CACHE)) && TURNWISE_CHROMIUM=$$program $(BIN)/pytest -q -m page tests/page

deploy-tools: ## Fetch docker-compose and promtool, by which the tests check deploy/, into the cache folder (65 MB, once).
	@tests/docs/tools.sh $(CACHE) >/dev/null

phoenix: ## Install Arize Phoenix, which test-phoenix sends traces to, into the cache folder (860 MB, once).
	@PYTHON=$(PYTHON) tests/phoenix/install.sh $(CACHE) >/dev/null

test-phoenix: $(VENV)/dev ## Send the traces of real programs to Arize Phoenix, over HTTP and gRPC, and ask it what it understood.
	@folder=$$(PYTHON=$(PYTHON) tests/phoenix/install.sh $(CACHE)) && \
		PHOENIX_FOLDER=$$folder $(BIN)/pytest -q -m phoenix tests/phoenix

tool-servers: ## Install real MCP servers and the conformance harness, with its Node, into the cache folder (380 MB, once).
	@PYTHON=$(PYTHON) tests/tools/install.sh $(CACHE) >/dev/null

test-tools: $(VENV)/dev ## Call real MCP servers through the tools gateway, and hold it to the conformance harness of MCP.
	@folder=$$(PYTHON=$(PYTHON) tests/tools/install.sh $(CACHE)) && \
		TOOL_SERVERS_FOLDER=$$folder $(BIN)/pytest -q -m tools tests/tools

vllm: $(LAB)/model/config.json ## Install vLLM for CPU into the cache folder and make the model for test-vllm (3.5 GB, once).

test-vllm: $(VENV)/dev vllm ## Run the engine contract, the placement bars and the bars of what is known on two real vLLM replicas.
	@$(BIN)/python -m tests.vllm.fleet $(LAB) -- $(BIN)/pytest -q -m vllm tests/contract tests/vllm/test_real_fleet.py
	@TURNWISE_VLLM_LAB=$(LAB) $(BIN)/pytest -q -m vllm tests/vllm/test_pressure.py tests/vllm/test_traces.py

bench-setup: $(VENV)/dev ## Install the peers that bench-proxy measures into the cache folder (450 MB, once), and compile its generator.
	@$(BIN)/python -m bench.proxy --cache $(CACHE) setup

bench-proxy: $(VENV)/dev ## Measure the proxy beside its peers (about 15 minutes; ARGS="--quick" takes half a minute).
	@$(BIN)/python -m bench.proxy --cache $(CACHE) run $(or $(ARGS),--docs)

bench-index: $(VENV)/dev $(DYNAMO)/installed ## Measure the block index beside Dynamo's radix tree and renew its part of docs/benchmarks.md (three minutes).
	@PYTHONPATH=$(DYNAMO) $(BIN)/python -m bench.index --json build/bench-index.json --paper docs/benchmarks.md

bench-knowledge: $(VENV)/dev ## Measure what knowing costs and how right it is, beside msgspec, and renew its part of docs/benchmarks.md (two minutes).
	@$(BIN)/python -m bench.knowledge --cache $(CACHE) --json build/bench-knowledge.json --paper docs/benchmarks.md

bench-programs: $(VENV)/dev ## Measure what it costs to know programs and to trace them, and renew its part of docs/benchmarks.md (five minutes).
	@$(BIN)/python -m bench.programs --cache $(CACHE) $(or $(ARGS),--json build/bench-programs.json --paper docs/benchmarks.md)

bench-tools: $(VENV)/dev ## Measure what the tools gateway costs and what it saves, and renew its part of docs/benchmarks.md.
	@folder=$$(PYTHON=$(PYTHON) tests/tools/install.sh $(CACHE)) && \
		TOOL_SERVERS_FOLDER=$$folder $(BIN)/python -m bench.tools --cache $(CACHE) \
		$(or $(ARGS),--json build/bench-tools.json --paper docs/benchmarks.md)

bench-smoke: $(VENV)/dev ## Count calls, allocations and copies a request, and fail above twice the baseline (fifteen seconds).
	@$(BIN)/python -m bench.smoke

docs: $(VENV)/dev ## Regenerate the tables in docs/ that are made from code.
	@$(BIN)/python tests/docs/tables.py

format: $(VENV)/dev ## Format the code and mend what ruff can mend.
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

lock: build/lock/bin/uv ## Resolve pyproject.toml again and write both lock files, with hashes.
	@for lock in requirements.lock "requirements-dev.lock --group dev --constraints requirements.lock"; do \
		$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | \
		$(UV_COMPILE) --custom-compile-command "make lock" pyproject.toml - --output-file $$lock; done

lock-clients: build/lock/bin/uv ## Resolve the agent clients of test-clients again and write their lock files, with hashes.
	@for set in requirements requirements-litellm; do \
		$(UV_COMPILE) --custom-compile-command "make lock-clients" tests/clients/$$set.in --output-file tests/clients/$$set.txt; done
	@npm install --prefix tests/clients --package-lock-only --omit-lockfile-registry-resolved=true --ignore-scripts \
		--no-audit --no-fund --loglevel=error >/dev/null

lock-phoenix: build/lock/bin/uv ## Resolve Arize Phoenix again and write its lock file, with hashes.
	@$(UV_COMPILE) --custom-compile-command "make lock-phoenix" tests/phoenix/requirements.in --output-file tests/phoenix/requirements.txt

lock-tools: build/lock/bin/uv ## Resolve the tool servers of test-tools again and write their lock files, with hashes.
	@$(UV_COMPILE) --custom-compile-command "make lock-tools" tests/tools/requirements.in --output-file tests/tools/requirements.txt
	@$(UV_COMPILE) --no-deps --custom-compile-command "make lock-tools" tests/tools/sdist.in --output-file tests/tools/sdist.txt
	@npm install --prefix tests/tools --package-lock-only --omit-lockfile-registry-resolved=true --ignore-scripts \
		--no-audit --no-fund --loglevel=error >/dev/null

lock-bench: build/lock/bin/uv ## Pin what the benchmarks measure beside Turnwise again, with hashes.
	@for peer in sglang-router smg vllm-router; do \
		$(UV_COMPILE) --custom-compile-command "make lock-bench" bench/proxy/locks/$$peer.in --output-file bench/proxy/locks/$$peer.txt; done
	@$(UV_COMPILE) --no-deps --custom-compile-command "make lock-bench" bench/index/dynamo.in --output-file bench/index/dynamo.txt

clean: ## Remove the virtual environment and what builds and tools left here.
	@rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Set-up. A stamp is written last, so that an interrupted installation is simply done again.

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Turnwise needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/runtime: $(VENV)/created requirements.lock pyproject.toml
	@echo "installing what Turnwise runs with"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev: $(VENV)/runtime requirements-dev.lock
	@echo "installing what it is tested with"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

build/lock/bin/uv:
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip --disable-pip-version-check install -qq uv==$(UV_VERSION)

$(DYNAMO)/installed: bench/index/dynamo.txt | $(VENV)/created
	@echo "installing Dynamo's index into $(DYNAMO) (once; 240 MB)"
	@rm -rf $(DYNAMO)
	@$(PIP) --no-deps --require-hashes --target $(DYNAMO) -r bench/index/dynamo.txt
	@touch $@

$(LAB)/venv/installed-from: tests/vllm/install.sh tests/vllm/requirements.txt
	@PYTHON=$(PYTHON) tests/vllm/install.sh $(LAB)
	@touch $@

$(LAB)/model/config.json: tests/vllm/make_model.py tests/vllm/chat_template.jinja | $(LAB)/venv/installed-from
	@echo "making the model in $(LAB)/model (once; about ten seconds)"
	@$(LAB)/venv/bin/python tests/vllm/make_model.py $(LAB)/model
