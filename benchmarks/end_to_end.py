"""From file to result.csv with the CPU panel: seconds, rows a second and peak memory of the whole process.

    python -m benchmarks.end_to_end [--sheet FILE] [--library FILE] [--sizes 2750 27500 100000] [--repeats 3]

Sizes beyond the sheet's own are made by turning the sentences of its texts round, so that every row has a content of its
own. Each measurement is a process of its own with an empty PINGPAN_HOME; learning and the index are part of it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe_machine
from core.settings import ASSETS, PROJECT_ROOT

HEADER = ("数据编号", "创作要求", "评判维度", "待评判内容")


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one process took: seconds of the wall clock, processor seconds, and peak resident memory in MB."""

    seconds: float
    processor: float
    megabytes: float


def grown_sheet(sheet: Path, rows: int, folder: Path) -> Path:
    """Write an xlsx of `rows` rows: the sheet's own first, then its rows again with their sentences turned round."""
    import python_calamine
    import xlsxwriter

    source = python_calamine.CalamineWorkbook.from_path(str(sheet)).get_sheet_by_index(0).to_python()
    places = [source[0].index(column) for column in HEADER]
    path = folder / f"sheet-{rows}.xlsx"
    book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    page = book.add_worksheet()
    page.write_row(0, 0, HEADER)
    for number in range(rows):
        turn, place = divmod(number, len(source) - 1)
        external, prompt, dimension, text = (str(source[place + 1][column]) for column in places)
        page.write_row(number + 1, 0, (external if not turn else f"{external}-{turn}", prompt, dimension, turned(text, turn)))
    book.close()
    return path


def turned(text: str, turn: int) -> str:
    """Return the text with its first sentences moved to its end and the number of the turn; choice replies stay as they are."""
    if not turn or "模型回复为" in text:
        return text
    sentences = text.split("。")
    cut = turn % len(sentences)
    return "。".join([*sentences[cut:], *sentences[:cut]]) + f"（{turn}）"


def measure(sheet: Path, library: str, folder: Path) -> Measurement:
    """Judge a sheet in a process of its own and return what it took. Raises CalledProcessError when it fails."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "PINGPAN_HOME": str(Path(work) / "home")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as run.sh does
        command = [sys.executable, "-P", "-m", "webapp", "judge", str(sheet), "--library", library, "--panel", "cpu", "--skip-bad-rows"]
        begun = time.perf_counter()
        with subprocess.Popen(command, cwd=work, env=environment, stderr=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begun
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return Measurement(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path, default=ASSETS / "samples" / "sheet.xlsx")
    parser.add_argument("--library", default="sample", help="file of labelled rows, or the name of a library")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_750, 27_500, 100_000])
    parser.add_argument("--repeats", type=int, default=3, help="of the smallest size; larger ones are measured once")
    options = parser.parse_args(arguments)
    print(describe_machine())
    print(f"{'rows':>8} {'seconds':>8} {'rows/s':>7} {'CPU s':>7} {'peak MB':>8} {'runs':>5}")
    with tempfile.TemporaryDirectory(prefix="pingpan-bench-") as folder:
        for size in options.sizes:
            sheet = grown_sheet(options.sheet, size, Path(folder))
            repeats = options.repeats if size == min(options.sizes) else 1
            library = str(Path(options.library).resolve()) if Path(options.library).is_file() else options.library
            taken = [measure(sheet, library, Path(folder)) for _ in range(repeats)]
            seconds = statistics.median(m.seconds for m in taken)
            processor = statistics.median(m.processor for m in taken)
            peak = max(m.megabytes for m in taken)
            print(f"{size:>8,} {seconds:>8.1f} {size / seconds:>7.0f} {processor:>7.1f} {peak:>8.0f} {repeats:>5}", flush=True)


if __name__ == "__main__":
    main()
