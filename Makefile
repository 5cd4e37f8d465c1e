# `make repro` makes everything from nothing; `make check` is lint, types and the quick tests; `make test` checks
# everything; `make demo` serves the trained weights in a browser, `make study` asks after `make repro` what the run says
# of each claim. All set up $(VENV) where needed, with what they need.
# `make repro PUSH=1` pushes data and models to DVC's default remote when the run is done.

VENV ?= .venv

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# DVC runs `python -m stages.<stage>`: it must find this environment's python, activated or not.
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: repro lane_towers lane_codec lane_a lane_b study demo check test lint style install
.DEFAULT_GOAL := repro

# Two stages that do not wait for each other, each on half of the cores, do more work than one after the other on all:
# small networks leave a thread idle. On one card they would share its memory: `make repro LANES=1` there, or `dvc repro`.
# A lane that fails leaves its stage to the next `dvc repro`, which tries it again and shows its error last.
HALF = OMP_NUM_THREADS=$$((($$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN) + 1) / 2)) dvc --wait-for-lock repro --single-item
BOTH = -$(MAKE) --no-print-directory --jobs 2

repro: $(VENV)/running
ifneq ($(LANES),1)
	dvc repro quality
	$(BOTH) lane_towers lane_codec
	dvc repro backbone embed
	$(BOTH) lane_a lane_b
endif
	dvc repro
	bind-an-audio sync
	bind-an-audio show
ifneq ($(filter-out 0,$(PUSH)),)
	dvc push
endif

# Through cat: two progress bars cannot share a line of a terminal; without one each writes its own lines.
lane_towers:
	-$(HALF) encoders judges 2>&1 | cat
lane_codec:
	-$(HALF) codec 2>&1 | cat
lane_a:
	-$(HALF) train_a sample_a 2>&1 | cat
lane_b:
	-$(HALF) train_b sample_references sample_b 2>&1 | cat

# The study of A against B: `make study SEEDS="1 2" ARMS="a-mean b-mean"`; all arms and seeds where they are left out.
study: repro
	bind-an-audio study $(if $(SEEDS),--seeds $(SEEDS)) $(if $(ARMS),--arms $(ARMS))

demo: $(VENV)/demo
	bind-an-audio demo

# Two tests at a time; torch's threads would wait for each other.
PYTEST := OMP_NUM_THREADS=1 pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Types beside the quick tests: mypy alone would leave a core idle, for a minute where its cache is cold.
check: style
	mypy & failed=0; $(PYTEST) -m "not slow" || failed=1; wait $$! || failed=1; exit $$failed

test: lint
	$(PYTEST)

lint: style
	mypy

style: install
	ruff check .
	ruff format --check .

install: $(VENV)/installed

SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))

$(VENV)/running: pyproject.toml constraints.txt requirements-towers.txt
	@if [ ! -x "$(VENV)/bin/python" ]; then \
	  found=""; \
	  for name in python3.11 python3.12 python3; do \
	    if "$$name" -c '$(SUPPORTED)' 2>/dev/null; then found="$$name"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "error: no Python 3.11 or 3.12 found; install one (Debian: apt-get install python3.11 python3.11-venv)" >&2; exit 1; fi; \
	  "$$found" -m venv "$(VENV)"; \
	fi
	@"$(VENV)/bin/python" -c '$(SUPPORTED)' || { echo "error: $(VENV) holds $$("$(VENV)/bin/python" --version), 3.11 or 3.12 is needed; remove $(VENV) and run make again" >&2; exit 1; }
	"$(VENV)/bin/python" -m pip install -c constraints.txt -e .
	"$(VENV)/bin/python" -m pip install --no-deps -r requirements-towers.txt
	touch "$@"

# Gradio asks for a Pillow that draws other images, and runs with ours.
$(VENV)/demo: requirements-demo.txt $(VENV)/running
	"$(VENV)/bin/python" -m pip install --no-deps -r requirements-demo.txt
	touch "$@"

$(VENV)/installed: $(VENV)/demo
	"$(VENV)/bin/python" -m pip install -c constraints.txt -e ".[dev]"
	touch "$@"
