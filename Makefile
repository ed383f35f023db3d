# Everything a newcomer types. Needs make, a POSIX shell and Python 3.11 or later; the rest is made or installed here.
#
#   make demo     the main job, end to end, on this machine
#   make test     all checks, all tests, and as root on Debian those on real hosts that run for every landing
#   make hosts    all tests on five real systemd hosts (hosts-quick: fewer of them; LABS=2 times five hosts, two CPUs)
#   make check    lint, types, imports, unit tests: under a minute
#   make bench    speed and memory beside nginx, haproxy, rclone, s5cmd and awscli
#   make chaos    faults at random by seed (MINUTES=60, or SEEDS=7,8; JOURNAL=riak_kv: shared), and a checker
#   make clients  real S3 clients through the gateway and directly at Riak CS: which operations work
#   make lock     resolve the dependencies anew (UPGRADE="name ..." or UPGRADE=all lifts pins)
#   make clean    remove what was made here

.POSIX:
.SUFFIXES:
.PHONY: help demo test hosts hosts-quick check bench chaos clients lock clean environment static force

# Python 3.11 or later; empty: the operating system's where that will do, else the first python3 in the path. Nodes run
# on the former, and Debian's starts and runs faster than one that was built without a profile.
PYTHON =
VENV = .venv
CLIENTS = .venv-clients
BENCH = .venv-bench
SYSTEM_PYTHON = /usr/bin/python3
AZURITE = .azurite
BIN = $(VENV)/bin
# With bytecode kept whatever the environment says: a Millrace process starts in two thirds of the time.
RUN = PYTHONDONTWRITEBYTECODE= $(BIN)/python
CHOOSE_PYTHON = python="$(PYTHON)"; [ "$$python" ] || { python=$(SYSTEM_PYTHON); \
  $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || python=python3; }
PIP = -m pip --disable-pip-version-check --quiet
PIP_LOCKED = $(PIP) install --require-hashes
NPM_LOCK = .ci/lock/azurite/package-lock.json .ci/lock/azurite/package.json .ci/lock/azurite/.npmrc
UPGRADE =
MINUTES = 60
LABS = 2
SEEDS =
JOURNAL = sqlite
ETCD = etcd-server:etcd
HOSTS = mmdebstrap:mmdebstrap systemd-container:systemd-nspawn nftables:nft socat:socat openssh-client:ssh iproute2:ip \
  curl:curl dpkg:dpkg-deb

help:
	@sed -n 's/^#   //p' Makefile

demo: environment
	@.ci/system-packages $(ETCD)
	$(RUN) -m tests.demo

test: static $(CLIENTS)/.lock-installed $(AZURITE)/.lock-installed
	@.ci/system-packages $(ETCD) haproxy:haproxy openssl:openssl prometheus:promtool systemd:systemd-analyze dpkg:dpkg-deb \
	  vagrant:vagrant \
	  rclone:rclone s3cmd:s3cmd redis-server:redis-server memcached:memcached
	$(RUN) -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --hypothesis-profile=same
	@if why=$$(tests/hosts/hosts possible 2>&1); then $(MAKE) hosts-quick; else \
	  echo "Not run: the tests on real hosts ($$why). As root on Debian: make hosts-quick, or make hosts for all."; fi

hosts: environment
	@.ci/system-packages $(HOSTS)
	$(RUN) -m pytest -m hosts --numprocesses=$(LABS) --dist=loadfile --no-loadscope-reorder tests/hosts

hosts-quick: environment
	@.ci/system-packages $(HOSTS)
	HOSTS_STOCK=1 $(RUN) -m pytest -m hosts_quick tests/hosts

check: static
	$(RUN) -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile tests/unit

bench: environment $(CLIENTS)/.lock-installed $(BENCH)/.lock-installed
	@.ci/system-packages nginx-light:nginx rclone:rclone wrk:wrk haproxy:haproxy etcd-server:etcd
	TESTED_PYTHON=$(BENCH)/bin/python $(BIN)/python -m tests.bench

chaos: environment
	@.ci/system-packages $(ETCD) rclone:rclone
	$(RUN) -m tests.chaos --minutes $(MINUTES) --seeds "$(SEEDS)" --journal $(JOURNAL)

clients: environment $(CLIENTS)/.lock-installed
	@.ci/system-packages etcd-server:etcd openssl:openssl rclone:rclone s3cmd:s3cmd
	$(RUN) -m tests.clients

static: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(VENV)/.lock-installed
	$(BIN)/python .ci/lock/relock.py $(UPGRADE)

clean:
	rm -rf $(VENV) $(CLIENTS) $(BENCH) $(AZURITE) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment: $(VENV)/.project-installed

$(VENV)/.made:
	@$(CHOOSE_PYTHON); \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: $$python is `$$python --version 2>&1`. Try: make PYTHON=python3.12"; exit 1; }; \
	$$python -c 'import ensurepip' 2>/dev/null || .ci/system-packages python3-venv: || exit 1; \
	echo "Making $(VENV) by $$python, `$$python --version`"; \
	$$python -m venv $(VENV)
	@touch $@

# What was installed is kept in .lock-installed and compared: times do not tell, after a checkout of another commit or
# with a copied environment. The build tools come first and from the lock too: packages without a wheel are built with
# these, not with whatever is newest today.
$(VENV)/.lock-installed: $(VENV)/.made .ci/lock/build.txt .ci/lock/dev.txt force
	@cat .ci/lock/build.txt .ci/lock/dev.txt | cmp -s - $@ || { \
	  echo "Installing the locked packages into $(VENV)" && \
	  $(BIN)/python $(PIP_LOCKED) -r .ci/lock/build.txt && \
	  $(BIN)/python $(PIP_LOCKED) --no-build-isolation -r .ci/lock/dev.txt && \
	  cat .ci/lock/build.txt .ci/lock/dev.txt >$@; }

force:

$(VENV)/.project-installed: $(VENV)/.lock-installed pyproject.toml
	@$(BIN)/python $(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@$(BIN)/python -m pip check >$@.check || { cat $@.check; echo "The locks do not fit pyproject.toml: run make lock"; exit 1; }
	@rm $@.check
	@touch $@

# Real S3 clients do not agree with the lock above on their libraries: they live apart.
$(CLIENTS)/.lock-installed: $(VENV)/.made .ci/lock/build.txt .ci/lock/clients.txt force
	@cat .ci/lock/build.txt .ci/lock/clients.txt | cmp -s - $@ || { \
	  echo "Installing the locked S3 clients into $(CLIENTS)" && \
	  $(BIN)/python -m venv $(CLIENTS) && \
	  $(CLIENTS)/bin/python $(PIP_LOCKED) -r .ci/lock/build.txt && \
	  $(CLIENTS)/bin/python $(PIP_LOCKED) --no-build-isolation -r .ci/lock/clients.txt && \
	  cat .ci/lock/build.txt .ci/lock/clients.txt >$@; }

# What is measured is what operators run: roles/controlplane makes an environment of the runtime lock by the operating
# system's Python, which may be built otherwise than the one that a developer has first in the path.
$(BENCH)/.lock-installed: $(VENV)/.made .ci/lock/build.txt .ci/lock/runtime.txt force
	@cat .ci/lock/build.txt .ci/lock/runtime.txt | cmp -s - $@ || { \
	  python=$(SYSTEM_PYTHON); \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || python=$(BIN)/python; \
	  { $$python -c 'import ensurepip' 2>/dev/null || .ci/system-packages python3-venv:; } && \
	  echo "Installing what a node runs into $(BENCH), by $$python" && \
	  rm -rf $(BENCH) && \
	  $$python -m venv $(BENCH) && \
	  $(BENCH)/bin/python $(PIP_LOCKED) -r .ci/lock/build.txt && \
	  $(BENCH)/bin/python $(PIP_LOCKED) --no-deps --only-binary=:all: -r .ci/lock/runtime.txt && \
	  cat .ci/lock/build.txt .ci/lock/runtime.txt >$@; }

# The Azure Blob server of the tests comes from npm. The lock pins every package by its checksum, and none of their
# installation scripts is run (.npmrc).
$(AZURITE)/.lock-installed: $(NPM_LOCK) force
	@.ci/system-packages nodejs:node npm:npm
	@cat $(NPM_LOCK) | cmp -s - $@ || { \
	  echo "Installing the locked Azurite" && \
	  mkdir -p $(AZURITE) && \
	  cp $(NPM_LOCK) $(AZURITE) && \
	  (cd $(AZURITE) && npm ci --silent) && \
	  cat $(NPM_LOCK) >$@; }
