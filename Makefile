# make demo: translate the embedded tissue patches.  make test: lint and tests.  Both set up .venv first.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed

.PHONY: demo test clean

demo: $(INSTALLED)
	@echo "== Turning 8 stroma patches into gland and 8 gland patches into stroma, 10 steps each (about a minute)."
	@echo "== Output: results/demo/translation_0_1 and results/demo/translation_1_0 (look at overview.png)."
	$(VENV)/bin/python scripts/frequency_generating_m_samples.py --amount=10 --out_dir=results/demo

test: $(INSTALLED)
	@echo "== Lint, then the tests on tiny networks (a few minutes on 2 cores). They write to /tmp and to tool caches only."
	$(VENV)/bin/python -m ruff check .
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

$(INSTALLED): setup.py constraints.txt
	@echo "== Setting up $(VENV) with PyTorch and the tools (once, about a minute plus the download)."
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e ".[test]"
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV)
