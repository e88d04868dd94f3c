# Everything here works after a clone with git, make and Python 3.11+; `.venv` and `build` hold what it makes.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help install servers programs engines demo test check format docs bench soak clean

help:             ## show these lines
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

install:          ## make .venv with every distribution editable; nothing when it is up to date
	@$(PYTHON) scripts/install

servers: install  ## put the MCP servers of others that the tests talk to into build/servers
	@$(BIN)/python scripts/test-servers

programs:         ## programs that tests drive, from Debian's packages where they are missing
	@$(PYTHON) scripts/test-programs

engines: install  ## real Docker and Podman for the tests, started where they do not run
	@$(BIN)/python scripts/engines

demo: install     ## a real Expert, a real model, a real MCP server, one file
	@$(BIN)/python scripts/demo

test: programs servers engines  ## every test, two at a time
	$(PYTEST) -q -n 2 --dist loadgroup

check: install    ## lint, format, types, import contracts, the documents' links and commands
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q tests/repo -m "not wheels"

format: install   ## what `make check` would ask for, done
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

docs: install     ## the documentation as pages in site/
	@$(BIN)/python scripts/docs

bench: install    ## the figures of docs/reference/figures.md, as JSON
	@$(BIN)/python scripts/bench

soak: install     ## the long runs: leaks, growth, start-and-kill, for SOAK_SECONDS (default 300)
	@$(BIN)/python scripts/soak

clean:            ## remove what these commands made
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
