# The commands that people and CI run. PYTHON picks the interpreter, VENV its place.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
PRISM = $(VENV)/bin/prism
BEAM = v2.77.0
VEGA = 3.2.1

.PHONY: airflow core docs faults properties pipelines kills lowest soak chromium node-clients help install demo flights test bench bench-quick lint format clean

help:
	@echo "make demo     100,000 events into a local Mixpanel emulator, within 60 requests an hour"
	@echo "make test     lint, types and all tests"
	@echo "make flights  3,000,000 real events, sent twice, stored once"
	@echo "make lint     ruff, mypy and the layers of imports"
	@echo "make airflow  the example DAG in a real Airflow"
	@echo "make docs     the documentation as a site, in build/site"
	@echo "make bench    speed and memory against others, into benchmarks/RESULTS.md"
	@echo "make bench-quick  whether it got slower than recorded"
	@echo "make install  the virtual environment in $(VENV)"

install: $(STAMP)

$(STAMP): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m pipelines.demo

data/flights-3m.parquet:
	mkdir -p data
	cd data && npm pack --silent vega-datasets@$(VEGA)
	tar -xzf data/vega-datasets-$(VEGA).tgz -C data --strip-components=2 package/data/flights-3m.parquet
	rm data/vega-datasets-$(VEGA).tgz

flights: $(STAMP) data/flights-3m.parquet
	$(BIN)/python -m pipelines.flights data/flights-3m.parquet

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Prism is Beam's portable runner for one machine; the tests run on it as well.
$(PRISM): $(STAMP)
	GOBIN=$(abspath $(VENV))/bin go install github.com/apache/beam/sdks/v2/go/cmd/prism@$(BEAM)

# Mixpanel's library for Node, one of the clients that check the emulator; and Azure's storage emulator.
NODE_CLIENTS = tests/clients/node/node_modules/.package-lock.json
$(NODE_CLIENTS): tests/clients/node/package-lock.json
	npm ci --prefix tests/clients/node --no-audit --no-fund --ignore-scripts --loglevel=error
	touch $@

node-clients: $(NODE_CLIENTS)

# A real browser for the emulator's page. Set SUDO= if you do not need sudo.
SUDO ?= $(shell [ "$$(id -u)" = 0 ] || echo sudo)
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  ($(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends chromium)

test: lint $(PRISM) $(NODE_CLIENTS) chromium
	$(BIN)/python -m pytest -n 2

# The core on another interpreter: make core PYTHON=python3.13 VENV=.venv-3.13
core: $(STAMP)
	$(BIN)/python -m pytest -q tests/settings tests/api tests/batch tests/encode tests/send tests/checkpoint \
	  tests/stages tests/contract tests/write/test_write.py

bench: $(STAMP) $(PRISM)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.quota

# Whether it got slower: ratios to a loop without Beam, on three inputs, in under three minutes.
bench-quick: $(STAMP)
	$(BIN)/python -m benchmarks.quick

# More of what the tests do in small: thousands of schedules of faults, kills, a long run.
faults: $(STAMP)
	$(BIN)/python -m tests.fault_schedules --seeds 2000
	MIXPANEL_SINK_PIPELINE_SCHEDULES=200 $(BIN)/python -m pytest -q tests/write/test_faults.py -k whole_pipeline

pipelines: $(STAMP) $(PRISM)
	SEEDS=0:1000 $(BIN)/python -m pytest -q -n 2 tests/runners/test_any_pipeline.py

# The properties of the encoders and of the proof, with many more examples.
properties: $(STAMP)
	MIXPANEL_SINK_LONG=1 MIXPANEL_SINK_PROOF_EXAMPLES=20000 $(BIN)/python -m pytest -q --timeout=7200 tests/encode tests/inspect/verify tests/stages/test_any_cut.py

kills: $(STAMP)
	$(BIN)/python -m tests.jobs.kills --kills 20
	$(BIN)/python -m tests.jobs.killed_days --seeds 500 --days 30
	$(BIN)/python -m tests.jobs.days --seeds 30 --days 30

soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak --events 10000000 --fault-rate 0.05

# The oldest versions that setup.py allows, in an environment of their own.
lowest: $(STAMP)
	$(BIN)/uv venv --quiet --clear .venv-lowest
	VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install --quiet --resolution lowest-direct '.[gcp,emulator]'
	VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install --quiet pytest pytest-timeout hypothesis
	.venv-lowest/bin/python -m pytest -q tests/settings tests/api tests/batch tests/encode tests/send

# The DAG of examples/schedules in a real Airflow, which is too large for everybody's environment.
AIRFLOW = $(VENV)-airflow
$(AIRFLOW)/.installed:
	$(PYTHON) -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/python -m pip install --quiet 'apache-airflow>=3.1,<4' 'apache-airflow-providers-google>=18' \
	    apache-airflow-providers-apache-beam
	touch $@

airflow: $(AIRFLOW)/.installed
	$(AIRFLOW)/bin/python -m tests.schedules.airflow_run

# The documentation as a site, API reference included; a broken link ends the build.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) data demo-output build dist *.egg-info
