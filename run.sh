#!/usr/bin/env bash
# Pingpan: sets itself up once, then serves the workbench or runs a command.
#   ./run.sh                      the workbench in the browser
#   ./run.sh judge SHEET …        a sheet on the command line (./run.sh --help lists every command)
#   ./run.sh setup [models] [dev] [lmdeploy] [vllm]
#                                 only install: the CPU panel, and on request what language models, tests or model servers need
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${PINGPAN_VENV:-$root/.venv}

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
}

# install SET FILE: pip installs FILE unless this very content (and this Python) is installed already.
install() {
    local stamp="$venv/.installed-$1" wanted
    wanted=$(cat "$root/requirements.txt" "$root/$2" "$venv/pyvenv.cfg" | cksum)
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
    say "Installing $2 …"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check -r "$root/$2" || {
        say "Installing $2 failed; what pip said stands above. Check the network and the free disk space, then run this again."
        exit 1
    }
    printf '%s' "$wanted" >"$stamp"
}

set_up() {
    make_venv
    install base requirements.txt
    local set
    for set in "$@"; do
        case $set in
        models | dev) install "$set" "requirements-$set.txt" ;;
        lmdeploy | vllm)
            # An environment of its own: these engines pin other versions of what Pingpan uses.
            (
                venv=$root/.venv-$set
                make_venv
                install "$set" "requirements-$set.txt"
            )
            ;;
        *)
            say "There is no set «$set» to install; choose from: models dev lmdeploy vllm"
            exit 2
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
