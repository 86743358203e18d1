# `make demo` and `make test` set up everything they need in .venv; see README.md.

PYTHON ?= python3
# Any pip requirement or wheel; several words may be given, as an index to take it from.
TORCH ?= torch==2.13.0
# A folder of images, a video or a rosbag2; empty: generated streets.
INPUT ?=
DEMO_ARGS ?=
BENCH_NODE_ARGS ?=
SOAK_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed
TORCH_STAMP := $(VENV)/.torch
DEV_STAMP := $(VENV)/.installed-dev

# From the environment, quoted: a requirement such as torch>=2.4 is no redirection.
export TORCH

# What a sourced ROS has put there would come before the wheels' own.
ifdef ROS_DISTRO
unexport ROS_DISTRO PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH RMW_IMPLEMENTATION
endif

.PHONY: setup demo test lint docs bench-node soak clean force

setup: $(RUN_STAMP)

# Touched only when TORCH is given and names another torch than the one installed.
$(TORCH_STAMP): force
	@mkdir -p $(VENV)
	@if [ ! -f $@ ] || { [ $(origin TORCH) != file ] && [ "$$(cat $@)" != "$$TORCH" ]; }; then \
		printf '%s\n' "$$TORCH" >$@; \
	fi

$(RUN_STAMP): requirements.txt setup.py $(wildcard contextnet_ros/inference/compiled/*.c) Makefile $(TORCH_STAMP)
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 10) <= v[:2] <= (3, 13) else f"Python {v[0]}.{v[1]} found; 3.10 to 3.13 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'setuptools==79.0.1'
	set -f; $(BIN)/python -m pip install --quiet --disable-pip-version-check $$TORCH
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# The official scorer, to compare ours with; without the rest of what it names, among it `typing`
# from before Python 3.5. What it imports stands in requirements-dev.txt.
$(DEV_STAMP): $(RUN_STAMP) requirements-dev.txt Makefile
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'cityscapesscripts==2.3.0'
	touch $@

demo: $(RUN_STAMP)
	$(BIN)/python -m contextnet_ros.ros.demo $(if $(INPUT),--input '$(INPUT)') $(DEMO_ARGS)

# What talks DDS, or has the GPU, goes by itself and one after another. Both parts run in any case.
test: $(DEV_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not ros and not gpu" -n auto --maxprocesses 4 --dist loadfile; \
	side_by_side=$$?; $(BIN)/python -m pytest -m "ros or gpu" && exit $$side_by_side

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The figures in the documents, out of docs/results and models/.
docs: $(RUN_STAMP)
	$(BIN)/python -m contextnet_ros.tools.curves docs/results/training-*.jsonl
	$(BIN)/python -m contextnet_ros.tools.bench_plot docs/results/bench-cpu.json $(wildcard docs/results/bench-gpu.json)
	$(BIN)/python -m contextnet_ros.tools.document README.md docs/*.md docs/models/*.md

# The node without its network beside a bare relay, and what it holds: about a quarter of an hour.
bench-node: $(RUN_STAMP)
	$(BIN)/python -m contextnet_ros.ros.node_benchmark --json docs/results/bench-node.json $(BENCH_NODE_ARGS)

# An hour at the highest rate that is held; SOAK_ARGS="--minutes 6" for less.
soak: $(RUN_STAMP)
	$(BIN)/python -m contextnet_ros.ros.soak --json docs/results/soak.json $(SOAK_ARGS)

clean:
	rm -rf $(VENV) build install log out *.egg-info .mypy_cache .pytest_cache .ruff_cache
