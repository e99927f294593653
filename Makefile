# Every target builds the environment first when it is missing or older than the lock.
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
# pyenv's shims do not put every version on PATH, so its folder is looked at too; the newest wins.
PYTHON  ?= $(shell for p in python3.14 python3.13 python3.12 python3 \
	$$(ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python 2>/dev/null | sort -rV); do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1 && { command -v "$$p"; break; }; done)

# A run starts several processes: without byte code each of them would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

PYTEST  := $(BIN)/python -m pytest
# Real processes are judged by their times, in tens of milliseconds: what fails beside other work is played again by itself.
AGAIN   := --last-failed --last-failed-no-failures none

.DEFAULT_GOAL := help
.PHONY: help install demo test test-root test-breakers test-whitebox test-postgresql test-cluster build-cluster check format deploy bench accuracy lock clean

help: ## Show the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Build .venv from the lock file

$(STAMP): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
	  echo "gameday needs Python 3.12 or newer and found none on PATH or under pyenv's versions." >&2; \
	  echo "Install one, or name it: make install PYTHON=/path/to/python3.12" >&2; exit 1; fi
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing the locked environment into $(VENV) ($$($(BIN)/python --version))"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

demo: $(STAMP) ## Break a sandbox on this machine and watch it heal
	@$(BIN)/gameday demo

PLAIN := not root and not chromium and not quiet and not targets and not whitebox and not cluster and not scale and not postgresql
test: $(STAMP) ## Everything that needs neither root nor extra servers
	@$(PYTEST) -n 4 --dist worksteal -m "$(PLAIN)" $(ARGS) || $(PYTEST) $(AGAIN) -m "$(PLAIN)" $(ARGS)
	@$(PYTEST) -n 2 -m quiet $(ARGS) || $(PYTEST) $(AGAIN) -m quiet $(ARGS) || $(PYTEST) $(AGAIN) -m quiet $(ARGS)

test-root: $(STAMP) ## What needs root and Debian packages (installs them)
	@sh tests/packages.sh nftables iproute2 iputils-ping prometheus chromium fonts-dejavu-core user-mode-linux kmod busybox-static
	@[ "$$(id -u)" -ne 0 ] || mkdir -p /lib/modules # User-Mode Linux mounts its modules over this folder of the host
	@$(PYTEST) -m "root or chromium" $(ARGS) || $(PYTEST) $(AGAIN) -m "root or chromium" $(ARGS)

test-breakers: $(STAMP) ## Real services with real breakers, each exercised for a minute (installs them)
	@PATH="$$PATH:/usr/sbin" sh tests/packages.sh nginx=nginx-light haproxy=haproxy node=nodejs npm=npm faketime
	@$(PYTEST) -n 3 --dist worksteal -m targets $(ARGS) || $(PYTEST) $(AGAIN) -m targets $(ARGS) \
	  || $(PYTEST) $(AGAIN) -m targets $(ARGS)

# Builds with Maven, npm and Go what it reads, once a machine, under ~/.cache/gameday-tests.
test-whitebox: $(STAMP) ## What breakers say about themselves: each kind of reader beside the real thing
	@PATH="$$PATH:/usr/sbin:/usr/local/go/bin" sh tests/packages.sh nginx=nginx-light haproxy=haproxy \
	  node=nodejs npm=npm redis-server=redis-server caddy=caddy java=openjdk-17-jdk-headless mvn=maven
	@$(PYTEST) -n 2 --dist loadfile -m whitebox $(ARGS) || $(PYTEST) $(AGAIN) -m whitebox $(ARGS) \
	  || $(PYTEST) $(AGAIN) -m whitebox $(ARGS)

test-postgresql: $(STAMP) ## Several agents over a real PostgreSQL, started by the tests (installs it)
	@PATH="$$PATH:$$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)" sh tests/packages.sh postgres=postgresql
	@$(PYTEST) -m postgresql $(ARGS) || $(PYTEST) $(AGAIN) -m postgresql $(ARGS)

# CLUSTER=existing uses the cluster that KUBECONFIG names.
CLUSTER ?= real
test-cluster: $(STAMP) ## A Kubernetes of real nodes, started for the tests (installs Debian packages, needs Go)
	@[ "$(CLUSTER)" = existing ] || $(MAKE) --no-print-directory build-cluster
	@$(PYTEST) -n 2 --dist loadfile -m cluster --cluster=$(CLUSTER) tests/cluster tests/kubernetes $(ARGS) \
	  || $(PYTEST) $(AGAIN) -m cluster --cluster=$(CLUSTER) tests/cluster tests/kubernetes $(ARGS) \
	  || $(PYTEST) $(AGAIN) -m cluster --cluster=$(CLUSTER) tests/cluster tests/kubernetes $(ARGS)
	@[ "$(CLUSTER)" = existing ] || $(PYTEST) -m scale --cluster=kwok tests/kubernetes $(ARGS) \
	  || $(PYTEST) $(AGAIN) -m scale --cluster=kwok tests/kubernetes $(ARGS)

build-cluster: $(STAMP) ## Build once a machine what test-cluster starts (about eight minutes on two cores)
	@sh tests/cluster/packages.sh
	@$(BIN)/python tests/cluster/up.py --build-only
	@$(BIN)/python tests/cluster/up.py --kind kwok --build-only

check: $(STAMP) ## Lint, format, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(STAMP) ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

deploy: $(STAMP) ## Roles of deploy/ and the tables of rights in the docs anew
	@$(BIN)/python deploy/generate.py

bench: $(STAMP) ## Our figures beside the peers', as ratios
	@$(BIN)/python -m bench $(ARGS)

accuracy: $(STAMP) ## How right the inference about breakers is: docs/accuracy.md anew
	@$(BIN)/python -m bench accuracy

lock: ## Resolve the lock file anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --upgrade --group dev --extra postgresql pyproject.toml -o requirements.lock

clean: ## Remove the environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
