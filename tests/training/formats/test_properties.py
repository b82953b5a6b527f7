"""What holds of any row and any file: rows come back exactly, and no file ends in anything but rows and told problems."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import ExportError, SheetError
from core.types import Severity
from tests.training.formats.test_formats import DIMENSIONS, NASTY, read, training_row, write
from tests.training.snapshots.made import essay
from training.formats import ExportFormat, write_training_file
from training.formats.read import ROLES, read_exchanges

TEXTS = st.one_of(st.text(), st.sampled_from(NASTY), st.text("文本题目0a1{}%-\n \r\t\\\"'", min_size=1))
FLUENCY = DIMENSIONS["fluency"]
GOOD = training_row("fluency", "", essay(1), 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


@settings(max_examples=10)
@given(kind=st.sampled_from(ExportFormat), rows=st.lists(st.tuples(TEXTS, TEXTS, st.integers(1, 5)), max_size=3))
def test_whatever_a_row_holds_comes_back_from_every_format(folder: Path, kind: ExportFormat, rows: list[tuple[str, str, int]]) -> None:
    made = [training_row("normativity", prompt, text, label) for prompt, text, label in rows]
    path = folder / "any"
    assert write_training_file(path, made, kind) == len(made)
    if not made:
        with pytest.raises(SheetError, match="no record"):
            read(path)
        return
    file = read(path)
    assert (file.kind, file.own, file.problems) == (kind, len(made), ())
    assert [(row.prompt, row.text, row.gold, row.content_hash) for row in file.rows] == [
        (row.item_prompt, row.text, row.label, row.hash) for row in made
    ]


JSON = st.sampled_from([None, True, 7, 10**30, float("nan"), 0.5, "", "3", "题", [], [["3"]], {}, {"from": 3}, {"": [None]}])
KEYS = st.sampled_from(
    "conversation conversations instruction input output history prompt completion system from value role content".split()  # noqa: SIM905
)
TURNS = st.lists(st.dictionaries(KEYS, st.sampled_from([*ROLES, "3", "题"]) | JSON, max_size=4), max_size=3)
RECORDS = st.dictionaries(KEYS, TURNS | JSON, max_size=6) | JSON


@settings(max_examples=30)
@given(records=st.lists(RECORDS, min_size=1, max_size=4), lines=st.booleans(), kind=st.sampled_from([None, *ExportFormat]))
@example(records=[{"instruction": "题", "output": "3", "history": 7}], lines=False, kind=None)
def test_every_record_of_any_file_becomes_a_row_or_a_told_problem(
    folder: Path, records: list[Any], lines: bool, kind: ExportFormat | None
) -> None:
    path = folder / "wild"
    dumped = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(dumped) if lines else f"[{','.join(dumped)}]", encoding="utf-8")
    try:
        file = read(path, kind, "fluency")
    except SheetError as error:
        assert error.messages["zh"] != error.messages["en"]
        return
    read_ones = {row.source.row for row in file.rows}
    assert read_ones.isdisjoint(file.bad_records)
    assert read_ones | set(file.bad_records) == set(range(1, file.total + 1))
    assert all(row.gold in FLUENCY.labels and row.text for row in file.rows)
    assert all(problem.message["en"] and problem.message["zh"] for problem in file.problems)


@settings(max_examples=30)
@given(content=st.binary(max_size=30) | st.text('[]{}":,0 \n\\ue', max_size=30).map(str.encode))
@example(content=b"[" * 100_000)
@example(content=b'{"prompt": 9, "completion": ' + b"9" * 5000 + b"}")
@example(content=b"[" + b"9" * 5000 + b"]")
@example(content=b'{"prompt": "\\ud800", "completion": "3"}')
@example(content=json.dumps([{"instruction": GOOD.user.replace(GOOD.text, "\udfff"), "output": "3"}]).encode())
@example(content=b'{"prompt": "a", "completion": "3"}\n' + b"[" * 100_000)
def test_a_file_of_any_bytes_is_read_or_refused_in_words(folder: Path, content: bytes) -> None:
    path = folder / "bytes"
    path.write_bytes(content)
    try:
        file = read(path, dimension_id="fluency")
    except SheetError as error:
        assert set(error.messages) == {"zh", "en"}
    else:
        assert len(file.rows) + len(file.bad_records) == file.total
        for row in file.rows:
            row.text.encode()  # can be stored


@settings(max_examples=15)
@given(texts=st.lists(st.text(min_size=1, max_size=12).map(str.strip).filter(bool), min_size=8, max_size=12, unique=True))
def test_the_template_that_foreign_prompts_share_is_cut_and_no_text_loses_a_letter_of_its_own(folder: Path, texts: list[str]) -> None:
    before, after = "请按流畅性给下面的文字打分：", "\n只回答一个数字，不要解释。"
    records = [{"instruction": f"{before}{text}{after}", "input": "", "output": "3"} for text in texts]
    file = read(write(folder / "foreign", records), dimension_id="fluency")
    assert len(file.rows) == len(texts)
    for row, text in zip(file.rows, texts, strict=True):
        assert row.text in text  # what all texts begin with may go with the frame, and nothing of the frame stays
    whole = read(write(folder / "foreign", records), dimension_id="fluency", whole=True)
    assert [row.text for row in whole.rows] == [record["instruction"].strip() for record in records]


@pytest.mark.parametrize("count", [1, 7, 8])
def test_few_foreign_prompts_keep_their_words_since_chance_may_make_them_alike(count: int, tmp_path: Path) -> None:
    records = [{"prompt": f"请给下面的文字打一个分数：{essay(n)}", "completion": 3} for n in range(count)]
    file = read(write(tmp_path / "few", records), dimension_id="fluency")
    assert all(row.text.startswith("请给下面") is (count < 8) for row in file.rows)
    assert file.problems[0].severity is Severity.WARNING
    assert str(count) in file.problems[0].message["zh"]


@pytest.mark.parametrize("encode", [str.encode, lambda text: text.encode("utf-8-sig"), lambda text: text.encode("gb18030")])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n \n"])
def test_encodings_line_ends_and_blank_lines_change_nothing(encode: Callable[[str], bytes], end: str, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    write_training_file(path, [GOOD, training_row("fluency", "", "甲\r\n乙", 2)], ExportFormat.TRL)
    told = read(path)
    path.write_bytes(encode(path.read_text(encoding="utf-8").replace("\n", end)))
    again = read(path)
    assert (again.rows, again.problems, again.total) == (told.rows, (), 2)


def test_all_that_the_tools_allow_is_read_as_one_exchange(tmp_path: Path) -> None:
    """Roles under all their names, the system's words at either place, Alpaca's second field, numbers as answers, TRL as plain text."""
    said = [{"from": "system", "value": "S"}, {"from": "user", "value": "Q"}, {"from": "chatgpt", "value": 3}]
    forms: list[tuple[object, tuple[str, str, str]]] = [
        ({"conversations": said}, ("S", "Q", "3")),
        ({"conversations": said[1:], "system": "T"}, ("T", "Q", "3")),
        ({"conversations": said, "system": "T"}, ("S", "Q", "3")),
        ({"instruction": "Q", "input": "R", "output": 3, "history": []}, ("", "Q\nR", "3")),
        ({"instruction": "Q", "input": None, "output": "3", "system": None}, ("", "Q", "3")),
        ({"prompt": "Q", "completion": 3}, ("", "Q", "3")),
        ({"conversation": [{"input": "Q", "output": "3", "system": "S"}]}, ("S", "Q", "3")),
    ]
    for record, wanted in forms:
        (found,) = read_exchanges(write(tmp_path / "one", [record])).exchanges
        assert (found.system, found.asked, found.answer) == wanted


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"instruction": "a", "output": "3", "history": [["q", "a"]]}, "2 turns"),
        ({"instruction": "a", "output": "3", "history": "earlier"}, "no list under `history`"),
        ({"instruction": ["a"], "output": "3"}, "no text under `instruction`"),
        ({"instruction": "a", "output": True}, "no text under `output`"),
        ({"conversations": [{"from": "human", "value": "q"}]}, "no question or no answer"),
        ({"prompt": "q", "completion": [{"role": "assistant", "content": "3"}]}, "no text under `completion`"),
        ({"prompt": [{"role": "user", "content": "q"}], "completion": "3"}, "under `completion`"),
        ({"prompt": [{"role": "tool", "content": "q"}], "completion": []}, "unknown role 'tool'"),
        ({"conversation": {"input": "a"}}, "no list under `conversation`"),
    ],
)
def test_what_is_no_single_exchange_is_told_with_the_key_to_mend(record: object, words: str, tmp_path: Path) -> None:
    file = read(write(tmp_path / "one", [record]), dimension_id="fluency")
    assert file.bad_records == [1]
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(file.problems[0].message["en"])
    assert file.problems[0].message["zh"] != file.problems[0].message["en"]


def test_a_file_that_cannot_be_written_is_told_and_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    write_training_file(path, [GOOD], ExportFormat.ALPACA)
    before = path.read_bytes()

    def breaks() -> Any:
        yield GOOD
        raise OSError(28, "No space left on device")

    with pytest.raises(ExportError, match="No space left") as caught:
        write_training_file(path, breaks(), ExportFormat.ALPACA)
    assert "磁盘空间" in caught.value.messages["zh"]
    assert path.read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        write_training_file(tmp_path / "file" / "below.json", [GOOD], ExportFormat.TRL)


def test_an_edited_prompt_is_read_as_it_stands_and_warned_of(tmp_path: Path) -> None:
    edited = GOOD.user.replace(GOOD.text, GOOD.text + "多了一句。")
    file = read(write(tmp_path / "one", [{"instruction": edited, "output": "2", "system": GOOD.system}]), dimension_id="choice")
    assert [(row.dimension_id, row.text, row.gold) for row in file.rows] == [("fluency", GOOD.text + "多了一句。", 2)]
    assert [(problem.severity, problem.record) for problem in file.problems] == [(Severity.WARNING, 1)]
    assert "导出后有改动" in file.problems[0].message["zh"]
