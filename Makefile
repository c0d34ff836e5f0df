# make demo: hear it work.  make test: prove it.  Needs make, git and Python 3.11 or newer; says what else is missing.
PYTHON ?= python3
export PYTHON
BIN = .venv/bin

.DEFAULT_GOAL = help
.PHONY: help venv demo run test bench soak check format clean

help:            ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

venv:            ## .venv with stellar-gw installed in place
	@tools/venv.sh

demo: venv       ## gateway, example agent and real calls on loopback, with a verdict
	@$(BIN)/python -m tools.demo

run: venv        ## the same gateway and agent, staying up for your softphone
	@$(BIN)/python -m tools.demo --stay

test: venv       ## the whole suite
	@tools/peers.sh
	@$(BIN)/python -m tools.ci tests

bench: venv      ## measurements, printed
	@tools/peers.sh bench
	-@$(BIN)/python -m stellar_gw.cli.compile
	@$(BIN)/python -m tools.bench

soak: venv       ## the long runs: fuzz, invite, chaos, agents, load, steady
	@tools/peers.sh
	@$(BIN)/python -m tools.soak

check: venv      ## ruff and mypy --strict
	@$(BIN)/python -m tools.ci checks

format: venv     ## lay out the code and sort imports
	@$(BIN)/python -m ruff check --fix --exit-zero --quiet . && $(BIN)/python -m ruff format .

clean:           ## remove what was made, .venv too
	rm -rf .venv build dist *.egg-info _trial_temp* .coverage* .hypothesis .mypy_cache .ruff_cache var
	rm -f twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
