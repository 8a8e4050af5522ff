# `make demo` and `make test` are all a newcomer needs; both install first, into $(VENV).
#     make install PYTHON=python3.12 VENV=elsewhere
#     make test ARGS="-k perceiver -x"

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
ARGS ?=

PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint .constraints.txt
ONE_THREAD := OMP_NUM_THREADS=1 # small models gain nothing from more, and lose much on a busy machine
PYTEST := $(ONE_THREAD) HF_HUB_OFFLINE=1 $(PY) -m pytest
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist loadfile # a file's tests share their hosts
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test test-slow test-gpu test-hub fuzz lint format types bench screenshot figures pocket patch-lavis clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

install: $(READY) ## the package and its language model, into $(VENV)
install-dev: $(READY_DEV) ## that, and what the tests need

$(READY): pyproject.toml .constraints.txt
	@echo "Installing into $(VENV); torch alone is about 200 MB ..."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) "$(TORCH)"
	$(INSTALL) --editable ".[seed]"
	$(VENV)/bin/lens-plugins doctor --fetch
	@touch $@

$(READY_DEV): $(READY)
	$(INSTALL) --editable ".[dev]"
	@touch $@

demo: $(READY) ## caption a real 3D object and show picture, prompt and answer
	$(PY) demos/caption_point_cloud.py

test: $(READY_DEV) ## the tests that need neither network nor GPU, some minutes
	$(PYTEST) $(PARALLEL) $(ARGS)

test-slow: $(READY_DEV) ## the tests that take minutes each
	$(PYTEST) -m slow $(ARGS)

test-gpu: $(READY_DEV) ## the tests that need a CUDA device
	$(PYTEST) -m gpu $(ARGS)

test-hub: $(READY_DEV) ## the tests that fetch from the hub
	$(ONE_THREAD) $(PY) -m pytest -m hub $(ARGS)

fuzz: $(READY_DEV) ## damaged files of every format, a minute of them; ARGS="--inputs 300000"
	$(ONE_THREAD) $(PY) tests/fuzz/run.py $(ARGS)

lint: $(READY_DEV) ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(READY_DEV) ## ruff: mend both
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: $(READY_DEV) ## mypy over the package
	$(PY) -m mypy lens_plugins

bench: $(READY) ## every figure of the documentation, some minutes
	$(VENV)/bin/lens-plugins bench lens
	$(VENV)/bin/lens-plugins bench host
	$(VENV)/bin/lens-plugins bench memory
	$(VENV)/bin/lens-plugins bench pocket --all
	$(VENV)/bin/lens-plugins bench seed
	$(VENV)/bin/lens-plugins bench pocket-seed

screenshot: $(READY_DEV) ## the page as docs/page.png, in chromium
	$(ONE_THREAD) HF_HUB_OFFLINE=1 $(PY) tests/screenshot.py docs/page.png

SAMPLES ?= demos/data
CARDS := lens_plugins/pocket/weights
TREE = $(shell git describe --always --dirty)

figures: $(READY_DEV) ## measure what ships, put tables, chart and grid into the model cards; half an hour
	mkdir -p build
	$(INSTALL) --editable ".[dev,pocket]"
	$(VENV)/bin/lens-plugins bench pocket --all --clouds $(SAMPLES) --chart demos/pocket/accuracy.png >build/pocket.md
	$(VENV)/bin/lens-plugins bench pocket-seed --second-judge --grid demos/pocket/imagined.png >build/pocket-seed.md
	$(PY) -m lens_plugins.bench.publish --tree $(TREE) $(CARDS)/instructblip/MODEL_CARD.md $(CARDS)/lens-*/MODEL_CARD.md demos/pocket/RESULTS.md <build/pocket.md
	$(PY) -m lens_plugins.bench.publish --tree $(TREE) $(CARDS)/seed-llama/MODEL_CARD.md <build/pocket-seed.md

pocket: $(READY_DEV) ## train again what ships: hours on a CPU, resumable
	$(INSTALL) --editable ".[dev,pocket]"
	PYTHONPATH=demos $(PY) -m pocket all --work runs/pocket
	PYTHONPATH=demos $(PY) -m pocket.seed all --work runs/pocket

patch-lavis: $(READY_DEV) ## LAVIS 1.0.2 beside today's transformers: install in build/lavis, patch, test
	$(ONE_THREAD) $(PY) patches/check.py

clean: ## what tools leave behind; not $(VENV)
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.*' -prune -exec rm -rf {} +
