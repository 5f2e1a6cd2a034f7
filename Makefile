# SPDX-License-Identifier: GPL-3.0-or-later
# Every target sets up what it needs first; `make setup` by itself is only for those who want to use .venv directly.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
# Debian's own first: a python3 of another origin on PATH may lack venv or be a shim for something old.
PYTHON := $(shell for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
# uv does not read pip's environment; a mirror that is set for pip counts for it as well.
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
ifeq ($(UV_DEFAULT_INDEX),)
unexport UV_DEFAULT_INDEX
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

ARCHITECTURES := x86_64 aarch64
AGENT_PYTHONS := 3.11 3.12 3.13 3.14
BUNDLES := $(foreach architecture,$(ARCHITECTURES),\
	$(AGENT_PYTHONS:%=roles/transfer_agent/files/mayfly-agent-$(architecture)-python%.tar.gz))
AGENT_SOURCES := $(shell find agent/mayfly_agent -name '*.py' -o -path '*/browser/page/*') $(wildcard agent/requirements.txt)

.PHONY: help setup agent demo test lint unit integration molecule end_to_end campaign faults invariants bench newest bare release requirements clean

help:
	@printf '%s\n' \
	  'make demo          back two instances up, then what has changed of one, and restore it (KEEP=1 leaves the lab up)' \
	  'make test          lint, unit, integration, molecule and end-to-end tests, with the time of each' \
	  'make lint          style, types, docs; also: make unit | integration | molecule | end_to_end | campaign' \
	  'make faults        kills and faults at every moment, and what is left (two hours);  make bench: speeds' \
	  'make invariants    backups, deletion, kills and pauses in any order, against a model of the repository' \
  'make newest        the newest ansible-core, in a Debian 13 root file system' \
	  'make bare          the demonstration in a bare Debian 12 root file system (FULL=1: .ci/run after it)' \
	  'make setup         .venv and the packages of system-packages.txt' \
	  'make agent         the transfer agent as it is shipped to workers' \
	  'make release       into dist/: collection, package, agent, changelog; the same bytes from the same commit' \
	  'make requirements  pin requirements.in anew (UPGRADE=1: newest versions)' \
	  'make clean         remove what was built'

setup: $(STAMPS)/project $(STAMPS)/node $(BUNDLES)

agent: $(BUNDLES)

# The Python may come with the packages, so it is looked for again in the recipe of the virtual environment.
build/packages: system-packages.txt tools/install-packages
	@tools/install-packages system-packages.txt
	@mkdir -p $(@D) && touch $@

# uv comes from its own pin in requirements.txt, with its hashes.
$(STAMPS)/uv: requirements.txt | build/packages
	@python='$(PYTHON)'; test -x $(BIN)/python || "$${python:-/usr/bin/python3}" -m venv --clear $(VENV)
	@mkdir -p $(STAMPS)
	@awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.txt > $(STAMPS)/uv-requirements.txt
	@$(BIN)/python -m pip install --quiet --require-hashes -r $(STAMPS)/uv-requirements.txt
	@touch $@

$(STAMPS)/requirements: requirements.txt $(STAMPS)/uv
	@uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt
	@touch $@

# What evaluates policies for the lab, in a process of its own. Node brings its own list of authorities: the machine's
# count as well, as they do for pip. Nothing of a package is run while it is installed.
NODE := lab/mayfly_lab/iam/engine
$(STAMPS)/node: $(NODE)/package.json $(NODE)/package-lock.json $(STAMPS)/uv
	@mkdir -p $(VENV)/node && cp $(NODE)/package.json $(NODE)/package-lock.json $(VENV)/node/
	@export NODE_EXTRA_CA_CERTS=$${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}; \
	  npm ci --prefix $(VENV)/node --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

$(STAMPS)/project: pyproject.toml lab/pyproject.toml agent/pyproject.toml $(STAMPS)/requirements
	@uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e lab -e agent -e .
	@touch $@

roles/transfer_agent/files/mayfly-agent-%.tar.gz: $(AGENT_SOURCES) | $(STAMPS)/project
	@mkdir -p $(@D)
	@python -m mayfly_agent.bundle --arch $(word 1,$(subst -python, ,$*)) --python $(word 2,$(subst -python, ,$*)) \
	  --output $@

demo: setup
	@tools/demo

test: setup
	@python tools/run_tests.py lint unit integration molecule end_to_end campaign

lint unit integration molecule end_to_end campaign faults invariants bench newest: setup
	@python tools/run_tests.py $@

bare: build/packages
	@tools/bare

# One file for every Python: a marker tells where versions differ. The agent's pins are the control node's.
PIN := uv pip compile --quiet --universal --python-version 3.11 --no-header --generate-hashes --no-emit-index-url
requirements: $(STAMPS)/uv
	@$(PIN) $(if $(UPGRADE),--upgrade) requirements.in --output-file requirements.txt
	@$(PIN) --constraints requirements.txt agent/requirements.in --output-file agent/requirements.txt

release: setup
	@tools/make_release.py

clean:
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis $(BUNDLES)
