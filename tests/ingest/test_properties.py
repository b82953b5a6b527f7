"""Round trips through every format, and files of any bytes: what is read is what was written, or a SheetError."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import SheetError
from core.ingest import HEADER_ALIASES, ParsedSheet, write_full_xlsx, write_result_csv
from core.ingest.cells import readable_name
from core.ingest.columns import known_field
from core.types import Severity
from tests.ingest.outcomes import RUN, csv_rows, item, judged
from tests.ingest.samples import DIMENSIONS, HEADER, read, write_csv, write_jsonl, write_xlsx

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Every character that a text may hold: no controls, surrogates, noncharacters or U+FFFD, which are told and changed.
CHARACTERS = st.characters(exclude_categories=("Cs", "Cc", "Cn"), exclude_characters="\ufffd", include_characters="\t\n\r")
TEXTS = st.text(CHARACTERS, min_size=1, max_size=60).filter(str.strip)
IDS = st.text(st.characters(categories=("L", "Nd")), min_size=1, max_size=12)
ROWS = st.lists(st.tuples(IDS, TEXTS, TEXTS, st.sampled_from((None, 1, 2, 3, 4, 5))), min_size=1, max_size=6, unique_by=lambda row: row[0])
Row = tuple[str, str, str, int | None]


def table(rows: Sequence[Row]) -> list[tuple[object, ...]]:
    """Return the rows under the canonical header."""
    return [HEADER, *[(i, prompt, "规范性", text, "" if label is None else label) for i, prompt, text, label in rows]]


def check(sheet: ParsedSheet, rows: Sequence[Row]) -> None:
    """Check that exactly the rows were read."""
    assert [problem for problem in sheet.problems if problem.code not in {"duplicate_content", "mojibake"}] == []
    assert [(row.external_id, row.prompt, row.text, row.gold) for row in sheet.rows] == list(rows)


def tried(path: Path) -> ParsedSheet | SheetError:
    """Return the sheet, or the error that refuses it; any other exception is a fault."""
    try:
        return read(path)
    except SheetError as error:
        return error


@RELAXED
@given(ROWS, st.sampled_from(("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "gb18030")), st.sampled_from((",", "\t", ";")))
def test_delimited_round_trip(rows: list[Row], encoding: str, delimiter: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(read(write_csv(Path(folder, "a.csv"), table(rows), encoding, delimiter)), rows)


@RELAXED
@given(ROWS)
def test_xlsx_and_json_round_trip(rows: list[Row]) -> None:
    header, *cells = table(rows)
    objects = [dict(zip(map(str, header), row, strict=True)) for row in cells]
    with tempfile.TemporaryDirectory() as folder:
        check(read(write_xlsx(Path(folder, "a.xlsx"), table(rows))), rows)
        check(read(write_jsonl(Path(folder, "a.jsonl"), objects)), rows)
        Path(folder, "a.json").write_text(json.dumps(objects), encoding="utf-8")
        check(read(Path(folder, "a.json")), rows)


@RELAXED
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_results_of_any_id_can_be_read_back(ids: list[str]) -> None:
    rows = [judged(item(number, name or "x", text=name, prompt=name), rationale=name) for number, name in enumerate(ids, start=2)]
    with tempfile.TemporaryDirectory() as folder:
        for encoding in ("utf-8-sig", "gb18030"):
            write_result_csv(Path(folder, "r.csv"), rows, DIMENSIONS, encoding)
            written = csv_rows(Path(folder, "r.csv"), encoding)[1:]
            assert len(written) == len(rows)
            assert not any(row[0].startswith(("=", "@", "\t", "\r")) for row in written)
        write_full_xlsx(Path(folder, "f.xlsx"), rows, RUN, DIMENSIONS, language="en")
        assert read(Path(folder, "f.xlsx")).total_rows == len(rows)


@RELAXED
@given(st.binary(max_size=400), st.sampled_from((".csv", ".xlsx", ".xls", ".json", ".jsonl", "")))
def test_any_bytes_are_read_or_refused(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a" + suffix)
        for prefix in (b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b'{"id": 1}\n', b"id,dimension,text\n", b"\xff\xfe"):
            path.write_bytes(prefix + content)
            sheet = tried(path)
            if isinstance(sheet, SheetError):
                assert path.name in str(sheet)
                assert path.name in sheet.messages["zh"]
            else:
                assert len(sheet.rows) + len(sheet.error_rows) == sheet.total_rows or sheet.fatal


@RELAXED
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4))
def test_a_damaged_xlsx_is_read_or_refused(place: int, damage: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_xlsx(Path(folder, "a.xlsx"), [HEADER, ("A1", "", "流畅性", "春", 3), ("A2", "", "流畅性", "夏", 4)])
        content = bytearray(path.read_bytes())
        place %= len(content)
        content[place : place + len(damage)] = damage
        path.write_bytes(bytes(content))
        sheet = tried(path)
        assert path.name in str(sheet) if isinstance(sheet, SheetError) else sheet.total_rows <= 2


# Any JSON value, with halves of characters, numbers of every size, and keys that stand twice.
STRINGS = st.sampled_from(("\ud800", "a\udfff", "\x00", "\u202a4", "春")) | st.text(st.characters(exclude_categories=()), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(("id", "dimension", "text", "label", "prompt", "更多")) | STRINGS
PAIRS = st.lists(st.tuples(KEYS, VALUES | st.sampled_from(("fluency", "A1", 3))), max_size=5)
OBJECTS = st.tuples(STRINGS | st.just("fluency"), PAIRS).map(lambda drawn: [("dimension", drawn[0]), ("text", "夏"), *drawn[1]])


def _object(pairs: Sequence[tuple[str, object]]) -> str:
    return "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}"


@settings(RELAXED, max_examples=40)
@given(st.lists(OBJECTS.map(_object) | VALUES.map(json.dumps), max_size=4), st.sampled_from(("a.jsonl", "a.json")))
def test_whatever_json_holds_every_row_is_good_or_told_in_words_that_can_be_shown(lines: list[str], name: str) -> None:
    first = '{"id": "first", "dimension": "fluency", "text": "春"}'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text("\n".join([first, *lines]) if name == "a.jsonl" else f"[{','.join([first, *lines])}]", encoding="utf-8")
        sheet = read(path)
    if not sheet.fatal:
        numbers = [row.source.row for row in sheet.rows] + list(sheet.error_rows)
        assert (len(numbers), len(set(numbers))) == (sheet.total_rows, sheet.total_rows)
        assert {fault.row for fault in sheet.problems if fault.severity is Severity.ERROR and fault.row} == set(sheet.error_rows)
    for told in sheet.problems:
        "".join((told.column, told.value, told.external_id, *told.message.values())).encode()
    for row in sheet.rows:
        "".join((row.external_id, row.prompt, row.text, *row.extra, *row.extra.values())).encode()


@given(STRINGS, STRINGS)
def test_a_header_is_known_whatever_marks_blanks_and_remarks_are_around_it(before: str, remark: str) -> None:
    hidden = "".join(character for character in before if character in " \t\n\u200b\u202a\u2066\ufeff_-*:.")
    for field, names in HEADER_ALIASES.items():
        for name in names[:3]:
            assert known_field(f"{hidden}{name.upper()}{hidden}（{remark}）") == known_field(name)
            assert (known_field(name) or ("", 0))[0] is field


@given(STRINGS)
def test_a_files_name_is_text_whatever_its_bytes(name: str) -> None:
    shown = readable_name(name)
    shown.encode()
    assert readable_name(shown) == shown
    if not any("\ud800" <= character <= "\udfff" for character in name):
        assert shown == name


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8))
def test_a_files_name_in_gb18030_is_read_unless_its_bytes_are_utf_8_too(name: str) -> None:
    raw = name.encode("gb18030")
    try:
        expected = raw.decode("utf-8")
    except UnicodeDecodeError:
        expected = raw.decode("gb18030")
    assert readable_name(raw.decode("utf-8", "surrogateescape")) == expected
