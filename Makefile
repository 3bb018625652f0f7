# legacylens: install, quickstart, test. Only Python 3.11+, git and make are needed to start.
#   make quickstart              the whole way on a mock sky of 6,000 galaxies and 300 lenses; ends with its report
#   make quickstart SIZE=tiny    the same on a sky of 1,200 galaxies and 160 lenses
#   make test                    all tests
PYTHON ?= python3
SIZE ?= small
WORKERS ?= 2
BIN := .venv/bin

.PHONY: install quickstart test contracts clean
install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt tools/install.sh
	PYTHON=$(PYTHON) tools/install.sh
	@touch $@

quickstart: install
	$(BIN)/legacylens quickstart --size $(SIZE) --out quickstart/$(SIZE) --workers $(WORKERS)

test: install
	$(BIN)/pytest -n $(WORKERS) --no-loadscope-reorder --durations 15

contracts: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf quickstart .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
