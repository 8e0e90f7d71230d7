# demo and test set up what they need, and may be run again at any time.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
SERVERS := .venv/bin/python
AGENT := agent/.venv/bin/python

# Tests run on this many processes at once; 0 is one after the other.
JOBS ?= 3

.PHONY: demo test test-everything lint bench bench-audit faults setup setup-dev clean

demo: setup           ## a whole consultation, on this machine, without an account
	@$(SERVERS) deploy/demo.py

test: setup-dev       ## every test
	@$(SERVERS) -m pytest -n $(JOBS) --dist loadfile
	@CLINIC_TEST_DATABASE=postgresql $(SERVERS) -m pytest -n $(JOBS) --dist loadfile
	@$(AGENT) -m pytest -q -c tests/agent/pytest.ini tests/agent
	@$(AGENT) -m pytest -q -c tests/e2e/agent/pytest.ini tests/e2e/agent

test-everything: setup-dev  ## and on PostgreSQL too what asks the database little
	@CLINIC_TEST_EVERYTHING=1 $(MAKE) --no-print-directory test

lint: setup-dev       ## style and types
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@.venv/bin/mypy && agent/.venv/bin/mypy --config-file agent/pyproject.toml agent/clinic_agent

bench: setup bench/.venv/.fastmcp  ## calls per second, latency, start-up and memory beside a bare SDK server
	@$(SERVERS) bench/run.py
	@$(SERVERS) bench/policy_cost.py

bench-audit: setup-dev  ## what the audit log costs, how fast it is verified and asked; needs PostgreSQL's programs
	@$(SERVERS) bench/audit_write.py
	@$(SERVERS) bench/audit_verify.py
	@$(SERVERS) bench/audit_questions.py

faults: setup-dev     ## kill servers, fail disks and cut lines, for longer than the tests do; a table of what was lost
	@$(SERVERS) bench/faults.py

setup: .venv/.servers agent/.venv/.agent
setup-dev: setup .venv/.dev agent/.venv/.dev tests/oidc/node_modules/.installed

.venv/.servers: requirements/build.txt requirements/servers.txt pyproject.toml deploy/install.sh
	@PYTHON="$(PYTHON)" deploy/install.sh .venv . requirements/build.txt requirements/servers.txt && touch $@

agent/.venv/.agent: requirements/build.txt requirements/agent.txt agent/pyproject.toml deploy/install.sh
	@PYTHON="$(PYTHON)" deploy/install.sh agent/.venv agent requirements/build.txt requirements/agent.txt && touch $@

.venv/.dev: .venv/.servers requirements/dev.txt
	@PYTHON="$(PYTHON)" deploy/install.sh .venv . requirements/build.txt requirements/dev.txt && touch $@

agent/.venv/.dev: agent/.venv/.agent requirements/agent-dev.txt
	@PYTHON="$(PYTHON)" deploy/install.sh agent/.venv agent requirements/build.txt requirements/agent-dev.txt && touch $@

tests/oidc/node_modules/.installed: tests/oidc/package.json
	@if command -v npm >/dev/null; then \
	  cd tests/oidc && npm install --no-audit --no-fund --no-package-lock --loglevel=error && touch node_modules/.installed; \
	else echo "Node is not installed: the tests with a real OpenID provider are skipped."; fi

bench/.venv/.fastmcp: requirements/bench.txt
	@$(PYTHON) -m venv bench/.venv && bench/.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r $< && touch $@

clean:                ## the environments and what the demo left
	rm -rf .venv agent/.venv tests/oidc/node_modules .demo
