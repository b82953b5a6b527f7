#!/usr/bin/env bash
# Sets up the test environment, then checks style (ruff), types (mypy --strict) and behaviour (pytest).
# Arguments go to pytest: ./test.sh tests/core -k median
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=${PINGPAN_VENV:-$PWD/.venv}
# Hundreds of processes are started; without a cache of compiled modules each would compile what it imports.
unset PYTHONDONTWRITEBYTECODE

./run.sh setup models dev
"$venv/bin/python" -m ruff check .
"$venv/bin/python" -m ruff format --check .
# Types are checked beside the tests, which wait for browsers and processes half of the time.
types=$(mktemp)
trap 'rm -f "$types"' EXIT
"$venv/bin/python" -m mypy --strict >"$types" 2>&1 &
checking=$!
# Tiny models are slower when threads of several tests fight for the cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
status=0
"$venv/bin/python" -m pytest -n "${PINGPAN_TEST_WORKERS:-2}" --dist loadfile --no-loadscope-reorder "$@" || status=$?
wait "$checking" || status=1
cat "$types"
exit "$status"
