"""The command line in the process of the test: what `python -m webapp …` does, without importing everything anew."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path

import pytest

from webapp.cli import main


def type_in(home: Path, cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command line with `home` as PINGPAN_HOME, in the folder `cwd`; return its exit status and what it printed.

    What only a process of its own shows (it is killed, it imports, it ends) needs one: `python -m webapp`.
    """
    cwd.mkdir(parents=True, exist_ok=True)
    words = ["pingpan", *map(str, arguments)]
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr("sys.argv", words)
        patch.setenv("PINGPAN_HOME", str(home))
        patch.setenv("COLUMNS", "300")
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())
