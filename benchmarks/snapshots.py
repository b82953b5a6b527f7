"""How long a training set takes to freeze: `python -m benchmarks.snapshots --rows 100000`.

The rows are made up: 250 random letters each, five labels, every tenth text a copy of the one before with a letter changed.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.machine import describe_machine
from core.settings import load_settings
from core.types import Origin, SheetRow, SourceRef
from webapp.services.training.snapshots import SnapshotChoices
from webapp.workbench import Workbench

LETTERS = [chr(code) for code in range(0x4E00, 0x4E00 + 3_000)]


def made_rows(count: int, length: int) -> Iterator[SheetRow]:
    """Yield labelled rows of fluency."""
    draw = random.Random(0)
    text = ""
    for number in range(count):
        if number % 10 == 9:
            place = draw.randrange(length)
            text = text[:place] + draw.choice(LETTERS) + text[place + 1 :]
        else:
            text = "".join(draw.choices(LETTERS, k=length))
        yield SheetRow(number, f"B{number}", "fluency", "", text, 1 + number % 5, SourceRef("made up", "", number), {})


def main(arguments: list[str]) -> None:
    """Freeze made-up rows in an empty home and print seconds, memory and bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--length", type=int, default=250)
    parser.add_argument("--examples", type=int, default=0)
    options = parser.parse_args(arguments)
    print(describe_machine())
    with tempfile.TemporaryDirectory() as home:
        bench = Workbench.open(load_settings(home=Path(home)))
        bench.store.save_library("made up", made_rows(options.rows, options.length), Origin.IMPORT)
        wall, processor = time.perf_counter(), time.process_time()
        snapshot = bench.snapshots.freeze("made up", SnapshotChoices(examples=options.examples))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        families = bench.snapshots.info(snapshot.id).families
        size = sum(path.stat().st_size for path in snapshot.folder.iterdir())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{options.rows} rows, {families} families: {snapshot.train_rows} to train on, {snapshot.held_out_rows} held out")
    print(f"{wall:.1f} s ({processor:.1f} s of processor time), at most {memory:.1f} GiB of memory, {size / 1e6:.0f} MB of files")


if __name__ == "__main__":
    main(sys.argv[1:])
