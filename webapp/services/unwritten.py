"""Which runs of the command line still owe their files: the process may be killed after the last judgement and before the last file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UnwrittenRuns:
    """The runs whose files were not all written yet, each as an empty file in a folder of PINGPAN_HOME."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ids(self) -> frozenset[int]:
        """Return the ids of the runs that owe files."""
        names = [place.name for place in self._folder.iterdir()] if self._folder.is_dir() else []
        return frozenset(int(name) for name in names if name.isdecimal())

    @contextmanager
    def until_written(self, run_id: int) -> Iterator[None]:
        """Let a run owe its files until the block ends without an error."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / str(run_id)).touch()
        yield
        (self._folder / str(run_id)).unlink(missing_ok=True)
