# Tasks of a checkout; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup check format test fast slow gpu bench report

BIN ?= .venv/bin/
GPU_TESTS = tests/core/ops tests/core/training tests/core/models/test_spread.py \
	tests/cli/test_kernels_command.py

help: ## these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

setup: ## a virtual environment in .venv, the checkout installed in place with what the tests need
	python3 -m venv .venv
	.venv/bin/pip install -c constraints.txt -e '.[test]'

check: ## everything that has to pass: ruff, types, tests
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)mypy
	$(BIN)pytest

format: ## mend what ruff can mend by itself
	$(BIN)ruff check --fix .
	$(BIN)ruff format .

test: ## the tests, without those marked slow
	$(BIN)pytest

fast: ## tests of the library and of the house until the first that fails; no browser
	$(BIN)pytest -x tests/core tests/test_*.py

slow: ## the tests marked slow
	$(BIN)pytest -m slow

gpu: ## what only a GPU can show: the Triton kernels compiled, long calls, replayed gradients
	@$(BIN)python -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "make gpu needs a CUDA GPU; torch sees none")'
	env -u TRITON_INTERPRET $(BIN)pytest -n 8 --maxprocesses 8 -m "slow or not slow" $(GPU_TESTS)

bench: ## speed and memory of every variant beside PyTorch's softmax, on the first GPU or the CPU
	$(BIN)freeatten bench

report: ## cards, tables and pictures anew from assets/results (needs Chromium)
	$(BIN)freeatten report
