# blendkit: `make tutorial` runs every notebook, `make lab` opens them, `make ready` rehearses a class, `make test` checks all, `make paper` trains at full size.

PYTHON ?= python3
SAMPLE ?= synthetic
PROFILE ?= quick
SEED ?= 42
RESULTS ?= results
STICK ?= results/stick
PLATFORMS ?=
PYTHONS ?= 3.11 3.12 3.13
SIZE ?=
MINUTES ?=
REAL ?=
HOST := 127.0.0.1
PORT := 8765

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# without news JupyterLab neither asks whether it may fetch them nor looks for updates
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings

.PHONY: help tutorial lab book ready stick scoreboard paper test bench clean install filter
.DEFAULT_GOAL := help

help:
	@echo "make tutorial   run the notebooks and print the scoreboard (SAMPLE=synthetic|candels|folder PROFILE=quick|tutorial|paper RESULTS=folder)"
	@echo "make lab        open JupyterLab on the notebooks"
	@echo "make book       the notebooks as a web book in build/book, after make tutorial where RESULTS lacks one (30 MB, works from disk)"
	@echo "make ready      the evening before a class: is this machine ready, without the network?"
	@echo "make stick      all that students need to install without the network (STICK=folder PLATFORMS=\"linux mac\" PYTHONS=\"3.11 3.12\")"
	@echo "make scoreboard serve the class's scoreboard (HOST=0.0.0.0 lets the whole network in; PORT=8765 RESULTS=folder)"
	@echo "make paper      train the paper's networks at full size (without a GPU reduced) and write docs/PAPER.md (SIZE=full|small MINUTES=10 REAL=folder SAMPLE=...)"
	@echo "make test       everything that the continuous integration runs"
	@echo "make bench      timings, each beside a reference, into docs/BENCHMARKS.md, on a machine that does nothing else (RESULTS=folder of the notebooks)"
	@echo "make clean      remove results, caches and the environment; data/, results/by-hand/ and results/scoreboard/ stay"

tutorial: $(READY)
	@$(BIN)/python -m tools.run_notebooks --sample="$(SAMPLE)" --profile="$(PROFILE)" --seed="$(SEED)" --results="$(RESULTS)"

lab: $(READY)
	@mkdir -p $(LAB_SETTINGS)
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' > $(LAB_SETTINGS)/overrides.json
	@$(BIN)/jupyter lab --notebook-dir=. notebooks/01_clean_the_sample.ipynb

book: $(READY)
	@for notebook in notebooks/[0-9]*.ipynb; do [ -f "$(RESULTS)/$${notebook##*/}" ] || exec $(MAKE) --no-print-directory tutorial; done
	@$(BIN)/python -m tools.book --results="$(RESULTS)" --out=build/book

ready: $(READY)
	@$(BIN)/python -m tools.ready --seed="$(SEED)"

stick: $(READY)
	@$(BIN)/python -m tools.stick "$(STICK)" --platforms="$(PLATFORMS)" --python="$(PYTHONS)"

scoreboard: $(READY)
	@$(BIN)/python -m tools.scoreboard --host="$(HOST)" --port="$(PORT)" --out="$(RESULTS)/scoreboard"

paper: $(READY)
	@$(BIN)/python -m tools.exam paper --sample="$(SAMPLE)" $(if $(SIZE),--size="$(SIZE)") $(if $(MINUTES),--minutes="$(MINUTES)") $(if $(REAL),--real="$(REAL)")

test: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(READY)
	@$(BIN)/python -m tools.bench --results="$(RESULTS)"

install: $(READY)

# in a clone: outputs of notebooks that were run and saved do not show in git
filter:
	@[ ! -e .git ] || git config filter.blendkit-notebook.clean "$(PYTHON) tools/strip_notebook.py" || true

$(READY): pyproject.toml | filter
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: install Python 3.11, 3.12 or 3.13, for example with 'sudo apt install python3 python3-venv'."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "blendkit needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) -V 2>&1): try 'make $(MAKECMDGOALS) PYTHON=python3.12'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: install it, for example with 'sudo apt install python3-venv'."; exit 1; }
	@echo "Installing into $(VENV) (4 GB, once; a few minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' || { echo "The installation failed (see above): check the network, then type 'make $(MAKECMDGOALS)' again."; exit 1; }
	@touch $(READY)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	[ ! -d results ] || find results -mindepth 1 -maxdepth 1 ! -name by-hand ! -name scoreboard -exec rm -rf {} +
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
