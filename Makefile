# Two commands bring everything: `make dev` and `make test`. Bare `make` lists the others.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
STACK := $(PYTHON) -m kafkahub.devstack
# Checks read settings, and use nothing that they name.
MADE_UP := $(STACK) settings --
TESTS ?=

SEED ?=
RATE ?=
MINUTES ?= 60

.PHONY: help dev e2e test check lock torture torture-long bench-delivery bench-streams bench-gateway bench-portal audit sbom

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

dev: .venv/installed ## run the whole product with sample traffic; FRESH=1 wipes var/ first
	@$(STACK) dev $(if $(FRESH),--fresh)

e2e: .venv/installed ## try the pages in Debian's chromium; SCREENSHOTS=folder keeps pictures
	@$(STACK) run -- $(PYTHON) -m pytest tests/e2e

test: .venv/installed ## run all tests on PostgreSQL, Redis and Kafka of their own; TESTS=path for some
	@$(STACK) run -- $(PYTHON) -m pytest -n 3 --dist loadfile --reruns 2 $(TESTS)

check: .venv/installed ## lint, types, layers, migrations, settings of production, API description, docs
	@set -x
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	$(MADE_UP) mypy .
	$(MADE_UP) lint-imports
	$(STACK) run -- $(PYTHON) manage.py makemigrations --check --dry-run
	$(MADE_UP) $(PYTHON) manage.py check --deploy --fail-level WARNING
	$(MADE_UP) $(PYTHON) manage.py spectacular --validate --fail-on-warn --file /dev/null
	$(MADE_UP) $(PYTHON) manage.py docs --check

torture: .venv/installed ## kill, cut and stop everything under load, ~5 minutes; SEED=n repeats a run
	@$(PYTHON) -m tests.torture $(if $(SEED),--seed $(SEED)) $(if $(RATE),--per-s $(RATE))

torture-long: .venv/installed ## the same for an hour; MINUTES=n for another length
	@$(PYTHON) -m tests.torture --profile long --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(RATE),--per-s $(RATE))

bench-delivery: .venv/installed ## measure the delivery engine on real Kafka; the last line is JSON
	@$(STACK) run -- $(PYTHON) tests/bench/delivery.py

bench-portal: .venv/installed ## measure the portal's pages with 10 million attempts; the last line is JSON
	@$(STACK) run -- $(PYTHON) -m tests.bench.portal

bench-streams: .venv/installed ## measure live streams on real Kafka; needs cc; the last line is JSON
	@$(STACK) run -- $(PYTHON) -m tests.bench.streams

bench-gateway: .venv/installed ## measure REST and gRPC on real Kafka; needs cc; the last line is JSON
	@$(STACK) run -- $(PYTHON) -m tests.bench.gateway

lock: .venv/installed ## pin requirements/*.in to exact versions with hashes
	@export UV_PYTHON_DOWNLOADS=never
	for name in main dev audit; do
	  .venv/bin/uv pip compile --generate-hashes --no-emit-index-url --no-header --upgrade --quiet \
	    --python-version 3.11 "requirements/$$name.in" -o "requirements/$$name.txt"
	done

audit: .venv/audit ## ask the package index for known holes in what the product runs on
	@.venv/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/main.txt

sbom: .venv/audit ## write var/sbom.json: what the product runs on, as CycloneDX
	@mkdir -p var
	.venv/audit/bin/cyclonedx-py requirements requirements/main.txt --of JSON -o var/sbom.json
	echo "var/sbom.json"

.venv/audit: .venv/installed requirements/audit.txt
	@$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --require-hashes --only-binary :all: -r requirements/audit.txt
	touch $@

# The newest python3.11 that can make a virtual environment; on Debian, root installs what is missing.
.venv/installed: requirements/dev.txt
	@usable() { "$$1" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; }
	find() { for name in python3.11 /usr/bin/python3.11 python3; do
	  if usable "$$name"; then echo "$$name"; return; fi; done; }
	found=$$(find)
	if [ -z "$$found" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	  echo "installing python3.11-venv with apt-get …"
	  { apt-get update && apt-get install -y --no-install-recommends python3.11 python3.11-venv; } >/dev/null 2>&1 || true
	  found=$$(find)
	fi
	if [ -z "$$found" ]; then
	  echo "KafkaHub needs Python 3.11 with venv. On Debian 12: apt install python3.11 python3.11-venv" >&2
	  exit 1
	fi
	test -x $(PYTHON) || "$$found" -m venv .venv
	echo "installing the locked requirements into .venv, once …"
	$(PYTHON) -m kafkahub.devstack.fetch & fetching=$$!
	$(PYTHON) -m pip install --require-hashes --only-binary :all: --disable-pip-version-check \
	  --no-input -r requirements/dev.txt | awk '/^Collecting /{if (++n % 25 == 0) print "  " n " packages …"; fflush()}'
	wait "$$fetching" || true
	touch $@
