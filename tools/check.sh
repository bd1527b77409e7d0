#!/usr/bin/env bash
# Runs what CI runs: format, lint, types, import contracts, site, tests. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
ruff format --check .
ruff check .
mypy
lint-imports
python -m sphinx -W --keep-going -q docs build/site
python -m pytest "$@"
