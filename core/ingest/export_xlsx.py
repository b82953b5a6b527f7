"""full.xlsx: everything that a run found, for people: rows, problems, and the facts of the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import xlsxwriter
from xlsxwriter.exceptions import XlsxWriterException

from core.errors import ExportError
from core.ingest.export import ExportSummary, unwritable, whole_file
from core.ingest.export_columns import FullColumn, RowContext, SkippedRow, full_columns
from core.ingest.export_facts import Tally, run_facts
from core.ingest.xlsx_writer import SheetWriter, Styles
from core.queries import ExportRow
from core.types import Dimension, RowProblem, Run, Severity, Sheet

WORKSHEETS = {"zh": ("结果", "问题与跳过", "运行"), "en": ("Results", "Problems and skipped", "Run")}
PROBLEM_COLUMNS = {
    "zh": (("行号", 8), ("编号", 14), ("列", 16), ("严重程度", 10), ("处理", 10), ("代码", 24), ("值", 30), ("说明", 90)),
    "en": (("Row", 8), ("Id", 14), ("Column", 16), ("Severity", 10), ("Handling", 10), ("Code", 24), ("Value", 30), ("Message", 90)),
}
FACT_COLUMNS = {"zh": (("项目", 28), ("内容", 100)), "en": (("Fact", 28), ("Value", 100))}
_SEVERITY = {"zh": {Severity.ERROR: "错误", Severity.WARNING: "提醒"}, "en": {Severity.ERROR: "error", Severity.WARNING: "warning"}}
_SKIPPED = {"zh": "已跳过", "en": "skipped"}
_LAST_ROW = 1_048_575


def write_full_xlsx(
    path: Path,
    rows: Iterable[ExportRow],
    run: Run,
    dimensions: Mapping[str, Dimension],
    extra_columns: Sequence[str] = (),
    problems: Sequence[RowProblem] = (),
    skipped: Iterable[int] = (),
    language: str = "zh",
    *,
    sheet: Sheet | None = None,
    facts: Mapping[str, str] | None = None,
) -> ExportSummary:
    """Write three worksheets: the rows, the problems with the skipped rows, and the facts of the run.

    `rows` are in the sheet's order and are read once; `skipped` are the 1-based numbers of the rows that were not judged,
    which stand in their place with the reason. `sheet` adds the file's sha256, `facts` any further lines. Every text is
    written as text, never as a formula or link; a text that no cell can hold is cut and marked, and stands in full in the
    jsonl export. Raises ExportError; the file appears whole or not at all.
    """
    language = language if language in WORKSHEETS else "zh"
    context = RowContext(run, dimensions, language)
    bad = _skipped_rows(problems, skipped, language)
    columns = full_columns(context, extra_columns)
    tally = Tally()
    with whole_file(path) as partial:
        try:
            with xlsxwriter.Workbook(
                str(partial),
                {
                    "constant_memory": True,
                    "strings_to_formulas": False,
                    "strings_to_urls": False,
                    "strings_to_numbers": False,
                },
            ) as book:
                book.use_zip64()
                styles = Styles(book)
                first, second, third = (book.add_worksheet(name) for name in WORKSHEETS[language])
                main = SheetWriter(first, styles, [(column.title, column.width) for column in columns], language)
                _write_rows(main, columns, context, _in_order(rows, bad), tally)
                main.finish(frozen_columns=1)
                problem_page = SheetWriter(second, styles, PROBLEM_COLUMNS[language], language)
                _write_problems(problem_page, problems, {row.number for row in bad}, language)
                fact_page = SheetWriter(third, styles, FACT_COLUMNS[language], language)
                _write_facts(fact_page, run_facts(context, tally, sheet, facts, len(bad)))
        except XlsxWriterException as error:
            cause = error.args[0] if error.args and isinstance(error.args[0], OSError) else OSError(str(error))
            raise unwritable(path, cause) from error
    return ExportSummary(path, tally.rows, tally.without_label, guarded=main.guarded, shortened=main.shortened)


def _skipped_rows(problems: Sequence[RowProblem], skipped: Iterable[int], language: str) -> list[SkippedRow]:
    reasons: dict[int, list[RowProblem]] = {number: [] for number in skipped}
    for problem in problems:
        if problem.row in reasons and problem.severity is Severity.ERROR:
            reasons[problem.row].append(problem)
    return [
        SkippedRow(
            number,
            next((p.external_id for p in found if p.external_id), ""),
            " ".join(p.message.get(language, p.message["zh"]) for p in found),
        )
        for number, found in sorted(reasons.items())
    ]


def _in_order(rows: Iterable[ExportRow], skipped: Sequence[SkippedRow]) -> Iterator[ExportRow | SkippedRow]:
    """Yield the judged rows with each skipped row in its place."""
    waiting = list(reversed(skipped))
    for row in rows:
        while waiting and waiting[-1].number < row.item.source.row:
            yield waiting.pop()
        yield row
    yield from reversed(waiting)


def _write_rows(
    page: SheetWriter, columns: Sequence[FullColumn], context: RowContext, rows: Iterable[ExportRow | SkippedRow], tally: Tally
) -> None:
    for row in rows:
        if page.row > _LAST_ROW:
            raise ExportError(
                f"A worksheet holds {_LAST_ROW:,} rows at most. Export as jsonl instead, or split the sheet.",
                zh=f"一张工作表最多 {_LAST_ROW:,} 行。请改为导出 jsonl，或拆分原表。",
            )
        if isinstance(row, SkippedRow):
            page.write([column.skipped(row) for column in columns], skipped=True)
            continue
        tally.add(row)
        answers = context.answers(row)
        page.write([column.value(row, answers) for column in columns])


def _write_problems(page: SheetWriter, problems: Sequence[RowProblem], skipped: set[int], language: str) -> None:
    """List the sheet's problems first, then each row's; what a worksheet cannot hold is counted in its last row."""
    ordered = sorted(problems, key=lambda p: (p.row is not None, p.row or 0))
    room = _LAST_ROW - 1
    for problem in ordered[:room]:
        handling = _SKIPPED[language] if problem.row in skipped and problem.severity is Severity.ERROR else ""
        message = problem.message.get(language, problem.message["zh"])
        page.write(
            [
                problem.row,
                problem.external_id,
                problem.column,
                _SEVERITY[language][problem.severity],
                handling,
                problem.code,
                problem.value,
                message,
            ],
            skipped=bool(handling),
        )
    if len(ordered) > room:
        more = len(ordered) - room
        page.write([None, "", "", "", "", "", "", f"另有 {more:,} 个问题。" if language == "zh" else f"{more:,} more problems."])
    page.finish(frozen_columns=0)


def _write_facts(page: SheetWriter, facts: Iterable[tuple[str, str | int | float]]) -> None:
    for name, value in facts:
        page.write([name, value])
    page.finish(frozen_columns=1, filtered=False)
