# Everything a fresh clone needs. Targets do no work twice: what is done leaves a stamp in .venv.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
  $$name -c $(FITS) 2>/dev/null && command -v $$name && break; done)
FITS := "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))"
QUIET_PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
PIP = $(QUIET_PIP) install $(PIP_FLAGS)
VENV := .venv
EXTRAS := dev
BIN := $(VENV)/bin
RUN_DIR ?= runs/shapes
PYTEST_FLAGS ?=
export TF_CPP_MIN_LOG_LEVEL ?= 2

NATIVE := CMakeLists.txt setup.py yolov1/__init__.py $(shell find kernels -type f \
  \( -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.in' -o -name '*.py' \))
CPP := $(filter %.h %.cc %.cu,$(NATIVE)) $(wildcard benchmarks/*.cc tests/native/*.h tests/native/*.cc tests/native/*/*.h)
CMAKE = $(firstword $(wildcard $(abspath $(BIN)/cmake)) cmake)
JOBS := $(shell nproc)
FUZZED := $(patsubst tests/native/fuzz_%.cc,%,$(wildcard tests/native/fuzz_*.cc))
FUZZ ?= $(FUZZED)
FUZZ_SECONDS ?= 60
REPLAY_PARTS := 0/4 1/4 2/4 3/4
CLANGXX ?= clang++
CROSS ?= aarch64-linux-gnu
CROSS_PARTS := 0/10
QEMU ?= qemu-$(firstword $(subst -, ,$(CROSS)))

.DEFAULT_GOAL := help
.PHONY: help venv install wheel train test slow-tests sanitize cross fuzz lint format bench docs clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

# ------------------------------------------------------------------------------------- set-up

$(VENV)/.created:
	@$(or $(PYTHON),false) -c $(FITS) || \
	  { echo "yolov1 needs Python 3.11, 3.12 or 3.13, as TensorFlow 2.21 does, but $(if $(PYTHON),$(PYTHON) is $$($(PYTHON) -V),there is none on PATH): run: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "$(PYTHON) cannot make a virtual environment: install its venv package (on Debian: apt-get install python3-venv)"; exit 1; }
	@touch $@

# $(call required,packages,extras): packages, and those of some extras of pyproject.toml, a line each.
required = $(BIN)/python -c "import tomllib; file = tomllib.load(open('pyproject.toml', 'rb')); \
  project = file['project']; extras = project['optional-dependencies']; \
  print(*$(1), *sum((extras[name] for name in '$(2)'.split()), []), sep='\n')"

# TensorFlow first: the native code is built against the installed one.
$(VENV)/.dependencies: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing the dependencies into $(VENV) (about 2 GB, a few minutes)"
	@$(call required,file['build-system']['requires'] + project['dependencies'],$(EXTRAS)) > $(VENV)/requirements.txt
	@$(PIP) -r $(VENV)/requirements.txt -c constraints.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.dependencies $(NATIVE)
	@echo "Building the native code (minutes, with CUDA most of them nvcc's: see setup.py; what did not change is kept)"
	@$(PIP) --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.bench: $(VENV)/.dependencies
	@echo "Installing the packages that a benchmark compares with (the extras bench and serve of pyproject.toml)"
	@$(call required,[],bench serve) > $(VENV)/bench.txt
	@$(PIP) -c constraints.txt -r $(VENV)/bench.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.dependencies
	@echo "Installing what makes the site (the extra docs of pyproject.toml)"
	@$(call required,[],docs) > $(VENV)/docs.txt
	@$(PIP) -c constraints.txt -r $(VENV)/docs.txt
	@touch $@

venv: $(VENV)/.dependencies  ## Make .venv with the pinned dependencies

install: $(VENV)/.installed  ## ... and build and install the package into it, editable

# From nothing but what CMake has built: of a module that is gone, build/lib* would still have a copy.
wheel: $(VENV)/.dependencies  ## A wheel with its manylinux tag, to dist/ (YOLOV1_CUDA=OFF: without CUDA kernels)
	@rm -rf build/lib* build/bdist* build/wheel
	@echo "Building the native code (minutes; what did not change is kept)"
	@$(QUIET_PIP) wheel --no-build-isolation --no-deps --wheel-dir build/wheel .
	@PATH="$(abspath $(BIN)):$$PATH" .ci/repair_wheel build/wheel/yolov1-*.whl dist

# -------------------------------------------------------------------------------------- work

train: install  ## Train on the embedded shapes, evaluate, write runs/shapes (does nothing once done)
	@if test -f $(RUN_DIR)/summary.json; then \
	  echo "$(RUN_DIR) is complete: see $(RUN_DIR)/report.html and $(RUN_DIR)/pictures (remove it to train again)"; \
	elif test -f $(RUN_DIR)/config.json; then \
	  $(BIN)/python -m experiments.train --dataset=shapes --output_dir=$(RUN_DIR) --resume; \
	else \
	  $(BIN)/python -m experiments.train --dataset=shapes --output_dir=$(RUN_DIR); \
	fi

# Two processes on any machine: each holds TensorFlow, and on a GPU they share its memory.
test: install lint sanitize  ## Lint, sanitizers, then the tests but the slow ones
	TF_FORCE_GPU_ALLOW_GROWTH=true $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --max-worker-restart=0 $(PYTEST_FLAGS)

slow-tests: install  ## The others: every combination, wheel builds, several processes
	$(BIN)/python -m pytest -m slow $(PYTEST_FLAGS)

# These three need a compiler and CMake, but no Python: .venv's CMake is taken where there is one.
# $(call core,folder,target,settings)
core = @mkdir -p build; { $(CMAKE) -S . -B build/$(1) -DYOLOV1_WERROR=$(or $(YOLOV1_WERROR),OFF) $(3) && \
  $(CMAKE) --build build/$(1) --target $(2) --parallel $(JOBS); } > build/$(1).log 2>&1 || { cat build/$(1).log; exit 1; }
# $(call replayed,folder,parts,what runs a program): the tests of every op's core, JOBS at once.
replayed = @printf '%s\n' $(foreach op,$(FUZZED),$(2:%="$(op) --part=%")) | xargs -P $(JOBS) -I REPLAY \
  sh -c 'said=$$($(3) build/$(1)/tests/native/replay_REPLAY 2>&1); code=$$?; \
  echo "REPLAY: $$said"; exit $$code'

sanitize:  ## The framework-free core under the address and undefined-behaviour sanitizers
	$(call core,sanitize,replay,-DYOLOV1_SANITIZE=ON)
	$(call replayed,sanitize,$(REPLAY_PARTS),)

cross:  ## The same core built for ARM (CROSS=aarch64-linux-gnu), one in ten of its tests under qemu-user
	@{ command -v $(CROSS)-g++ && command -v $(QEMU); } > /dev/null || \
	  { echo "make cross needs $(CROSS)-g++ and $(QEMU): install them (on Debian: apt-get install g++-$(CROSS) qemu-user)"; exit 1; }
	$(call core,cross-$(CROSS),replay,-DYOLOV1_CORE_ONLY=ON -DCMAKE_SYSTEM_NAME=Linux \
	  -DCMAKE_SYSTEM_PROCESSOR=$(firstword $(subst -, ,$(CROSS))) -DCMAKE_CXX_COMPILER=$(CROSS)-g++)
	$(call replayed,cross-$(CROSS),$(CROSS_PARTS),$(QEMU) -L /usr/$(CROSS))

fuzz:  ## Search for inputs that break it, led by coverage, for FUZZ_SECONDS=60 (needs clang++)
	@echo 'int main() {}' | $(CLANGXX) -fsanitize=address -x c++ -o /dev/null - 2> /dev/null || \
	  { echo "make fuzz needs clang++ and its sanitizers: install them (on Debian: apt-get install clang), or run: make fuzz CLANGXX=/path/to/clang++"; exit 1; }
	$(call core,fuzz,$(FUZZ:%=fuzz_%),-DYOLOV1_SANITIZE=ON -DCMAKE_CXX_COMPILER=$(CLANGXX))
	@echo "Fuzzing $(FUZZ) for $(FUZZ_SECONDS) seconds; an input that breaks it goes to build/fuzz"
	@for op in $(FUZZ); do \
	  mkdir -p build/fuzz/corpus_$$op && build/fuzz/tests/native/fuzz_$$op -timeout=120 -max_len=512 \
	    -max_total_time=$$(($(FUZZ_SECONDS) / $(words $(FUZZ)))) -len_control=0 -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/$$op- build/fuzz/corpus_$$op > build/fuzz_$$op.log 2>&1 || \
	    { grep -v -E '^.[0-9]+\s|NEW_FUNC' build/fuzz_$$op.log; exit 1; }; \
	  echo "$$op: $$(grep -E 'DONE|executed' build/fuzz_$$op.log)"; \
	done

lint: venv  ## Check style and format of Python and C++
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)

format: venv  ## Put Python and C++ into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

bench: install $(VENV)/.bench  ## Run the benchmarks (rows to benchmarks/results), draw the plots
	@for bench in benchmarks/bench_*.py; do \
	  name=$$(basename $$bench .py); echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; \
	done
	@if nvidia-smi -L 2> /dev/null | grep -q GPU; then \
	  echo "== gpu"; $(BIN)/python -m benchmarks.gpu || exit 1; fi
	$(BIN)/python -m benchmarks.plot

docs: install $(VENV)/.docs  ## The documentation as a site: build/site/index.html
	@$(BIN)/python -m sphinx -q -W --keep-going -c docs . build/site
	@echo "build/site/index.html"

clean:  ## Remove what was built (not .venv's packages, not runs)
	rm -rf build dist *.egg-info yolov1/*.so yolov1/_build_info.json $(VENV)/.installed
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
