#!/usr/bin/env bash
# Sets up the test environment, then checks style (ruff), types (mypy --strict) and behaviour (pytest).
# Arguments go to pytest: ./test.sh tests/core -k median
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=${PINGPAN_VENV:-$PWD/.venv}

./run.sh setup models dev
"$venv/bin/python" -m ruff check .
"$venv/bin/python" -m ruff format --check .
"$venv/bin/python" -m mypy --strict
# Two workers suit the smallest machine this runs on; tiny models are slower when threads of several fight for its cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$venv/bin/python" -m pytest -n "${PINGPAN_TEST_WORKERS:-2}" --dist loadfile "$@"
