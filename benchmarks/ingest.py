"""Measure bringing sheets in and results out: python -m benchmarks.ingest [--sheet FILE] [--sizes 2750,27500,100000].

Prints the machine, then one line a measurement: median seconds (wall and processor), rows a second and peak memory. Every
measurement runs in a process of its own, so that its peak memory is its own. The rows are those of FILE, repeated with new
ids and a number before each text; without FILE they are made up, as long as short compositions.

    read …       the whole of read_sheet: hashing, detecting, reading, checking every row
    calamine,    only the cells of the worksheet as Python values, by each library: what the choice between them
    openpyxl     rests on
    write …      the exports of rows with four judgements, a verdict and five examples each
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import describe_machine
from core.dimensions.loader import load_dimensions
from core.ingest import read_sheet, write_full_xlsx, write_jsonl, write_result_csv
from core.ingest.columns import HEADER_ALIASES
from core.queries import ExportRow, ShownExample
from core.settings import ASSETS
from core.types import (
    Decision,
    Dimension,
    Item,
    Judgement,
    JudgementStatus,
    JudgeSpec,
    Outcome,
    PanelSpec,
    Run,
    RunState,
    SourceRef,
    Verdict,
    one_language,
)

Row = tuple[str, str, str, str]
HEADER = tuple(aliases[0] for aliases in list(HEADER_ALIASES.values())[:4])
READS = ("read xlsx", "read xlsx, repeated texts", "calamine", "openpyxl", "read csv utf-8", "read csv gb18030", "read jsonl")
WRITES = ("write result.csv", "write full.xlsx", "write jsonl")
FILES: Mapping[str, str] = {
    "read xlsx": "unique.xlsx",
    "calamine": "unique.xlsx",
    "openpyxl": "unique.xlsx",
    "read xlsx, repeated texts": "repeated.xlsx",
    "read csv utf-8": "utf8.csv",
    "read csv gb18030": "gb18030.csv",
    "read jsonl": "rows.jsonl",
}
_WORDS = "春天来了，万物复苏。小河解冻，孩子们到田野里放风筝。老师说：“读书要用心，做事要认真。”我们把这句话记在心里。"


def dimensions() -> Mapping[str, Dimension]:
    """Return the dimensions that come with Pingpan."""
    return load_dimensions(ASSETS / "dimensions")


def base_rows(sheet: Path | None) -> list[Row]:
    """Return the rows of the sheet, or 2,750 made up ones."""
    if sheet is not None and sheet.exists():
        known = dimensions()
        parsed = read_sheet(sheet, dimensions=known)
        return [(row.external_id, row.prompt, known[row.dimension_id].name("zh"), row.text) for row in parsed.rows]
    chance = random.Random(7)
    return [
        (
            f"T{i:04d}",
            "写一篇关于春天的短文，不少于六百字。" if i % 3 == 0 else "",
            ("规范性", "流畅性", "选择题")[i % 3],
            "".join(chance.sample(_WORDS, len(_WORDS)))[: 20 if i % 3 == 2 else None] * (1 if i % 3 == 2 else 17),
        )
        for i in range(2750)
    ]


def grown(base: list[Row], size: int, *, unique: bool = True) -> Iterator[Row]:
    """Yield `size` rows: the base over and over, with new ids, and with a number before each text where `unique`."""
    for number in range(size):
        _, prompt, dimension, text = base[number % len(base)]
        yield f"B{number:06d}", prompt, dimension, f"{number} {text}" if unique and text else text


def build(folder: Path, sheet: Path | None, size: int) -> None:
    """Write every input file of one size."""
    import xlsxwriter

    base = base_rows(sheet)
    for name, unique in (("unique.xlsx", True), ("repeated.xlsx", False)):
        with xlsxwriter.Workbook(str(folder / name)) as book:
            page = book.add_worksheet()
            for number, row in enumerate([HEADER, *grown(base, size, unique=unique)]):
                for column, cell in enumerate(row):
                    if cell:
                        page.write_string(number, column, cell)
    for name, encoding in (("utf8.csv", "utf-8"), ("gb18030.csv", "gb18030")):
        with (folder / name).open("w", encoding=encoding, newline="") as file:
            csv.writer(file).writerows([HEADER, *grown(base, size)])
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for row in grown(base, size):
            file.write(json.dumps(dict(zip(HEADER, row, strict=True)), ensure_ascii=False) + "\n")


def read_whole(path: Path) -> int:
    """Read a sheet as Pingpan does."""
    return len(read_sheet(path, dimensions=dimensions()).rows)


def read_calamine(path: Path) -> int:
    """Read the cells with python-calamine."""
    from python_calamine import CalamineWorkbook

    with CalamineWorkbook.from_path(str(path)) as book:
        return len(list(book.get_sheet_by_index(0).iter_rows())) - 1


def read_openpyxl(path: Path) -> int:
    """Read the cells with openpyxl's read-only mode."""
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    return len(list(book.worksheets[0].iter_rows(values_only=True))) - 1


def run_of(judges: int) -> Run:
    """Return a finished run of a panel with so many judges."""
    now = datetime.now(UTC)
    specs = tuple(JudgeSpec(f"judge-{i}", f"评判 {i}", "baseline") for i in range(judges))
    panel = PanelSpec("benchmark", {"zh": "基准"}, specs, specs[0].id)
    return Run(1, 1, "sheet.xlsx", 1, "v1", panel, "pooled-median", RunState.DONE, {}, 0, now, now, now)


def judged(rows: Iterator[Row], run: Run) -> Iterator[ExportRow]:
    """Yield the rows as a panel left them."""
    by_name = {dimension.name("zh"): dimension for dimension in dimensions().values()}
    for number, (external_id, prompt, name, text) in enumerate(rows, start=2):
        dimension = by_name[name]
        shares = {label: 1 / len(dimension.labels) for label in dimension.labels}
        label = dimension.labels[-1]
        item = Item(number, 1, number - 2, external_id, dimension.id, prompt, text, None, "", SourceRef("sheet.xlsx", "Sheet1", number))
        answers = tuple(
            Judgement(
                judge.id,
                number,
                JudgementStatus.OK,
                shares,
                label,
                str(label),
                one_language("每百字约 0.7 处错误，落在这一档。"),
                "f" * 64,
                1.5,
                300,
            )
            for judge in run.panel.judges
        )
        decision = Decision(label, float(label), shares, Outcome.UNANIMOUS, 0.02, "pooled")
        examples = tuple(ShownExample(f"TR{i:04d}", label, 0.9 - i / 10) for i in range(5))
        yield ExportRow(item, answers, Verdict(number, run.aggregator, decision), examples)


class Clocked:
    """Rows that are made up as they are asked for; `wall` and `processor` are the seconds that took."""

    def __init__(self, rows: Iterator[ExportRow]) -> None:
        self._rows = rows
        self.wall = self.processor = 0.0

    def __iter__(self) -> Iterator[ExportRow]:
        return self

    def __next__(self) -> ExportRow:
        wall, processor = time.perf_counter(), time.process_time()
        try:
            return next(self._rows)
        finally:
            self.wall += time.perf_counter() - wall
            self.processor += time.process_time() - processor


def write_all(what: str, folder: Path, sheet: Path | None, size: int) -> tuple[float, float]:
    """Write one export and return the wall and processor seconds it took, those for making the rows up not counted."""
    run, known = run_of(4), dimensions()
    rows = Clocked(judged(grown(base_rows(sheet), size), run))
    writers: Mapping[str, Callable[[], object]] = {
        "write result.csv": lambda: write_result_csv(folder / "result.csv", rows, known),
        "write full.xlsx": lambda: write_full_xlsx(folder / "full.xlsx", rows, run, known),
        "write jsonl": lambda: write_jsonl(folder / "submit", rows, run, known),
    }
    wall, processor = time.perf_counter(), time.process_time()
    writers[what]()
    return time.perf_counter() - wall - rows.wall, time.process_time() - processor - rows.processor


def peak_mib() -> float:
    """Return this process's peak memory in MiB. VmHWM is the program's own; ru_maxrss may be its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(what: str, folder: Path, sheet: Path | None, size: int) -> None:
    """Do one measurement and print wall seconds, processor seconds and peak MiB."""
    if what == "build":
        build(folder, sheet, size)
        return
    readers: Mapping[str, Callable[[Path], int]] = {"calamine": read_calamine, "openpyxl": read_openpyxl}
    if what in WRITES:
        wall, processor = write_all(what, folder, sheet, size)
    else:
        started, before = time.perf_counter(), time.process_time()
        assert readers.get(what, read_whole)(folder / FILES[what]) <= size
        wall, processor = time.perf_counter() - started, time.process_time() - before
    print(wall, processor, peak_mib())


def measured(what: str, folder: Path, sheet: Path | None, size: int) -> tuple[float, float, float]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--child", what, "--folder", str(folder), "--sizes", str(size)]
    if sheet is not None:
        command += ["--sheet", str(sheet)]
    root = Path(__file__).resolve().parent.parent
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout.split()
    return (float(output[0]), float(output[1]), float(output[2])) if output else (0.0, 0.0, 0.0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, help="a sheet whose rows are repeated; made up rows without it")
    parser.add_argument("--sizes", default="2750,27500,100000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sheet = options.sheet.resolve() if options.sheet is not None and options.sheet.exists() else None
    sizes = [int(size) for size in options.sizes.split(",")]
    if options.child:
        child(options.child, options.folder, sheet, sizes[0])
        return
    print(f"{describe_machine()}; rows of {sheet.name if sheet else 'made up texts'}; median of {options.repeats}")
    print(f"{'':28}{'rows':>8}{'MiB file':>10}{'seconds':>9}{'CPU s':>8}{'rows/s':>10}{'peak MiB':>10}")
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            measured("build", folder, sheet, size)
            for what in (*READS, *WRITES):
                runs = [measured(what, folder, sheet, size) for _ in range(options.repeats)]
                wall, processor, peak = (statistics.median(values) for values in zip(*runs, strict=True))
                file = folder / FILES[what] if what in FILES else None
                mib = f"{file.stat().st_size / 2**20:.1f}" if file else ""
                print(f"{what:28}{size:>8,}{mib:>10}{wall:>9.2f}{processor:>8.2f}{size / max(wall, 1e-6):>10,.0f}{peak:>10.0f}", flush=True)


if __name__ == "__main__":
    main()
