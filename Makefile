# `make repro` makes everything from nothing; `make test` checks everything. Both set up $(VENV) where needed.
# `make repro PUSH=1` pushes data and models to DVC's default remote when the run is done.

VENV ?= .venv

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# DVC runs `python -m stages.<stage>`: it must find this environment's python, activated or not.
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: repro test install
.DEFAULT_GOAL := repro

repro: install
	dvc repro
	bind-an-audio sync
	bind-an-audio show
ifneq ($(filter-out 0,$(PUSH)),)
	dvc push
endif

test: install
	ruff check .
	ruff format --check .
	mypy
	pytest

install: $(VENV)/installed

SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))

$(VENV)/installed: pyproject.toml constraints.txt
	@if [ ! -x "$(VENV)/bin/python" ]; then \
	  found=""; \
	  for name in python3.11 python3.12 python3; do \
	    if "$$name" -c '$(SUPPORTED)' 2>/dev/null; then found="$$name"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "error: no Python 3.11 or 3.12 found; install one (Debian: apt-get install python3.11 python3.11-venv)" >&2; exit 1; fi; \
	  "$$found" -m venv "$(VENV)"; \
	fi
	@"$(VENV)/bin/python" -c '$(SUPPORTED)' || { echo "error: $(VENV) holds $$("$(VENV)/bin/python" --version), 3.11 or 3.12 is needed; remove $(VENV) and run make again" >&2; exit 1; }
	"$(VENV)/bin/python" -m pip install -c constraints.txt -e ".[dev]"
	touch "$@"
