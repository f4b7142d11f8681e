# make rehearse   see a corpus packed, a carrier lost, and everything restored
# make test       what CI runs: lint, types, import rules, tests
# make loaders    the libraries that docs/guides/loaders.md has examples of, for their tests
# make bench      sealift beside its peers, on the same bytes (up to 40 minutes, 45 GB; root for real filesystems)
# Needs only Python >= 3.11 (PYTHON=...), make, and the operating system's packages that README.md names.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 3 # tests wait for disks and processes: one more than CI has cores
SECONDS ?= 60

# Where it is set, as in many images of Python, each of thousands of processes compiles all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: venv loaders fuzz test test-long lint rehearse bench bench-smoke format clean

venv: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sealift needs Python >= 3.11; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[rehearse,test,lint]'
	@touch $@

# what the tests of docs/guides/loaders.md need, some 2 GB; without it they are skipped, unless CI is set
loaders: $(VENV)/.loaders

$(VENV)/.loaders: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 # first: others would choose a build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[loaders]'
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m 'not long'

test-long: lint
	$(BIN)/pytest -n $(JOBS) --dist worksteal

fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz,test]'
	$(BIN)/python fuzz/run.py --seconds $(SECONDS) $(TARGETS)

rehearse: $(STAMP)
	$(BIN)/sealift rehearse $(ARGS)

# bench ARGS='--only verify': see `python -m bench --help`
bench: $(VENV)/.bench
	$(BIN)/python -m bench $(ARGS)

bench-smoke: $(VENV)/.bench
	$(BIN)/python -m bench --smoke
	$(BIN)/python -m bench.object_stores --smoke

$(VENV)/.bench: $(STAMP) bench/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	@touch $@

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
