#!/usr/bin/env bash
# Pingpan: sets itself up once, then serves the workbench or runs a command.
#   ./run.sh                      the workbench in the browser
#   ./run.sh judge SHEET …        a sheet on the command line (./run.sh --help lists every command)
#   ./run.sh setup [models] [dev] [lmdeploy] [vllm]
#                                 only install: the CPU panel, and on request what language models, tests or model servers need
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${PINGPAN_VENV:-$root/.venv}

# Python's cache of compiled modules (__pycache__) saves every process a second and more.
unset PYTHONDONTWRITEBYTECODE

say() { printf '%s\n' "$*" >&2; }

find_python() {
    local candidate
    for candidate in ${PINGPAN_PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    say "Pingpan needs Python 3.11, 3.12 or 3.13 and found none. Install one, or name it: PINGPAN_PYTHON=/path/to/python3 ./run.sh"
    exit 1
}

make_venv() {
    [ -x "$venv/bin/python" ] && return
    local python
    python=$(find_python)
    say "Setting up Pingpan in $venv (once; about a minute) …"
    "$python" -m venv "$venv" || {
        say "The virtual environment could not be made. On Debian and Ubuntu: apt install python3-venv"
        rm -rf "$venv"
        exit 1
    }
    # The one that comes with older Pythons takes half as long again to install; where there is no newer one, it will do.
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check -U 'pip>=25' >/dev/null 2>&1 || true
}

file_of() {
    [ "$1" = base ] && printf '%s' "$root/requirements.txt" || printf '%s' "$root/requirements-$1.txt"
}

# This very content, on this Python.
wanted() {
    cat "$root/requirements.txt" "$root/requirements-nodeps.txt" "$(file_of "$1")" "$venv/pyvenv.cfg" | cksum
}

pip_install() {
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-compile "$@"
}

# install SET…: pip installs those that are not installed as they are wanted, in one go.
install() {
    local set sets=() files=()
    for set in "$@"; do
        [ "$(cat "$venv/.installed-$set" 2>/dev/null)" = "$(wanted "$set")" ] && continue
        sets+=("$set")
        files+=(-r "$(file_of "$set")")
    done
    [ ${#sets[@]} = 0 ] && return
    say "Installing ${sets[*]} …"
    { pip_install "${files[@]}" && { [ "${sets[0]}" != base ] || pip_install --no-deps -r "$root/requirements-nodeps.txt"; }; } || {
        say "Installing ${sets[*]} failed; what pip said stands above. Check the network and the free disk space, then run this again."
        exit 1
    }
    compile
    for set in "${sets[@]}"; do
        wanted "$set" >"$venv/.installed-$set"
    done
}

# On every core, where pip takes one, and without the packages' own tests; what it cannot compile, nobody imports.
compile() {
    (cd "$venv"/lib/python3*/site-packages && "$venv/bin/python" -m compileall -q -j 0 -x '/(tests?|testing)/' .) >/dev/null 2>&1 || true
    (cd "$root" && "$venv/bin/python" -m compileall -q core db training webapp) >/dev/null 2>&1 || true
}

set_up() {
    local set sets=(base)
    for set in "$@"; do
        case $set in
        models | dev) sets+=("$set") ;;
        lmdeploy | vllm) ;;
        *)
            say "There is no set «$set» to install; choose from: models dev lmdeploy vllm"
            exit 2
            ;;
        esac
    done
    make_venv
    install "${sets[@]}"
    for set in "$@"; do
        case $set in
        lmdeploy | vllm)
            # An environment of its own: these engines pin other versions of what Pingpan uses.
            (
                venv=$root/.venv-$set
                make_venv
                install "$set"
            )
            ;;
        esac
    done
}

if command -v flock >/dev/null 2>&1; then
    mkdir -p "$(dirname "$venv")"
    exec 9>"$venv.lock"
    flock 9
fi
if [ "${1:-}" = setup ]; then
    shift
    set_up "$@"
    say "Pingpan is set up."
    exit 0
fi
set_up
exec 9>&-

export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$venv/bin/python" -P -m webapp "$@"
