# Every target works on a fresh clone with nothing but Python 3.11+ and this file.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DATA   ?= data
PORT   ?= 8000
UV     := uv==0.13.8
TYPED  := app tools clients/python/metatune $(wildcard benchmarks/*.py benchmarks/quality/peers/*.py benchmarks/transfer/*.py migrations) \
	$(filter-out %/core.py, $(wildcard benchmarks/quality/*.py))

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup test test-fast lint format run demo bench-demo bench-throughput bench-throughput-gp lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with everything that any role and the tests need

# Only what the lock names, and only if its hash agrees; then our two packages from this checkout.
$(VENV)/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metatune needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@touch $@

$(READY): $(VENV)/.locked pyproject.toml clients/python/pyproject.toml
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index -e . -e clients/python
	$(BIN)/python -m compileall -q app migrations clients/python/metatune # as pip does: no start waits for the compiler
	@touch $@

test: $(READY)  ## run every test, three at a time on two cores: many wait for disks and servers
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal $(ARGS)

test-fast: $(READY)  ## run the tests that take no more than a few seconds each
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

lint: $(READY)  ## check style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(TYPED)

format: $(READY)  ## put imports and layout in order
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

run: $(READY)  ## serve on http://127.0.0.1:8000 (PORT=...) with a SQLite file in data/
	@mkdir -p $(DATA)
	$(BIN)/metatune-server serve --host 127.0.0.1 --port $(PORT) --database sqlite:///$(DATA)/metatune.db

demo: $(READY)  ## tune a support vector machine on handwritten digits, then leave the server running
	$(BIN)/python -m benchmarks.demo

bench-demo: $(READY)  ## the demo over many seeds: tuned against defaults and random search, and with memory against without
	$(BIN)/python -m benchmarks.demo_seeds
	$(BIN)/python -m benchmarks.demo_memory

bench-recovery: $(READY)  ## how soon a server that was killed under load is ready again: KILLS=30
	$(BIN)/python -m benchmarks.recovery --kills $(or $(KILLS),30)

bench-throughput: $(READY)  ## how many asks and tells a second the server answers
	$(BIN)/python -m benchmarks.throughput

bench-throughput-gp: $(READY) .venv-peers/optuna/.ready  ## the same with a Gaussian process and 1,000 trials, beside Optuna's storage
	$(BIN)/python -m benchmarks.throughput --algorithm gp --trials 1000 --core 0

# One resolution, three files: the others are the parts of the first that an API process and a worker need.
lock:  ## pin every dependency again
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet $(UV)
	build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--all-extras pyproject.toml clients/python/pyproject.toml --output-file requirements.lock
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--constraint requirements.lock pyproject.toml --output-file requirements-api.lock
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --extra worker \
		--constraint requirements.lock pyproject.toml --output-file requirements-worker.lock

.PHONY: sbom
sbom:  ## list what an API process is made of, from the lock, as build/sbom.json (CycloneDX)
	@mkdir -p build
	$(PYTHON) tools/sbom.py requirements-api.lock > build/sbom.json

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: ledger bench-tell-latency bench-ask-latency
KILLS ?= 200

ledger: $(READY)  ## kill servers and databases under load (KILLS=200 each), and look whether anything is lost
	$(BIN)/python -m tests.ledger.chaos --calm --acts $(KILLS) --folder build/ledger

.PHONY: chaos
ACTS ?= 12
TELLS ?= 0

chaos: $(READY)  ## the same with a slow and cut network and sleeping workers (ACTS=12 on each database; goes on if interrupted)
	$(BIN)/python -m tests.ledger.chaos --acts $(ACTS) --tells $(TELLS) --folder build/chaos

.PHONY: retries
N ?= 5000

retries: $(READY)  ## spoil and send again N=5000 calls of every POST, on both databases, and count double effects
	$(BIN)/python -m tests.ledger.retries --kind sqlite --n $(N) --folder build/retries
	$(BIN)/python -m tests.ledger.retries --kind postgresql --n $(N) --folder build/retries

.PHONY: client-survival
client-survival: $(READY)  ## 500 trials from four clients: servers and clients killed, the network cut (ARGS="--seed 1")
	$(BIN)/python -m tests.clients.survival run $(ARGS)

bench-tell-latency: $(READY)  ## how long a tell takes while suggestions for 32 askers are being computed
	$(BIN)/python -m benchmarks.tell_latency

bench-ask-latency: $(READY)  ## how long an ask takes with 1,000 trials, computed ahead and when asked
	$(BIN)/python -m benchmarks.ask_latency

.PHONY: attack
attack: $(READY)  ## what somebody sends who means harm: tried, hits, and the memory that it took
	$(BIN)/python -m tests.fuzz.attack

.PHONY: fuzz state-machine
CASES ?= 20000
STEPS ?= 20000

fuzz: $(READY)  ## about CASES=20000 calls made from the OpenAPI document, new ones every time
	METATUNE_CASES=$(CASES) $(BIN)/python -m pytest tests/fuzz/test_document.py

state-machine: $(READY)  ## about STEPS=20000 steps of studies beside their model, new ones every time
	METATUNE_STEPS=$(STEPS) $(BIN)/python -m pytest tests/state_machine

.PHONY: kills bench-nas

kills: $(READY)  ## kill workers twenty times in one search, on each database, and look whether anything is lost
	METATUNE_KILLS=20 $(BIN)/python -m pytest tests/worker/test_kills.py

bench-nas: .venv-peers/nas/.ready  ## architecture search on the tables of NAS-Bench-201: SEEDS=3 (goes on if interrupted)
	.venv-peers/nas/bin/python -m benchmarks.nas --seeds $(SEEDS) $(ARGS)

.PHONY: histories
HISTORIES ?= 10000

histories: $(READY)  ## whether suggestions are finite, legal and new after each of HISTORIES=10000 odd histories
	METATUNE_HISTORIES=$(HISTORIES) $(BIN)/python -m pytest tests/search/test_any_history.py

# Peers exclude one another, so each has an environment of its own, and so have the problems.
.PHONY: peers bench-quality bench-report bench-latency bench-parallel
PEER   ?= problems optuna
PEERS  ?= metatune random sobol
GROUPS ?=
SPLITS ?= development held-out
SEEDS  ?= 3
EVALS  ?= 50
BATCH  ?= 1

peers: $(PEER:%=.venv-peers/%/.ready)  ## environments for comparisons: PEER="problems optuna ax hebo smac vizier"

.venv-peers/%/.ready: benchmarks/quality/peers/%.txt
	$(PYTHON) -m venv .venv-peers/$*
	.venv-peers/$*/bin/python -m pip install --quiet -r $<
	@if [ -f $(<:.txt=.no-deps.txt) ]; then .venv-peers/$*/bin/python -m pip install --quiet --no-deps -r $(<:.txt=.no-deps.txt); fi
	@touch $@

bench-quality: $(READY) .venv-peers/problems/.ready  ## suggestions beside peers': PEERS="metatune optuna-tpe" GROUPS=bbob5,ml SEEDS=3 EVALS=50
	$(BIN)/python -m benchmarks.quality.run --peers "$(PEERS)" --groups "$(GROUPS)" --splits "$(SPLITS)" \
		--seeds $(SEEDS) --evals $(EVALS) --batch $(BATCH) $(ARGS)
	$(BIN)/python -m benchmarks.quality.report --evals $(EVALS)

bench-report: $(READY)  ## put the tables of the runs there are into docs/benchmarks.md: EVALS=50
	$(BIN)/python -m benchmarks.quality.report --evals $(EVALS) --write

bench-latency: $(READY) .venv-peers/optuna/.ready  ## CPU ms of an ask and tell by the length of the history, beside Optuna
	$(BIN)/python -m benchmarks.latency $(ARGS)

bench-parallel: $(READY) .venv-peers/problems/.ready  ## sixteen pending trials against one after another: SEEDS=3 EVALS=50
	$(BIN)/python -m benchmarks.parallel --seeds $(SEEDS) --evals $(EVALS) $(ARGS)

.PHONY: bench-transfer
METHODS   ?= metatune
SCENARIOS ?= cold good half-wrong all-wrong scarce partial
PART      ?= all

bench-transfer: $(READY) .venv-peers/optuna/.ready  ## what past studies are worth, beside Optuna: SCENARIOS="cold good" PART=held-out SEEDS=3 EVALS=50 GP=1
	$(BIN)/python -m benchmarks.transfer.run --methods $(METHODS) --scenarios $(SCENARIOS) --part $(PART) --seeds $(SEEDS) --evals $(EVALS) $(ARGS)
	.venv-peers/optuna/bin/python -m benchmarks.transfer.run --methods optuna-tpe $(if $(GP),optuna-gp) --scenarios cold --part $(PART) --seeds $(SEEDS) --evals $(EVALS) $(ARGS)
	.venv-peers/optuna/bin/python -m benchmarks.transfer.run --methods optuna-tpe-5 --scenarios good --part $(PART) --seeds $(SEEDS) --evals $(EVALS) $(ARGS)
	$(BIN)/python -m benchmarks.transfer.report --part $(PART) --evals $(EVALS)

.PHONY: bench-memory
bench-memory: $(READY) .venv-peers/optuna/.ready  ## CPU ms of an ask with 15 past studies, among 15 and among 10,000 stored
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.memory_latency $(ARGS)
