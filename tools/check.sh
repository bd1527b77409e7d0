#!/usr/bin/env bash
# Runs what CI runs: format, lint, types, import contracts, tests. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
ruff format --check .
ruff check .
mypy
lint-imports
python -m pytest "$@"
