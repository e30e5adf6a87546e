# make demo    a photo through the bundled workflow into every embedded style; prints where the pictures are
# make test    formatting, types, import order and the whole test suite
# make lint    all but the tests
# make assets  retrains the embedded networks from nothing (hours; resumes where it stopped)
# make clean   removes the set-up; pictures in output/ and trained states in .work/ stay
#
# The first of these makes .venv and installs into it; the next ones find it there. Python 3.10+ with pip is all it
# needs: another interpreter is chosen with `make PYTHON=python3.12 demo`.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# The stamp's name holds the folder, because an editable installation stops working when its folder is moved.
STAMP := $(VENV)/.installed-$(shell pwd | cksum | cut -d' ' -f1)
MYPY_ROOT := .work/mypy

.PHONY: demo test lint assets clean install
.DEFAULT_GOAL := demo

demo: $(STAMP)
	@$(RUN) -m facestylist demo --out output/demo

# Two files of tests at a time, each with one thread: on two cores that takes half as long as one with two.
test: lint
	@OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(STAMP) $(MYPY_ROOT)/facestylist
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m ruff format --quiet --check .
	@MYPYPATH=$(MYPY_ROOT) $(RUN) -m mypy --no-error-summary -p facestylist
	@PYTHONPATH=$(MYPY_ROOT) $(VENV)/bin/lint-imports --no-cache >.work/imports.log || { cat .work/imports.log >&2; exit 1; }

assets: $(STAMP)
	@$(RUN) -m facestylist train-embedded
	@$(RUN) -m facestylist train-detector --resume --out assets/detector.safetensors

install: $(STAMP)

$(STAMP): pyproject.toml requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo 'Python 3.10 or newer is needed; name one with `make PYTHON=python3.12 $(MAKECMDGOALS)`.' >&2; exit 1; }
	@echo 'Setting up $(VENV) (once) ...' >&2
	@# Where the system's Python has pip but not ensurepip (Debian), its pip fills a venv made without one.
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || \
	    { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(RUN) install --quiet pip; }
	@$(RUN) -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@rm -f $(VENV)/.installed-* && touch $@

# mypy takes a package's name from its folder, which a clone may call anything: a link gives it the right one.
$(MYPY_ROOT)/facestylist:
	@mkdir -p $(MYPY_ROOT) && ln -sfn ../.. $@

clean:
	@rm -rf $(VENV) .work/mypy .work/mypy_cache build *.egg-info
