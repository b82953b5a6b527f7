"""docs/DATA.md says everything that the code does: codes, severities, headers, formats, columns and fields."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from core.ingest import HEADER_ALIASES, RESULT_COLUMNS, RESULT_ENCODINGS, Code, Limits, SheetField, SheetFormat, write_jsonl
from core.ingest.export_columns import FIXED_TITLES, JUDGE_TITLES
from core.ingest.export_xlsx import PROBLEM_COLUMNS, WORKSHEETS
from core.ingest.problems import KINDS
from core.types import Severity
from tests.conftest import ROOT
from tests.ingest.outcomes import RUN, item, judged
from tests.ingest.samples import DIMENSIONS

DATA = (ROOT / "docs" / "DATA.md").read_text(encoding="utf-8")
TABLE = [[cell.strip() for cell in line.strip("|").split("|")] for line in DATA.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("code", list(Code))
def test_every_code_stands_in_the_table_with_its_severity(code: Code) -> None:
    (row,) = [row for row in TABLE if row[0] == f"`{code.value}`"]
    assert len(row) == 4
    assert row[1].startswith(KINDS[code].severity.value)
    assert all(row)


def test_no_code_is_documented_that_does_not_exist() -> None:
    documented = {row[0].strip("`") for row in TABLE if len(row) == 4 and row[1].split(";")[0] in set(Severity)}
    assert documented == set(Code)


@pytest.mark.parametrize("field", list(SheetField))
def test_every_header_is_listed(field: SheetField) -> None:
    listed = [row[1] for row in TABLE if row[0] == f"`{field.value}`"][-1]
    assert listed == ", ".join(HEADER_ALIASES[field])


def test_formats_encodings_and_limits_are_listed() -> None:
    for name in (*SheetFormat, *RESULT_ENCODINGS, "utf-16-le", "utf-16-be"):
        assert f"`{name}`" in DATA
    assert f"({Limits().max_bytes // 2**20} MiB)" in DATA
    assert f"({Limits().max_rows:,}) rows, {Limits().max_columns:,} named columns" in DATA
    assert f"more than {Limits().max_ratio} times" in DATA
    assert f"{Limits().max_cells // 10**6} million cells" in DATA


def test_every_output_column_is_listed() -> None:
    first = {row[0] for row in TABLE}
    assert {f"`{name}`" for name in RESULT_COLUMNS} <= first
    for zh, en in (*FIXED_TITLES, *JUDGE_TITLES):
        assert [row for row in TABLE if row[0] == f"`{zh}`" and row[1] == f"`{en}`"], zh
    for (zh, _), (en, _) in zip(PROBLEM_COLUMNS["zh"], PROBLEM_COLUMNS["en"], strict=True):
        assert f"`{zh}` `{en}`" in DATA
    for zh, en in zip(*WORKSHEETS.values(), strict=True):
        assert f"{zh} ({en}" in DATA


def test_every_jsonl_field_is_listed(tmp_path: Path) -> None:
    documented = set(re.findall(r"`(\w+)`", DATA[DATA.index("### submit") :]))
    for path in write_jsonl(tmp_path, [judged(item(2))], RUN, DIMENSIONS):
        fields = json.loads(path.read_text(encoding="utf-8"))
        assert set(fields) <= documented
        nested = [fields.get("verdict") or {}, *fields.get("judgements", []), *fields.get("examples", [])]
        assert {name for part in nested for name in part} <= documented


@pytest.mark.parametrize("code", list(Code))
def test_every_message_says_what_and_how_in_both_languages(code: Code) -> None:
    kind = KINDS[code]
    names = [set(re.findall(r"(?<!\{)\{(\w+)\}(?!\})", text)) for text in (kind.zh, kind.en)]
    assert names[0] == names[1]
    assert kind.zh.count("。") >= 1
    assert not re.search(r"[\u4e00-\u9fff]", kind.en)
