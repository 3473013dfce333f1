# Needs Python 3.11, make and pip. Everything else is installed into a virtual environment in this folder.

NEWEST  := 3.3.2
AIRFLOW ?= $(NEWEST)
PYTHON  ?= python3.11

# What an older Airflow needs beyond its own requirements, to run with today's packages.
AMAZON     := apache-airflow-providers-amazon==9.39.0
# Any Python 3.11 will do, Debian's 3.11.2 too: newer releases of this one need 3.11.5.
ANY-3.11   := "soupsieve<3"
PINS-3.2.2 := "fastapi<0.137" "cadwyn<8"
PINS-3.0.6 := "pyjwt<2.11" "fastapi<0.118" "universal-pathlib<0.3"

VENV        := .venv$(if $(filter-out $(NEWEST),$(AIRFLOW)),-$(AIRFLOW))
FRESH       := .run/constraints-$(AIRFLOW)
CONSTRAINTS := constraints/airflow-$(AIRFLOW).txt
BIN         := $(VENV)/bin
PIP         := $(BIN)/python -m pip --disable-pip-version-check -qq
PYTEST      := $(BIN)/python -m pytest
MYPY        := $(BIN)/mypy -p veo_provider -p demo -p benchmarks
# How users call the public API: checked here, and never run.
MYPY_API    := $(BIN)/mypy tests/typing/api.py
# A process for each core, each with a sandbox of its own; files marked as slow are the first, see conftest.py.
PARALLEL    := -n auto --dist loadfile --no-loadscope-reorder
# The pip that comes with Python 3.11 takes twice as long.
FAST_PIP    := "pip>=25.1"
# LiteLLM's proxy pins what Airflow pins otherwise.
GATEWAYS    := .venv-gateways
# What nobody needs for a video is none of ours: these are installed beside the tests, with constraints/….txt.
LINEAGE     := .venv-lineage
CLUSTER     := .venv-cluster
BESIDE-lineage := apache-airflow-providers-openlineage
BESIDE-cluster := apache-airflow-providers-celery redis psycopg2-binary asyncpg
# The last commit of release 0.1.0; its wheel is built from the history, which a shallow clone does not have.
UPGRADE-FROM ?= 3a85267
UPGRADE     := .venv-upgrade

# Importing Airflow writes a configuration into its home: keep that out of the user's own.
export AIRFLOW_HOME := $(CURDIR)/.run/home

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^##: / { print "\n" substr($$0, 5) } \
	    /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "With AIRFLOW=2.11.2 before it, each runs on that Airflow, in a virtual environment of its own; the"
	@echo "versions are those in constraints/. The targets system and bench need 3.0 or newer."

##: For a first look

.PHONY: demo
demo: $(VENV)/.sandbox ## Run the example DAG in a real Airflow against the sandbox: a photograph becomes a video
	@$(BIN)/python -m demo

.PHONY: up
up: $(VENV)/.sandbox ## The same, and keep Airflow's UI and the sandbox running until Ctrl-C
	@$(BIN)/python -m demo --stay

##: Run by CI

.PHONY: test
test: lint unit integration crash some-chaos docs system ## Everything that CI runs

.PHONY: lint
lint: $(VENV)/.test ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(MYPY)
	$(MYPY_API)

.PHONY: unit
unit: $(VENV)/.test ## Tests of single modules
	$(PYTEST) $(PARALLEL) tests/unit

.PHONY: integration
integration: $(VENV)/.test ## Tests over real HTTP and real S3, and DAGs run by dag.test()
	$(PYTEST) $(PARALLEL) tests/integration

.PHONY: crash
crash: $(VENV)/.test ## Kill real workers at every step, and check what the next attempt does
	$(PYTEST) tests/crash

.PHONY: some-chaos
some-chaos: $(VENV)/.test ## A few videos and a small archive in a real Airflow, with every fault and random kills
	$(PYTEST) -s tests/chaos

.PHONY: chaos
chaos: $(VENV)/.test ## The same with 300 videos: most of an hour
	CHAOS_VIDEOS=300 $(PYTEST) -s tests/chaos/test_chaos.py

.PHONY: gateways-chaos
gateways-chaos: $(VENV)/.test ## Each gateway that the sandbox plays, with every crash, every fault and random kills: an hour
	GATEWAY_MOMENTS=all $(PYTEST) tests/crash/test_gateways.py
	GATEWAY_VIDEOS=100 $(PYTEST) -s tests/integration/gateways/test_faults.py
	for gateway in openai litellm openrouter inworld; do \
	    CHAOS_GATEWAY=$$gateway CHAOS_VIDEOS=40 $(PYTEST) -s tests/chaos/test_chaos.py || exit; \
	done

.PHONY: gateways
gateways: $(VENV)/.test $(GATEWAYS)/.test ## LiteLLM's proxy, aimock and others' clients against client and sandbox: four minutes
	$(PYTEST) tests/gateways

.PHONY: lineage
lineage: $(LINEAGE)/.test ## What OpenLineage's provider says of each operator, in a running Airflow: two minutes
	$(LINEAGE)/bin/python -m pytest tests/lineage

.PHONY: cluster
cluster: $(CLUSTER)/.test ## The demo on Celery, Redis and PostgreSQL, with two workers and two triggerers, until Ctrl-C
	$(CLUSTER)/bin/python -m demo --cluster --stay

.PHONY: cluster-test
cluster-test: $(CLUSTER)/.test ## A few videos on that cluster while each of its parts is hurt in turn: half an hour
	$(CLUSTER)/bin/python -m pytest -s tests/cluster

.PHONY: cluster-faults
cluster-faults: $(CLUSTER)/.test ## The same with 200 single videos and a batch of 500 for each fault: two hours
	CLUSTER_SINGLES=200 CLUSTER_BATCH=500 CLUSTER_IN_FLIGHT=250 CLUSTER_PAUSE=180 CLUSTER_LATENCY=240 \
	    $(CLUSTER)/bin/python -m pytest -s tests/cluster

.PHONY: upgrade
upgrade: $(VENV)/.test $(UPGRADE)/.test ## Begin tasks in an older release, installed from its wheel, and go on in this one: a minute
	$(PYTEST) tests/upgrade

.PHONY: test-all
test-all: ## Unit and integration tests and the demo on each Airflow of constraints/: some hours
	$(PYTHON) constraints/matrix.py

.PHONY: archives
archives: $(VENV)/.test ## Archives of 500 and 10,000 images, and 10,000 with random kills: an hour and a half
	ARCHIVE_IMAGES=500 ARCHIVE_IN_FLIGHT=10 ARCHIVE_SECONDS=20 $(PYTEST) -s tests/chaos/test_archive.py
	ARCHIVE_IMAGES=10000 ARCHIVE_IN_FLIGHT=100 ARCHIVE_SECONDS=10 $(PYTEST) -s tests/chaos/test_archive.py
	ARCHIVE_IMAGES=10000 ARCHIVE_IN_FLIGHT=100 ARCHIVE_SECONDS=10 ARCHIVE_KILL_EVERY=30 \
	    $(PYTEST) -s tests/chaos/test_archive.py

.PHONY: system
system: $(VENV)/.test ## Tests of a whole running Airflow, and of who may see what on its page
	$(PYTEST) tests/system tests/ui/test_rights.py --ignore tests/system/test_human_review.py

.PHONY: human-review
human-review: $(VENV)/.test ## The example with a person's approval in a whole running Airflow (3.1 or newer): two minutes
	$(PYTEST) tests/system/test_human_review.py

.PHONY: ui-test
ui-test: $(VENV)/.test ## The page in Airflow's UI, in Chromium as well if it is installed: two minutes
	$(PYTEST) tests/ui

.PHONY: ui-pictures
ui-pictures: $(VENV)/.test ## Take the pictures of the page for the documentation anew; it needs Chromium
	UI_PICTURES=$(CURDIR)/docs/ui $(PYTEST) tests/ui/test_screens.py

.PHONY: backfill
backfill: $(VENV)/.test ## The test of backfills with 30 days: a quarter of an hour
	BACKFILL_DAYS=30 $(PYTEST) -s tests/system/test_backfill.py

.PHONY: awkward
awkward: $(VENV)/.test ## Write the awkward images and videos of the tests into .run/awkward, to look at or to try elsewhere
	$(BIN)/python tests/support/media/folder.py .run/awkward

.PHONY: busy-test
busy-test: $(VENV)/.test ## All tests, three times, while four loops keep the machine busy: some hours
	$(BIN)/python tests/support/busy.py $(MAKE) unit integration crash some-chaos system

.PHONY: docs
docs: $(VENV)/.test ## Build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

##: For work on a change

.PHONY: check
check: lint unit ## Lint and unit tests, for each commit: a few minutes

.PHONY: types
types: $(VENV)/.test ## The types alone
	$(MYPY)
	$(MYPY_API)

.PHONY: coverage
coverage: $(VENV)/.test ## Unit and integration tests again, and which lines they do not run
	rm -rf .run/coverage && mkdir -p .run/coverage
	$(BIN)/coverage run -m pytest $(PARALLEL) tests/unit tests/integration
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

##: Figures of the documentation

.PHONY: bench
bench: $(VENV)/.bench ## Measure every figure and its rivals again, and write the tables of the documentation
	$(BIN)/python -m benchmarks

##: The package

.PHONY: package
package: .run/tools/.ready ## Build wheel and sdist into dist/, and check what is in them
	rm -rf dist
	.run/tools/bin/python -m build -q --installer=pip --outdir dist .
	.run/tools/bin/twine check --strict dist/*
	.run/tools/bin/check-wheel-contents dist/*.whl

.PHONY: clean-installs
clean-installs: package ## Install the wheel beside each Airflow of constraints/: it may change no version. Ten minutes
	$(PYTHON) constraints/clean_installs.py dist/*.whl

.run/tools/.ready: constraints/package.txt
	$(PYTHON) -m venv --clear .run/tools
	.run/tools/bin/python -m pip --disable-pip-version-check -qq install -r constraints/package.txt
	@touch $@

##: Upkeep

.PHONY: venv
venv: $(VENV)/.test ## Build the virtual environment with everything that tests need

.PHONY: clean
clean: ## Remove the virtual environments and all output
	rm -rf .venv .venv-* .run build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf .import_linter_cache tests/gateways/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: constraints
constraints: ## Pin anew, to the newest versions that AIRFLOW=… works with
	rm -rf $(FRESH)
	$(PYTHON) -m venv $(FRESH)
	$(FRESH)/bin/python -m pip install --quiet $(FAST_PIP)
	$(FRESH)/bin/python -m pip install --quiet "apache-airflow==$(AIRFLOW)" $(AMAZON) $(ANY-3.11) $(PINS-$(AIRFLOW)) ".[bench]"
	{ \
	    echo "# The tested versions for Airflow $(AIRFLOW) on Python 3.11."; \
	    echo "# Regenerated by: make constraints AIRFLOW=$(AIRFLOW)"; \
	    $(FRESH)/bin/python -m pip freeze --exclude airflow-provider-veo; \
	} > $(FRESH)/frozen.txt
	mv $(FRESH)/frozen.txt $(CONSTRAINTS)
	rm -rf $(FRESH)

# The virtual environment starts empty when the pins change; it is only added to when pyproject.toml does.
$(VENV)/pyvenv.cfg: $(CONSTRAINTS)
	$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install $(FAST_PIP)
	@touch $@

$(VENV)/.sandbox: $(VENV)/pyvenv.cfg pyproject.toml
	@echo "Installing Airflow $(AIRFLOW) and the sandbox into $(VENV): a minute or two, once."
	@$(PIP) install -c $(CONSTRAINTS) -e '.[sandbox]'
	@touch $@

$(VENV)/.test: $(VENV)/pyvenv.cfg pyproject.toml
	@echo "Installing Airflow $(AIRFLOW) and what the tests need into $(VENV): a minute or two, once."
	@$(PIP) install -c $(CONSTRAINTS) -e '.[test]'
	@touch $(VENV)/.sandbox $@

$(GATEWAYS)/.test: constraints/gateways.txt tests/gateways/package.json
	@echo "Installing LiteLLM's proxy and some clients into $(GATEWAYS): some minutes, once. It needs Node.js and npm."
	$(PYTHON) -m venv --clear $(GATEWAYS)
	@$(GATEWAYS)/bin/python -m pip --disable-pip-version-check -qq install $(FAST_PIP)
	@$(GATEWAYS)/bin/python -m pip -qq install -c constraints/gateways.txt 'litellm[proxy]' openai
	@npm install --prefix tests/gateways --no-package-lock --no-audit --no-fund --silent
	@touch $@

$(LINEAGE)/.test $(CLUSTER)/.test: .venv-%/.test: constraints/%.txt pyproject.toml
	@echo "Installing Airflow $(NEWEST) with $(BESIDE-$*) into $(@D): a minute or two, once."
	$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check -qq install $(FAST_PIP)
	@$(@D)/bin/python -m pip -qq install -c constraints/airflow-$(NEWEST).txt -c $< \
	    -e '.[test]' $(BESIDE-$*)
	@touch $@

$(UPGRADE)/.test: Makefile
	@echo "Installing Airflow $(NEWEST) with the wheel of $(UPGRADE-FROM) into $(UPGRADE): a minute or two, once."
	@git cat-file -e $(UPGRADE-FROM)^{commit} 2> /dev/null || { \
	    echo "Commit $(UPGRADE-FROM) is not in this clone, which is shallow: run \`git fetch --unshallow\` first."; exit 1; }
	rm -rf .run/upgrade && mkdir -p .run/upgrade
	git archive $(UPGRADE-FROM) | tar -x -C .run/upgrade
	$(PYTHON) -m venv --clear $(UPGRADE)
	@$(UPGRADE)/bin/python -m pip --disable-pip-version-check -qq install $(FAST_PIP)
	@$(UPGRADE)/bin/python -m pip --disable-pip-version-check -qq wheel --no-deps -w .run/upgrade/dist .run/upgrade
	@$(UPGRADE)/bin/python -m pip -qq install -c constraints/airflow-$(NEWEST).txt .run/upgrade/dist/*.whl
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	@$(PIP) install -c $(CONSTRAINTS) -e '.[bench]'
	@touch $@
