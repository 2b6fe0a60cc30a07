# The two commands to begin with are `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Compiled modules are kept wherever this runs: the processes of the tests would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help run test prove stress mutate check bench openapi format lock clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(INSTALLED) ## migrate, load the demo data and serve it on this machine
	@$(BIN)/privacy-manager demo

test: $(INSTALLED) ## run the suite, on SQLite and on a PostgreSQL that it starts itself
	@$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

prove: $(INSTALLED) ## run every test on both stores with all its examples, a short form of stress, and mutate (hours)
	@$(BIN)/python -m tests.faults --rounds 200 --histories 20
	@PROVE=long $(BIN)/python -m pytest --numprocesses 2 --dist worksteal
	@$(BIN)/python -m tests.mutation

stress: $(INSTALLED) ## prove in full, while everything fails, that nothing revoked is released (most of an hour)
	@$(BIN)/python -m tests.faults

mutate: $(INSTALLED) ## change the modules that must not fail, and show that the tests notice (half an hour)
	@$(BIN)/python -m tests.mutation

check: $(INSTALLED) ## check format, lint, types, import rules and the published contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/privacy-manager openapi --check openapi/privacy-manager.json
	@$(BIN)/privacy-manager openapi --edu-v --check openapi/edu-v-consent.json

bench: $(INSTALLED) ## measure, each figure as a ratio to a reference of the same run
	@$(BIN)/python -m bench

openapi: $(INSTALLED) ## write the published contracts from the routes
	@$(BIN)/privacy-manager openapi --write openapi/privacy-manager.json
	@$(BIN)/privacy-manager openapi --edu-v --write openapi/edu-v-consent.json

format: $(INSTALLED) ## format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## choose newer dependencies and lock them (needs uv)
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
		--output-file requirements.lock

clean: ## remove what was made here, the demo's data too
	rm -rf $(VENV) var .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# What pip says is counted: a line for every ten libraries, and what went wrong. The pipe has the status of its end, so a
# file says whether pip succeeded. Our own code is compiled as pip compiles the libraries: Python may not do so as it runs.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.11 ..."; exit 1; }
	@echo "Making $(VENV); this is done once, and takes a minute or two:"
	@echo "  1 of 4: an environment of $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@rm -f $(VENV)/.libraries
	@echo "  2 of 4: the libraries of requirements.lock, each checked by its hash"
	@{ $(BIN)/python -u -m pip install --disable-pip-version-check --progress-bar off --require-hashes --only-binary :all: \
		-r requirements.lock && touch $(VENV)/.libraries; } | { found=0; while read -r said; do case "$$said" in \
			Collecting*) found=$$((found + 1)); [ $$((found % 10)) != 0 ] || echo "          $$found found" ;; \
			"Installing collected"*) echo "          all found; unpacking them, which takes longest" ;; \
		esac; done; }
	@test -e $(VENV)/.libraries
	@echo "  3 of 4: privacy-manager itself"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@echo "  4 of 4: compiling it"
	@$(BIN)/python -m compileall -q api client exchange models
	@touch $(INSTALLED)
