# Thin on purpose: each target sets up what is missing and calls one command.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

.PHONY: run test serve lint setup clean

setup:
	@DENOISE_VENV=$(VENV) $(PYTHON) pipeline/bootstrap.py

run: setup
	@$(VENV)/bin/denoise run $(ARGS)

serve: setup
	@$(VENV)/bin/denoise serve $(ARGS)

test: setup
	@$(VENV)/bin/python -m pytest -m "not slow" $(ARGS)

lint: setup
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) $(VENV)-uv
