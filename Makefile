# Each target does its own set-up: the first one makes .venv, the next ones find it ready.
# Settings are passed as in: make serve CURATOR_HOME=instance/demo PORT=8000

PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --constraint constraints.txt
BROWSERS := $(CURATOR_BROWSER) chromium chromium-browser google-chrome google-chrome-stable
STARTS := from playwright.sync_api import sync_playwright as start; start().start().chromium.launch()

.PHONY: help demo serve test check bench screenshots

help:
	@echo "make demo    the whole loop on the example data: import, clean, freeze, train, compare; a few minutes"
	@echo "make serve   the web app, on http://127.0.0.1:$(PORT)"
	@echo "make test    every test, those in a browser too"
	@echo "make check   what can be told without running: ruff, mypy, the plan of imports"
	@echo "make bench   how fast it is"
	@echo "make screenshots   the pictures of the README, from what make demo left"

demo: .venv/ready
	@$(BIN)/python examples/demo.py

serve: .venv/ready
	@$(BIN)/flask init-db
	@$(BIN)/flask run --port $(PORT)

# A process for each processor, each with a browser and a PostgreSQL of its own.
test: .venv/ready .venv/browser
	@$(BIN)/python -m pytest -q --numprocesses logical --maxprocesses 8

check: .venv/ready
	@$(BIN)/ruff check --quiet --output-format concise
	@$(BIN)/ruff format --check --quiet --output-format concise || { echo "Some files are not laid out as ruff does. Do it with: $(BIN)/ruff format"; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python -m pytest -q tests/test_house.py

bench: .venv/ready
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.versions
	@$(BIN)/python -m bench.gpu

screenshots: .venv/ready .venv/browser
	@$(BIN)/python tests/screenshots.py

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Curator needs Python 3.11 or newer. Name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks its venv module. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv --clear .venv

# On Linux, PyPI's torch brings several gigabytes for NVIDIA cards. Where there is no such card the CPU build comes
# from PyTorch's own index, if that answers; where it does not, the line below takes what PyPI has.
.venv/ready: .venv/bin/python setup.cfg pyproject.toml constraints.txt
	@echo "Installing into .venv. The first time this takes a few minutes."
	@if [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
		$(PIP) --no-deps --retries 0 --timeout 15 --index-url https://download.pytorch.org/whl/cpu torch 2>/dev/null || true; \
	fi
	@$(PIP) --editable '.[train,optimizers,postgres,semantic,test]'
	@touch $@

# The first browser that can be had: an installed one, Playwright's own, Debian's package.
.venv/browser: .venv/ready
	@for browser in $(BROWSERS); do command -v $$browser >/dev/null && exec touch $@; done; \
	$(BIN)/python -m playwright install chromium >/dev/null 2>&1 && $(BIN)/python -c '$(STARTS)' 2>/dev/null && exec touch $@; \
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "Installing Chromium with apt-get." && \
		apt-get update -qq && apt-get install -qq -y chromium >/dev/null && exec touch $@; \
	echo "The tests need a browser, and none could be had. Install Chromium or Google Chrome, then: make test"; exit 1
