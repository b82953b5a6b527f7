"""The command line of jobs: `python -m training run JOB_DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from core.processes import collect_rarely
from training.process import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say and return the exit status: 0 done, 1 failed, 3 taken by another process, 75 saved and stopped."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Work on a job's folder.")
    commands = parser.add_subparsers(required=True)
    runs = commands.add_parser("run", help="do a job, or go on with it; SIGTERM, Ctrl-C or the folder's file `stop` save and end it")
    runs.add_argument("folder", type=Path, metavar="JOB_DIR")
    return int(run(parser.parse_args(arguments).folder))


if __name__ == "__main__":
    collect_rarely()
    sys.exit(main())
