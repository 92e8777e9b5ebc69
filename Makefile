# The commands of the project. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-gateway demo-datasets demo-cascade test check up airflow down status logs bench faults

# What was compiled stays compiled: most of a short run is imports.
unexport PYTHONDONTWRITEBYTECODE
# uv from the PATH, else the one `make setup` put into .local/tools. Looked up when used.
export UV = $(shell command -v uv || echo $(CURDIR)/.local/tools/bin/uv)
RUN = $(UV) run --no-sync
STACK = $(RUN) python -m infra.local
QUICK = -n 2 --dist loadfile -p no:schemathesis tests $(addprefix --ignore=tests/,fuzz conformance integration faults)
SEED ?= 1
MINUTES ?= 8

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: Java, Postgres, Kafka's jars, both Python environments
	@infra/local/setup.sh

demo: setup ## real recorded traffic through Kafka, Flink and the ledger, and its cost table
	@$(RUN) python -m infra.demo

demo-gateway: setup ## the OpenAI SDK through the gateway, one upstream degrading, every cent in the ledger
	@$(RUN) python -m infra.demo_gateway

demo-cascade: setup ## the same questions twice, all to the frontier model and through the cascade
	@$(RUN) python -m infra.demo_cascade

demo-datasets: ## recorded traffic, captured with consent, becomes datasets and a drift report, over Airflow's API
	@infra/local/setup.sh airflow
	@$(RUN) python -m infra.demo_datasets

test: check ## everything that proves it, with real servers
	@$(RUN) pytest -m slow $(QUICK)
	@infra/local/setup.sh airflow
	@$(RUN) pytest -n 2 --dist loadscope tests/fuzz tests/conformance tests/faults tests/integration

check: setup ## format, lint, types, quick tests; under a minute
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) pytest -m 'not slow' $(QUICK)

up: setup ## start the stack; resumes after a crash
	@$(STACK) up

airflow: ## the stack with Airflow: datasets, drift, operations
	@infra/local/setup.sh airflow
	@$(STACK) up
	@$(STACK) airflow

down: ## stop the stack
	@$(STACK) down

status: ## one line a program
	@$(STACK) status

logs: ## the end of every log; NAME=kafka for one
	@$(STACK) logs $(NAME)

bench: setup ## measure the published figures
	@$(RUN) python -m benchmarks

faults: setup ## faults under load and the proof: SEED=1 MINUTES=8; REPORT=1 writes docs/faults.md
	@$(RUN) python -m tests.faults --seed $(SEED) --minutes $(MINUTES) $(if $(REPORT),--report)
