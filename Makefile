# `make` lists the targets. On a Debian machine with Python 3.11 or newer and make, nothing else is needed.

# Choose another interpreter or place with `make test PYTHON=python3.12 VENV=/tmp/venv`.
PYTHON ?=
VENV ?= .venv
# Newest first, within `requires-python`; the first that runs is taken.
PYTHONS := python3.13 python3.12 python3.11 python3
WORKERS ?= 2
# Where `make serve` listens, and the bundle that it serves.
PORT ?= 8080
GRPC_PORT ?= 8081
BUNDLE ?= nano
# What the tests need, and what the demo and the service do; variables, because `call` would take the comma for its own.
TESTED := .[dev,onnx,pipelines,s3,serve,train]
USED := .[onnx,pipelines,s3,serve,train]

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# On a busy machine several OpenMP threads are slower than one; work is spread over processes.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# sam2 would otherwise compile a CUDA extension that only its video post-processing uses.
export SAM2_BUILD_CUDA := 0

.PHONY: help demo serve test check check-full clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

demo: $(VENV)/.installed ## segment an image, learn a new chip, judge, deploy and ask it; prints the report's path last
	@$(VENV)/bin/python examples/demo.py

serve: $(VENV)/.installed ## serve the shipped bundle on this machine (PORT=8080 GRPC_PORT=8081 BUNDLE=nano) until Ctrl-C
	@exec $(VENV)/bin/python -m serving --bundle $(BUNDLE) --http-port $(PORT) --grpc-port $(GRPC_PORT)

test: $(VENV)/.installed-dev ## run the tests
	@# Many tests start processes; where PYTHONDONTWRITEBYTECODE is set, each would compile all of it anew.
	$(VENV)/bin/python -m compileall -q components etchline pipelines serving
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

check: $(VENV)/.installed-dev ## lint, format, types, import contracts
	@$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

check-full: check test ## check, test, the benchmark of the ESD evaluation, and storage on a Ceph gateway where Ceph is installed
	@$(VENV)/bin/python benchmarks/esd.py
	$(VENV)/bin/python tests/storage_on_ceph.py

clean: ## remove the virtual environment, the caches and the demo's output (other runs stay)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist runs/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second call free; a changed pyproject.toml is newer than they are.
$(VENV)/.installed: pyproject.toml
	@$(call install,$(USED))

$(VENV)/.installed-dev: pyproject.toml
	@$(call install,$(TESTED))
	touch $(VENV)/.installed

# Installs Debian's packages $(1) where this user may; otherwise says what is wrong, $(2), and how to mend it.
define apt_install
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1)
else
  echo "error: $(2); install it with: sudo apt-get install $(1)" >&2
  exit 1
fi
endef

# Installs $(1), the extra `train` among it, editable into the environment, which is made first where it is missing or
# was left half-made.
define install
if ! $(VENV)/bin/python -m pip --version >/dev/null 2>&1; then
  suitable() { "$$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }
  python=
  for candidate in $(or $(PYTHON),$(PYTHONS)); do
    if suitable "$$candidate"; then python=$$candidate; break; fi
  done
  if [ -z "$$python" ]; then
    echo "error: no Python >= 3.11 and < 3.14 among: $(or $(PYTHON),$(PYTHONS)); install one or name it: make PYTHON=/path/to/python3" >&2
    exit 1
  fi
  if ! "$$python" -c 'import ensurepip' 2>/dev/null; then
    package=$$("$$python" -c 'import sys; print("python3.%d-venv" % sys.version_info.minor)')
    $(call apt_install,$$package,$$python cannot make virtual environments)
  fi
  echo "making $(VENV) with $$("$$python" --version)"
  "$$python" -m venv --clear $(VENV)
fi
echo "installing etchline and what it needs into $(VENV)"
$(VENV)/bin/python -m pip install --quiet --editable '$(1)'
# topolosses asks for opencv-python, which puts files that need a display's libraries over the headless ones.
if $(VENV)/bin/python -m pip uninstall --quiet --yes opencv-python 2>/dev/null; then
  $(VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall opencv-python-headless
fi
# Its wheel leaves out two libraries of the system, which bare machines lack.
libraries='import ctypes; [ctypes.CDLL(name) for name in ("libGL.so.1", "libgobject-2.0.so.0")]'
if ! $(VENV)/bin/python -c "$$libraries" 2>/dev/null; then
  $(call apt_install,libgl1 libglib2.0-0,topolosses needs libraries of the system)
fi
touch $@
endef
