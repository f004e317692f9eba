# `make` lists the commands. Each one creates .venv when it is missing.

PYTHON ?= python3
# make lock UPGRADE=1: take newer releases, too
UPGRADE ?=

BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test thorough lint types docs bench experiments experiments-quick \
	lock clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 26

demo: $(INSTALLED) ## compare the methods on the toy problem: a table, and figures in demo/
	$(BIN)/physgrad compare --out demo --force

test: $(INSTALLED) ## run the tests and the examples of the docstrings
	$(BIN)/pytest

thorough: $(INSTALLED) ## run the tests that repeat a law in other cases
	$(BIN)/pytest -m thorough

lint: $(INSTALLED) ## check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

# the variable silences a question to the network: is there a newer release?
types: $(INSTALLED) ## check the types
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

docs: $(INSTALLED) ## build the documentation, tutorials included: docs/_build/html
	$(BIN)/python -m sphinx -E -j 4 -W --keep-going --quiet -b html docs docs/_build/html

bench: $(INSTALLED) ## run the benchmarks, each against a peer
	$(BIN)/python benchmarks/run.py

experiments: $(INSTALLED) ## run the studies, and write their tables; goes on where it was
	$(BIN)/python experiments/run.py

experiments-quick: $(INSTALLED) ## do the studies run? few and small cases
	$(BIN)/python experiments/run.py --quick

lock: $(INSTALLED) ## bring requirements.lock up to date with pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --output-file requirements.lock \
		--quiet --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --no-header --no-annotate $(if $(UPGRADE),--upgrade)

clean: ## remove the environment, the caches and the demo
	rm -rf .venv .cache .hypothesis .jax_cache .pytest_cache .ruff_cache build dist demo \
		docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an installation that was cut off is taken up again.
$(INSTALLED): requirements.lock pyproject.toml
	@test -x $(BIN)/python \
		|| $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "physgrad needs Python 3.11 or newer; PYTHON=$(PYTHON) is" \
			"$$($(PYTHON) --version 2>&1); name one: make PYTHON=python3.12 ..." >&2; \
			exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
