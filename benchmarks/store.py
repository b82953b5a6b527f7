"""Measure the store at the size of a large sheet: inserts, judgements, verdicts, pages, progress.

    python -m benchmarks.store [--rows 100000] [--url sqlite:////folder/file.db] [--repeats 5]

Everything is generated; texts have the length of a short composition. Prints the machine, then one line a figure: the
median over the repeats, and the worst.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from benchmarks.machine import describe_machine
from core.queries import RowQuery, RowSort
from core.types import (
    Decision,
    Example,
    Judgement,
    JudgementStatus,
    JudgeSpec,
    LabelledItem,
    Origin,
    Outcome,
    PanelSpec,
    Run,
    RunState,
    SheetRow,
    SourceRef,
)
from db.engine import make_engine, reading
from db.migrate import upgrade
from db.store import SqlStore

LABELS = (1, 2, 3, 4, 5)
JUDGES = ("reader", "baseline", "neighbours", "forest")
BATCH = 128
AGGREGATOR, WORKER = "pooled-median", "bench"
DIMENSIONS = ("fluency", "normativity", "choice")
_SIGNS = [chr(code) for code in range(0x4E00, 0x4E00 + 3_000)]


@dataclass(slots=True)
class Report:
    """Prints figures as they come."""

    repeats: int

    @contextmanager
    def rate(self, name: str, count: int) -> Iterator[None]:
        """Print how many things a second the block did, by the clock and by this process's CPU time."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        wall, cpu = time.perf_counter() - wall, max(time.process_time() - cpu, 1e-9)
        print(f"{name:<56}{count:>9,} in {wall:6.2f} s = {count / wall:>9,.0f}/s   (CPU {cpu:6.2f} s = {count / cpu:>9,.0f}/s)")

    def time(self, name: str, work: Callable[[], object]) -> None:
        """Repeat `work` and print the median and worst milliseconds, and the median of this thread's CPU time."""
        taken, cpu = [], []
        for _ in range(self.repeats):
            start, used = time.perf_counter(), time.thread_time()
            work()
            taken.append((time.perf_counter() - start) * 1000)
            cpu.append((time.thread_time() - used) * 1000)
        self.median(name, taken, f"   (CPU {statistics.median(cpu):6.1f} ms)")

    def median(self, name: str, milliseconds: Sequence[float], more: str = "") -> None:
        """Print the median and the worst of measured times."""
        print(f"{name:<56}{statistics.median(milliseconds):9.1f} ms   worst {max(milliseconds):7.1f} ms{more}")


def rows_of(count: int, seed: int, gold: bool = False) -> Iterator[SheetRow]:
    """Yield generated rows of 200 to 800 characters."""
    rng = random.Random(seed)
    pool = "".join(rng.choices(_SIGNS, k=20_000))
    for position in range(count):
        dimension = DIMENSIONS[position % 3]
        start, size = rng.randrange(len(pool) - 800), rng.randint(200, 800)
        prompt = "" if dimension == "fluency" else pool[start : start + 30] + str(position)
        label = rng.choice(LABELS) if gold else None
        text = f"{pool[start : start + size]}{position:06d}"
        yield SheetRow(position, f"D{position:06d}", dimension, prompt, text, label, SourceRef("sheet.xlsx", "Sheet1", position + 2))


def judgement_of(judge_id: str, item_id: int, rng: random.Random) -> Judgement:
    """Return a generated judgement; one in a hundred abstains, one in five hundred fails."""
    luck = rng.random()
    if luck < 0.012:
        status = JudgementStatus.FAILED if luck < 0.002 else JudgementStatus.ABSTAINED
        return Judgement(judge_id, item_id, status, error={"en": "no example of this dimension is near"})
    weights = [rng.random() for _ in LABELS]
    total = sum(weights)
    shares = {label: weight / total for label, weight in zip(LABELS, weights, strict=True)}
    label = max(shares, key=lambda label: shares[label])
    rationale = {"zh": f"{judge_id} 给 {label} 分：412 字里有 3 处错误", "en": f"{label} by {judge_id}: 3 faults in 412 signs"}
    return Judgement(judge_id, item_id, JudgementStatus.OK, shares, label, str(label), rationale, "a" * 64, 3.5, 412)


def decision_of(rng: random.Random) -> Decision:
    """Return a generated decision."""
    outcome = rng.choices(list(Outcome), (40, 42, 3, 14, 1))[0]
    label = None if outcome is Outcome.NO_QUORUM else rng.choice(LABELS)
    return Decision(label, label and label + 0.1, dict.fromkeys(LABELS, 0.2), outcome, rng.random(), "pooled_median")


def fill(store: SqlStore, report: Report, count: int) -> Run:
    """Store a sheet, a library and a whole run over it, printing what each costs."""
    with report.rate("items inserted", count):
        sheet = store.add_sheet(
            name="sheet.xlsx",
            sha256="0" * 64,
            format="xlsx",
            encoding="",
            worksheet="Sheet1",
            columns=["a"],
            mapping={},
            rows=rows_of(count, 1),
        )
    with report.rate("labelled items saved", 3_500):
        library = store.save_library("big", rows_of(3_500, 2, gold=True), Origin.IMPORT)
    with report.rate("the same library saved again (no change)", 3_500):
        store.save_library("big", rows_of(3_500, 2, gold=True), Origin.IMPORT)
    panel = PanelSpec("bench", {"en": "bench"}, tuple(JudgeSpec(judge, judge, "fake") for judge in JUDGES), JUDGES[0], sha256="1" * 64)
    run = store.create_run(sheet.id, library.id, panel, AGGREGATOR)
    store.claim(run.id, WORKER)
    store.set_stage(run.id, WORKER, "judging")
    ids = [item.id for item in store.iter_items(sheet.id)]
    batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
    answer(store, report, run.id, batches, store.library_items(library.id))
    rng = random.Random(4)
    decisions = [{item_id: decision_of(rng) for item_id in batch} for batch in batches]
    half = len(decisions) // 2
    with report.rate("verdicts stored, first half (a commit per 128 rows)", half * BATCH):
        for part in decisions[:half]:
            store.save_verdicts(run.id, AGGREGATOR, part)
    print("-- a run half decided")
    time_pages(store, report, run.id, count)
    with report.rate("verdicts stored, second half", count - half * BATCH):
        for part in decisions[half:]:
            store.save_verdicts(run.id, AGGREGATOR, part)
    store.finish(run.id, WORKER)
    return run


def answer(store: SqlStore, report: Report, run_id: int, batches: Sequence[list[int]], labelled: Sequence[LabelledItem]) -> None:
    """Store examples and judgements, batch by batch, while another thread asks for the progress."""
    with report.rate("examples stored (5 a row, a commit per 128 rows)", 5 * sum(map(len, batches))):
        for batch in batches:
            store.save_examples(run_id, {item_id: examples_of(item_id, labelled) for item_id in batch})
    rng = random.Random(3)
    made = [[judgement_of(judge, item_id, rng) for item_id in batch] for batch in batches for judge in JUDGES]
    poller = _Poller(store, run_id)
    with poller, report.rate("judgements stored (a commit per judge and 128 rows)", sum(map(len, made))):
        for part in made:
            store.save_judgements(run_id, part)
    report.median("  progress, polled meanwhile", poller.taken)


def examples_of(item_id: int, labelled: Sequence[LabelledItem]) -> list[Example]:
    """Return five examples for an item."""
    version = "ngram-1-0123456789abcdef"
    return [Example(labelled[(item_id * 7 + rank * 31) % len(labelled)], 0.9 - rank / 10, rank, version) for rank in range(5)]


class _Poller:
    """Asks for the progress from another thread while a run writes, as an open page does."""

    def __init__(self, store: SqlStore, run_id: int) -> None:
        self._store, self._run_id = store, run_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self.taken: list[float] = [0.0]

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._over.wait(0.1):
            start = time.perf_counter()
            self._store.progress(self._run_id)
            self.taken.append((time.perf_counter() - start) * 1000)


def time_pages(store: SqlStore, report: Report, run_id: int, count: int) -> None:
    """Time every kind of page, and the progress."""
    deep = count // 50 - 2
    queries = {
        "page 1, sheet order": RowQuery(),
        "last page, sheet order": RowQuery(page=deep),
        "last page, sheet order, descending": RowQuery(page=deep, descending=True),
        "page 1 by disagreement, descending": RowQuery(sort=RowSort.DISAGREEMENT, descending=True),
        "middle page by disagreement, descending": RowQuery(sort=RowSort.DISAGREEMENT, descending=True, page=deep // 4),
        "last page by disagreement, descending": RowQuery(sort=RowSort.DISAGREEMENT, descending=True, page=deep),
        "last page by disagreement, ascending": RowQuery(sort=RowSort.DISAGREEMENT, page=deep),
        "last page by label": RowQuery(sort=RowSort.LABEL, page=deep),
        "last page by label, descending": RowQuery(sort=RowSort.LABEL, descending=True, page=deep),
        "dimension, last page": RowQuery(dimension_id="fluency", page=deep // 3),
        "dimension + outcome by disagreement": RowQuery(
            dimension_id="choice", outcome=Outcome.TIE, sort=RowSort.DISAGREEMENT, descending=True, page=20
        ),
        "label, page 100": RowQuery(label=3, page=100),
        "status failed": RowQuery(status=JudgementStatus.FAILED),
        "status ok, last page": RowQuery(status=JudgementStatus.OK, page=deep),
        "status failed by disagreement": RowQuery(status=JudgementStatus.FAILED, sort=RowSort.DISAGREEMENT, descending=True),
        "search, one hit": RowQuery(search=f"{count - 7:06d}"),
        "search, no hit": RowQuery(search="这里没有的字句"),
        "search, many hits, by disagreement": RowQuery(search="00", sort=RowSort.DISAGREEMENT, descending=True),
    }
    for name, query in queries.items():
        report.time(name, lambda query=query: store.rows(run_id, query))  # type: ignore[misc]
    some = store.rows(run_id, RowQuery(page=deep // 2)).rows[0].item.id
    report.time("one row in full", lambda: store.row(run_id, some))
    report.time("progress", lambda: store.progress(run_id))


def reaggregate(store: SqlStore, run: Run) -> None:
    """Decide every row anew, as another aggregator does."""
    store.set_aggregator(run.id, "reference-vote")
    store.claim(run.id, WORKER)
    rng = random.Random(5)
    after = -1
    while ready := store.undecided(run.id, "reference-vote", after, 1_000):
        store.save_verdicts(run.id, "reference-vote", {item.id: decision_of(rng) for item, _ in ready})
        after = ready[-1][0].position
    store.end_work(run.id, WORKER, RunState.DONE)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--url", default="")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(options.url or f"sqlite:///{folder}/bench.db")
        upgrade(engine)
        store, report = SqlStore(engine), Report(options.repeats)
        run = fill(store, report, options.rows)
        print("-- a run that is done")
        time_pages(store, report, run.id, options.rows)
        with report.rate("rows exported", options.rows):
            deque(store.export_rows(run.id), maxlen=0)
        with report.rate("rows decided anew (read, decide, replace)", options.rows):
            reaggregate(store, run)
        with reading(engine) as connection:
            version = connection.dialect.server_version_info
        print(f"database: {engine.dialect.name} {'.'.join(map(str, version or ()))}")
        if make_url(engine.url).get_backend_name() == "sqlite":
            print(f"file: {Path(str(engine.url.database)).stat().st_size / 2**20:.0f} MiB")
        print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
        store.close()


if __name__ == "__main__":
    main()
