"""Measure the review queue, labels, agreement, library desk and comparison at the size of a large run.

    python benchmarks/review.py [--rows 100000] [--url sqlite:////folder/file.db] [--repeats 5] [--labels 3000]

Two runs over one generated sheet, and a third over the same rows in another sheet. Prints one line a figure: the median
over the repeats, the worst, and the median of the CPU time.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.store import DIMENSIONS, JUDGES, LABELS, WORKER, Report, judgement_of, rows_of
from core.agreement import tables
from core.desks import CompareQuery, LibraryQuery
from core.judging.aggregation import get_aggregator
from core.review import Flag, QueueQuery, QueueScope, QueueView
from core.types import Dimension, DimensionKind, Example, JudgeSpec, Origin, Outcome, PanelSpec, Run
from db.engine import make_engine
from db.migrate import upgrade
from db.store import SqlStore
from webapp.services.agreement import AgreementDesk
from webapp.services.review import ReviewDesk
from webapp.services.run_desk import RunDesk

BATCH = 2_000
AGGREGATOR = "pooled-median"
SCALE = Dimension("fluency", {"zh": "流畅性"}, LABELS, DimensionKind.ORDINAL, {}, "1", needs_prompt=False)
SCALES = {name: replace(SCALE, id=name) for name in DIMENSIONS}
PANEL = PanelSpec("bench", {"en": "bench"}, tuple(JudgeSpec(judge, judge, "fake") for judge in JUDGES), JUDGES[0], sha256="1" * 64)


def fill(store: SqlStore, rows: int, seed: int, sheet_id: int | None = None) -> Run:
    """Store a whole run, over a new sheet or a stored one."""
    if sheet_id is None:
        sheet_id = store.add_sheet(
            name="sheet.xlsx",
            sha256=str(seed) * 64,
            format="xlsx",
            encoding="",
            worksheet="Sheet1",
            columns=["a"],
            mapping={},
            rows=rows_of(rows, 1),
        ).id
    library = store.save_library("big", rows_of(3_500, 2, gold=True), Origin.IMPORT)
    labelled = store.library_items(library.id)
    run = store.create_run(sheet_id, library.id, PANEL, AGGREGATOR)
    store.claim(run.id, WORKER)
    rng, vote = random.Random(seed), get_aggregator(AGGREGATOR)
    ids = [item.id for item in store.iter_items(sheet_id, chunk=5_000)]
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        answers = {item_id: [judgement_of(judge, item_id, rng) for judge in JUDGES] for item_id in batch}
        store.save_examples(run.id, {item_id: [Example(labelled[item_id % 3_500], 0.5, 0, "v")] for item_id in batch})
        store.save_judgements(run.id, [answer for given in answers.values() for answer in given])
        store.save_verdicts(run.id, AGGREGATOR, {item_id: vote(given, SCALE, JUDGES[0]) for item_id, given in answers.items()})
    store.finish(run.id, WORKER)
    return store.run(run.id)


def time_queue(desk: ReviewDesk, report: Report, run: Run, rows: int) -> None:
    """Time every view, page turns, counts, neighbours and the next row."""
    last = rows // 50 - 2
    for view in QueueView:
        report.time(f"queue {view.value}, first page", lambda view=view: desk.queue(run.id, QueueQuery(view), "王"))  # type: ignore[misc]
    everything = QueueQuery(scope=QueueScope.ANY)
    queries = {
        "queue all, middle page": replace(everything, page=last // 2),
        "queue all, last page": replace(everything, page=last),
        "queue open, last page": QueueQuery(page=last - 100),
        "queue, dimension + ties, page 20": QueueQuery(QueueView.TIES, dimension_id="choice", page=20),
        "queue, label 3, page 100": replace(everything, label=3, page=100),
        "queue, outcome majority, page 100": replace(everything, outcome=Outcome.MAJORITY, page=100),
        "queue, three people wanted": QueueQuery(people=3),
        "queue, search with one hit": replace(everything, search=f"{rows - 7:06d}"),
        "queue, search with many hits": replace(everything, search="00"),
    }
    for name, query in queries.items():
        report.time(name, lambda query=query: desk.queue(run.id, query, "王"))  # type: ignore[misc]
    report.time("counts of all views", lambda: desk.counts(run.id, "王"))
    middle = desk.queue(run.id, replace(everything, page=last // 2)).rows[7].item_id
    report.time("neighbours of a row in the middle", lambda: desk.neighbours(run.id, everything, middle, "王"))
    report.time("one row in full", lambda: desk.item(run.id, middle, "王", blind=True))
    report.time("one row's history", lambda: desk.history(middle))
    report.time("next row, leased", lambda: desk.next_item(run.id, QueueQuery(), "李"))
    desk.release(run.id, "李")


def label(desk: ReviewDesk, report: Report, run: Run, count: int) -> None:
    """Label as three people do, blind, from the mixed queue, and print the rate."""
    rng = random.Random(5)
    taken = []
    for number in range(count):
        author = ("王", "李", "张")[number % 3]
        begun = time.perf_counter()
        lease = desk.next_item(run.id, QueueQuery(people=2), author)
        if lease is None:
            break
        desk.label(run.id, lease.item_id, rng.choice(LABELS), author, flags=(Flag.HARD,) if number % 9 == 0 else (), blind=True)
        taken.append((time.perf_counter() - begun) * 1000)
    report.median(f"label and next row ({count} times, 3 people)", taken)


def time_tables(store: SqlStore, report: Report, runs: tuple[Run, Run, Run]) -> None:
    """Time agreement, audit, the library desk and comparisons."""
    dimensions = SCALES
    agreement, desk, review = AgreementDesk(store, dimensions), RunDesk(store, dimensions), ReviewDesk(store, dimensions)
    run = runs[0]
    agreement.agreement(run.id)  # the libraries are loaded once
    report.time("agreement: counts from the database", lambda: store.vote_counts(run.id))
    counts = store.vote_counts(run.id)
    report.time("agreement: figures of those counts", lambda: tables(counts, dimensions))
    table = agreement.agreement(run.id, dimension_id="fluency")
    cell = table.pairs[0].cell(2, 3)
    report.time("a cell's rows", lambda: review.queue(run.id, cell, "王"))
    report.time("audit estimate", lambda: review.audit(run.id))
    library = run.library_id
    report.time("library, first page", lambda: store.library_page(library, LibraryQuery()))
    report.time("library, search", lambda: store.library_page(library, LibraryQuery(search="00")))
    report.time("candidates of a run", lambda: store.candidates(run.id, library))
    used = store.library_page(library, LibraryQuery()).rows[0].item.id
    report.time("rows that used an example", lambda: store.example_uses(library, used))
    report.time("list of runs with counts", lambda: desk.lines())
    for name, other in (("one sheet", runs[1]), ("two sheets", runs[2])):
        start = time.perf_counter()
        desk.compare(run.id, other.id)
        print(f"{f'two runs compared, {name}: the first time':<56}{(time.perf_counter() - start) * 1000:9.1f} ms")
        report.time(f"two runs compared, {name}: a page", lambda other=other: desk.compare(run.id, other.id, CompareQuery(page=3)))  # type: ignore[misc]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--url", default="")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--labels", type=int, default=3_000)
    options = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(options.url or f"sqlite:///{folder}/bench.db")
        upgrade(engine)
        store, report = SqlStore(engine), Report(options.repeats)
        with report.rate("rows of three runs stored", options.rows * 3):
            first = fill(store, options.rows, 1)
            second = fill(store, options.rows, 2, first.sheet_id)
            third = fill(store, options.rows, 3)
        desk = ReviewDesk(store, SCALES)
        with report.rate("near-duplicate families found and marked", options.rows):
            store.mark_families(first.id)
        time_queue(desk, report, first, options.rows)
        label(desk, report, first, options.labels)
        print("-- with labels")
        time_queue(desk, report, first, options.rows)
        time_tables(store, report, (first, second, third))
        store.close()


if __name__ == "__main__":
    main()
