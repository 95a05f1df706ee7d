# Thin on purpose: each target sets up what is missing and calls one command.
PYTHON ?= python3
VENV ?= $(or $(DENOISE_VENV),.venv)
ARGS ?=

.PHONY: run benchmark test test-modern image-test serve lint setup clean

setup:
	@DENOISE_VENV="$(VENV)" $(PYTHON) pipeline/bootstrap.py

run: setup
	@"$(VENV)"/bin/denoise run $(ARGS)

serve: setup
	@"$(VENV)"/bin/denoise serve $(ARGS)

# Against TFX's stock components and the machine's limits; benchmarks/RESULTS.md.
benchmark: setup
	@"$(VENV)"/bin/python -m benchmarks.speed $(ARGS)

# A worker needs some 2 GB, so no more than four; reordered, the longest test would come last.
test: setup
	@"$(VENV)"/bin/python -m pytest -m "not slow and not ci" -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

# TFX 1.21, also where the C library is too old for it: a local run, and the dry run as Kubeflow.
test-modern:
	@DENOISE_VENV="$(VENV)-modern" $(PYTHON) pipeline/bootstrap.py --modern
	@"$(VENV)-modern"/bin/python -m pytest $(or $(ARGS),tests/end_to_end/test_dry_run.py -k processes)

image-test: setup
	@VENV="$(VENV)" tests/image/test.sh

lint: setup
	@"$(VENV)"/bin/ruff check .
	@"$(VENV)"/bin/ruff format --check .
	@"$(VENV)"/bin/mypy

clean:
	rm -rf "$(VENV)" "$(VENV)-uv" "$(VENV)-modern" "$(VENV)-modern-uv"
