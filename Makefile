# `make demo` and `make test` do everything from a fresh clone: environment, locked dependencies, OpenGL, then their job.
# PYTHON=... chooses the interpreter (3.11 or 3.12) that .venv is made from.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv opengl demo test lowest check lint types imports format clean

supported := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do $$p -c '$(supported)' 2>/dev/null && echo $$p && break; done)
bin := .venv/bin
lowest_tests := $(addprefix tests/test_,curves.py plot.py checkpoint.py wrappers_monitor.py envs_jaco_reach.py \
	envs_rooms.py envs_maze.py envs_shepard_metzler.py)

help: ## Say what can be made.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: venv opengl ## Data, a pretrained GQN, and PPO on it, in about five minutes on two free cores.
	@$(bin)/python -m gqn_rl.demo

test: lint types imports opengl ## Everything that continuous integration checks: lint, types, import contracts, all tests.
	@echo "== tests" && $(bin)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal --durations=10
	@echo "All checks passed."

lowest: opengl .venv-lowest/installed ## Quick tests with the oldest versions that pyproject.toml accepts, but for torch.
	@PYTHONPATH=. OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -p no:xdist -W ignore -m "not slow" $(lowest_tests)

check: test ## The same as test.

lint: venv ## Check style and format.
	@echo "== lint" && $(bin)/ruff check -q . && $(bin)/ruff format -q --check .

types: venv ## Check types.
	@echo "== types" && $(bin)/mypy

imports: venv ## Check that imports point down the floors of the architecture.
	@echo "== imports" && said=$$($(bin)/lint-imports 2>&1) || { echo "$$said"; exit 1; }

opengl: venv ## Make sure that OpenGL can render off screen.
	@scripts/ensure_opengl.sh $(bin)/python

format: venv ## Put the code into its format.
	@$(bin)/ruff check -q --fix . ; $(bin)/ruff format -q .

venv: .venv/installed ## Make .venv with the locked dependencies; redone when requirements.lock or pyproject.toml changes.

.venv/installed: requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or 3.12 is needed; name one with: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c '$(supported)' || { echo "Python 3.11 or 3.12 is needed, $(PYTHON) is another: make PYTHON=..." >&2; exit 1; }
	@echo "== installing the locked dependencies into .venv (once; some minutes)"
	@[ -x $(bin)/python ] || $(PYTHON) -m venv .venv
	@$(bin)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	@$(bin)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv-lowest/installed: requirements-lowest.lock .venv/installed
	@echo "== installing the oldest versions into .venv-lowest (once; some minutes)"
	@$(PYTHON) -m venv .venv-lowest
	@.venv-lowest/bin/python -m pip install -q --disable-pip-version-check --no-deps -r requirements-lowest.lock
	@where='import sysconfig; print(sysconfig.get_path("purelib"))' && \
		$(bin)/python -c "$$where" > "$$(.venv-lowest/bin/python -c "$$where")/locked.pth"
	@touch $@

clean: ## Remove what the checks and builds left behind; runs, data and .venv stay.
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
