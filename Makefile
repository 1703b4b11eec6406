# Everything sets itself up: the first target that needs the environment makes it, later ones find it there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-reference
RUNS ?= runs
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-reference lint format check

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## make the environment in .venv

define make-venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo 'striate needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...' >&2; exit 1; }
$(PYTHON) -m venv $(1)
$(1)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
$(1)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[export]' --group dev
endef

$(READY): pyproject.toml constraints.txt
	$(call make-venv,$(VENV))
	@touch $@

# torchvision asks for the build of torch that it was made with; its networks run on any.
$(PEERS)/.ready: pyproject.toml constraints.txt tests/reference/requirements.txt
	$(call make-venv,$(PEERS))
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt huggingface-hub
	$(PEERS)/bin/python -m pip install --quiet --no-deps --requirement tests/reference/requirements.txt
	@touch $@

demo: $(READY)  ## train LeNet-5 on real handwritten digits within 2.8 MB, then read a few that it has not seen
	@rm -rf $(RUNS)/classify/demo
	$(BIN)/striate train digits --recipe lenet5-digits --memory 2.8MB --output $(RUNS)/classify/demo
	$(BIN)/striate predict $(RUNS)/classify/demo digits --limit 4 --draw

test: $(READY)  ## run the tests
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-slow: $(READY)  ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-reference: $(PEERS)/.ready  ## compare with torchvision and timm, in an environment of its own
	$(PEERS)/bin/python -m pytest tests/reference

lint: $(READY)  ## style, types and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY)  ## rewrite the code in the house's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

check: lint test  ## all that CI runs
