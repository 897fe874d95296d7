# make demo: translate the embedded tissue patches.  make test: all checks and tests.  make faults, make audit: see
# CONTRIBUTING.md.  All set up .venv first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
WHEEL_ENV := build/wheel_env

.PHONY: demo test lint pythons docs wheel faults audit clean

demo: $(INSTALLED)
	@echo "== Turning 8 stroma patches into gland and 8 gland patches into stroma, 10 steps each (half a minute to a minute)."
	@echo "== Output: results/demo/translation_0_1 and results/demo/translation_1_0."
	@echo "== Look at it in a browser: results/demo/index.html"
	$(RUN) scripts/frequency_generating_m_samples.py --amount=10 --out_dir=results/demo
	@echo "== To use these commands in this shell: source $(VENV)/bin/activate"

test: lint pythons docs wheel
	@echo "== The tests, on tiny networks (a few minutes on 2 cores). They write to /tmp and to tool caches only."
	OMP_NUM_THREADS=1 ADD_WHEEL_ENV=$(CURDIR)/$(WHEEL_ENV) $(RUN) -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	@echo "== Lint and types."
	$(RUN) -m ruff check .
	$(RUN) -m mypy

pythons:
	@echo "== The other Pythons that are there."
	.ci/interpreters

docs: $(INSTALLED)
	@echo "== The site, with every link checked: build/site/index.html"
	$(RUN) -m sphinx -q -W -d build/doctrees docs build/site

wheel: $(INSTALLED)
	@echo "== The wheel, in build/dist, and an environment with nothing but it, for the tests."
	rm -rf build/lib build/bdist* build/dist $(WHEEL_ENV)
	$(PYTHON) -m pip wheel --quiet --no-deps -w build/dist .
	$(PYTHON) -m venv $(WHEEL_ENV)
	$(WHEEL_ENV)/bin/python -m pip install --quiet -c constraints.txt build/dist/*.whl

faults: $(INSTALLED)
	@echo "== The whole campaign of faults and spoiled inputs (an hour or two); build/faults.jsonl has each, and is continued."
	OMP_NUM_THREADS=1 $(RUN) -m tests.faults.campaign --faults 1000 --inputs 10000 --out build/faults.jsonl

audit: $(INSTALLED)
	@echo "== Licences of all dependencies, and known weaknesses of their versions (pip-audit, where there is a network)."
	-$(RUN) -m pip install --quiet -c constraints.txt -e ".[audit]"
	$(RUN) .ci/audit.py

$(INSTALLED): setup.py constraints.txt
	@echo "== Setting up $(VENV) with PyTorch and the tools (once, about a minute plus the download)."
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet -c constraints.txt -e ".[test]"
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) build
