"""`python -m webapp`: the workbench without a word after it, the command line with one."""

from __future__ import annotations

import os

from core.processes import collect_rarely
from webapp.cli import main

if __name__ == "__main__":
    # Small matrices gain nothing from threads, which only wait for each other; read when numpy is first imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    collect_rarely()
    main()
