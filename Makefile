# Two commands do everything on a fresh machine: `make study` and `make test`.
PYTHON  ?= python3
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin

# A stamp per set of dependencies, named by what it was made from: while nothing changed, nothing is installed and no
# network is needed, whatever the files' dates say.
KEY     := $(shell cat pyproject.toml constraints.txt | cksum | tr ' ' -)
STAMP    = $(VENV)/.$(1)-$(KEY)
PIP     := $(BIN)/python -m pip install $(if $(MAKE_TERMOUT),,--quiet) --disable-pip-version-check --no-input -c constraints.txt
FASHION := /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz

.DEFAULT_GOAL := help
.PHONY: help study test lint format cards docs bench pins clean fashion chromium

help: ## this text
	@echo "Tamis. Two commands do everything on a fresh machine: make study, make test."
	@echo
	@grep -hE '^[a-z]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo
	@echo "PYTHON=python3.12 chooses the interpreter, ARGS='-k rules' goes to pytest, WORKERS=1 runs the tests in one process."

study: $(call STAMP,run) fashion ## the paper's table on a part of Fashion-MNIST, in minutes: results/quick/report.html
	@$(BIN)/tamis study quick

test: $(call STAMP,test) fashion chromium ## every test, doctests included
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(call STAMP,dev) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(call STAMP,dev) ## write the code in the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

cards: $(call STAMP,run) ## the catalogue's pages, from the code and the records
	@$(BIN)/python scripts/cards.py

docs: $(call STAMP,docs) ## the documentation, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(call STAMP,run) ## what recording costs
	@$(BIN)/python benchmarks/overhead.py

pins: ## resolve all dependencies anew and write constraints.txt
	scripts/pins.sh $(PYTHON)

clean: ## remove the environment and what was built; results stay
	rm -rf $(VENV) site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# What apt can bring, where it may. Each has another way, so a failure is said and not fatal.
fashion:
	@test -f $(FASHION) || scripts/apt.sh dataset-fashion-mnist \
	  || echo "Debian's dataset-fashion-mnist cannot be installed here; Fashion-MNIST will be downloaded instead, by hash."

chromium:
	@command -v chromium >/dev/null || test -n "$$TAMIS_NO_BROWSER" || scripts/apt.sh chromium chromium-driver \
	  || echo "Chromium is missing and cannot be installed here; the tests of pages will fail and say so."

$(BIN)/pip: # the last thing that venv writes
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "constraints.txt is resolved for Python 3.11 or newer: make PYTHON=python3.11 ... (or, on 3.10, pip install -e .)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/apt.sh python3-venv \
	  || { echo "$(PYTHON) has no ensurepip; install Debian's python3-venv first."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# The build backend is installed first and pinned like the rest, so that pip builds without fetching one of its own.
$(call STAMP,run) $(call STAMP,test) $(call STAMP,dev) $(call STAMP,docs): $(VENV)/.%-$(KEY): | $(BIN)/pip
	@echo "Installing what '$*' needs into $(VENV) (torch is large: the first time takes a minute or more) ..."
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation -e '.$(if $(filter-out run,$*),[$*])'
	@rm -f $(VENV)/.$*-* && touch $@
