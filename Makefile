# make talk    set everything up, then open the page and talk
# make test    set everything up, then pass the tests

PYTHON ?= python3
BIN := .venv/bin

.PHONY: talk test install programs check constraints clean

talk: install
	$(BIN)/duologue serve --open

test: install check
	$(BIN)/pytest -q

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: programs .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "duologue needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Better voices than the one that pip gives, where apt-get may be used without asking.
programs:
	@command -v flite >/dev/null && command -v espeak-ng >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq flite espeak-ng; } >/dev/null 2>&1; } || \
	  echo "flite and espeak-ng are not installed: the voice out of the wheel espeakng-loader will speak"

constraints: install
	{ head -1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
