"""result.csv: the scores in the form of the competition."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from core.errors import ExportError
from core.ingest.export import ExportSummary, dimension_name, guarded, whole_file, writable
from core.queries import ExportRow
from core.types import Dimension

RESULT_COLUMNS = ("数据编号", "评判维度", "预测分数")
RESULT_ENCODINGS = ("utf-8-sig", "gb18030", "utf-8")


def write_result_csv(
    path: Path, rows: Iterable[ExportRow], dimensions: Mapping[str, Dimension], encoding: str = "utf-8-sig"
) -> ExportSummary:
    """Write id, dimension and score of each row, in the order of `rows`; a row without a label has an empty score.

    `encoding` is utf-8-sig, gb18030 or utf-8; each of them holds every character. An id or a dimension that would run
    as a formula gets an apostrophe before it. Raises ExportError; the file appears whole or not at all.
    """
    encoding = result_encoding(encoding)
    total = without = changed = 0
    with whole_file(path) as partial, partial.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(RESULT_COLUMNS)
        for row in rows:
            label, external_id = row.label, writable(row.item.external_id)
            safe, dimension = guarded(external_id), guarded(writable(dimension_name(dimensions, row.item.dimension_id)))
            writer.writerow((safe, dimension, "" if label is None else label))
            total += 1
            without += label is None
            changed += safe != external_id
    return ExportSummary(path, total, without, guarded=changed)


def result_encoding(encoding: str) -> str:
    """Return the encoding of result.csv that a name stands for. Raises ExportError for any other."""
    try:
        plain = codecs.lookup(encoding).name
    except LookupError:
        plain = ""
    for known in RESULT_ENCODINGS:
        if plain == codecs.lookup(known).name:
            return known
    known = ", ".join(RESULT_ENCODINGS)
    raise ExportError(
        f'"{encoding}" is no encoding for result.csv; choose one of {known}.', zh=f"result.csv 不支持编码「{encoding}」，可选：{known}。"
    )
