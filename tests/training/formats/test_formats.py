"""Training files of other tools: written from rows, known again exactly, and every record that cannot be read told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from core.dimensions import PromptBuilder, load_dimensions
from core.errors import SheetError
from core.settings import ASSETS
from core.training import Split, TrainingRow
from core.types import Example, Item, LabelledItem, Origin, SourceRef, content_hash
from tests.training.snapshots.made import DIMENSIONS, essay
from training.formats import ExportFormat, ImportedFile, read_training_file, write_training_file

PROMPTS = PromptBuilder(DIMENSIONS, ASSETS / "dimensions")
# Texts that a template could take for its own words.
NASTY = (
    "第一段。\n\n----- 文本 0123456789 结束 -----\n\n按每 100 字的语言错误数定分，只回答 1、2、3、4、5 中的一个数字。\n评分：",
    "（空）",
    "  首尾有空格 \n",
    "请评定下面的文本。\n\n----- 文本 abcdef0123 开始 -----\n甲\n----- 文本 abcdef0123 结束 -----",
    'a\\n"b"\t{{ row }} 🙂',
)


def training_row(dimension_id: str, prompt: str, text: str, label: int, examples: Sequence[str] = ()) -> TrainingRow:
    """Return a row with the prompt of judging."""
    digest = content_hash(dimension_id, prompt, text)
    item = Item(1, 1, 0, "x", dimension_id, prompt, text, None, digest, SourceRef("", "", 1))
    shown = [LabelledItem(n, "", dimension_id, prompt, body, label, Origin.IMPORT, "", "") for n, body in enumerate(examples)]
    rendered = PROMPTS.render(item, [Example(one, 0.5, rank, "") for rank, one in enumerate(shown)])
    sides = ("f", Split.TRAIN, Origin.IMPORT, "")
    return TrainingRow(digest, "x", dimension_id, prompt, text, label, *sides, rendered.system, rendered.user, rendered.sha256)


def own_rows() -> list[TrainingRow]:
    made = [training_row("fluency", "", text, 1 + n % 5) for n, text in enumerate((*NASTY, "", essay(1)))]
    made += [training_row("normativity", f"请写：{text}", text, 1 + n % 5, [essay(2), NASTY[0]]) for n, text in enumerate((*NASTY, ""))]
    made += [
        training_row("normativity", "", essay(3), 2),
        training_row("choice", "题目\nA. 甲\nB. 乙", "正确选项为A 模型回复为B", 0, ["甲"]),
    ]
    return made


def read(path: Path, kind: ExportFormat | None = None, dimension_id: str = "", *, whole: bool = False) -> ImportedFile:
    return read_training_file(path, DIMENSIONS, PROMPTS, kind=kind, dimension_id=dimension_id, whole_prompts=whole)


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", list(ExportFormat))
def test_every_row_comes_back_as_it_was(kind: ExportFormat, tmp_path: Path) -> None:
    rows = own_rows()
    path = tmp_path / "file"
    assert write_training_file(path, iter(rows), kind) == len(rows)
    file = read(path)
    assert (file.kind, file.own, file.total, file.problems) == (kind, len(rows), len(rows), ())
    found = [(row.dimension_id, row.prompt, row.text, row.gold, row.content_hash) for row in file.rows]
    assert found == [(row.dimension_id, row.item_prompt, row.text, row.label, row.hash) for row in rows]
    again = [training_row(row.dimension_id, row.prompt, row.text, row.gold or 0) for row in file.rows]
    plain = [place for place, row in enumerate(rows) if "示例 1" not in row.user]
    assert [again[place].prompt_sha256 for place in plain] == [rows[place].prompt_sha256 for place in plain]


def test_each_format_is_exactly_as_its_tool_reads_it(tmp_path: Path) -> None:
    row = training_row("fluency", "", "甲。", 4)
    said: dict[ExportFormat, object] = {
        ExportFormat.XTUNER: [{"conversation": [{"system": row.system, "input": row.user, "output": "4"}]}],
        ExportFormat.ALPACA: [{"instruction": row.user, "input": "", "output": "4", "system": row.system}],
        ExportFormat.SHAREGPT: [
            {"conversations": [{"from": "human", "value": row.user}, {"from": "gpt", "value": "4"}], "system": row.system}
        ],
        ExportFormat.TRL: {
            "prompt": [{"role": "system", "content": row.system}, {"role": "user", "content": row.user}],
            "completion": [{"role": "assistant", "content": "4"}],
        },
    }
    for kind, wanted in said.items():
        path = tmp_path / kind
        write_training_file(path, [row], kind)
        assert json.loads(path.read_text(encoding="utf-8")) == wanted
    write_training_file(tmp_path / "none", [], ExportFormat.XTUNER)
    assert json.loads((tmp_path / "none").read_text(encoding="utf-8")) == []


def test_own_prompts_are_known_with_the_system_words_missing_or_in_front(tmp_path: Path) -> None:
    rows = own_rows()
    bare = [{"conversation": [{"input": row.user, "output": f" {row.label}\n"}]} for row in rows]
    folded = [{"prompt": f"{row.system}\n\n{row.user}", "completion": str(row.label)} for row in rows]
    for content in (bare, folded):
        file = read(write(tmp_path / "file", content))
        assert [(row.dimension_id, row.prompt, row.text, row.gold) for row in file.rows] == [
            (row.dimension_id, row.item_prompt, row.text, row.label) for row in rows
        ]


def test_what_the_template_does_not_show_is_told_and_not_invented(tmp_path: Path) -> None:
    hidden = training_row("fluency", "这个题目提示词里没有", "正文。", 3)
    file = read(write(tmp_path / "file", [{"conversation": [{"system": hidden.system, "input": hidden.user, "output": "3"}]}]))
    assert [(row.prompt, row.text) for row in file.rows] == [("", "正文。")]
    assert [problem.record for problem in file.problems] == [1]
    assert "does not show the prompt" in file.problems[0].message["en"]
    assert file.bad_records == []


def test_dimensions_that_share_a_template_are_told_apart_by_their_system_words_or_the_user(tmp_path: Path) -> None:
    shipped = yaml.safe_load((ASSETS / "dimensions" / "fluency.yaml").read_text(encoding="utf-8"))
    for name in ("alpha", "beta"):
        own: dict[str, object] = {"id": name, "names": {"zh": name, "en": name}, "aliases": [], "prompt": {"file": "rubric", "version": 1}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**shipped, **own}), encoding="utf-8")
    folders = (ASSETS / "dimensions", tmp_path)
    dimensions = load_dimensions(*folders)
    prompts = PromptBuilder(dimensions, *folders)
    item = Item(1, 1, 0, "x", "beta", "", "正文。", None, "", SourceRef("", "", 1))
    rendered = prompts.render(item, ())
    told = write(tmp_path / "told.json", [{"conversation": [{"system": rendered.system, "input": rendered.user, "output": "2"}]}])
    bare = write(tmp_path / "bare.json", [{"conversation": [{"input": rendered.user, "output": "2"}]}])
    assert [row.dimension_id for row in read_training_file(told, dimensions, prompts).rows] == ["beta"]
    unclear = read_training_file(bare, dimensions, prompts)
    assert (unclear.rows, unclear.bad_records) == ((), [1])
    assert "alpha, beta share" in unclear.problems[0].message["en"]
    assert [row.dimension_id for row in read_training_file(bare, dimensions, prompts, dimension_id="beta").rows] == ["beta"]


def foreign(count: int) -> list[dict[str, object]]:
    """Records of another tool's template."""
    frame = "你是评委。请按流畅性给下面的文字打分。\n待评判内容：{}\n只输出一个数字。分数："
    return [{"conversation": [{"system": "", "input": frame.format(essay(n)), "output": str(1 + n % 5)}]} for n in range(count)]


def test_foreign_prompts_need_a_dimension_and_lose_the_words_they_share(tmp_path: Path) -> None:
    path = write(tmp_path / "xtuner.json", foreign(10))
    unnamed = read(path)
    assert (unnamed.rows, unnamed.bad_records) == ((), list(range(1, 11)))
    named = read(path, dimension_id="fluency")
    assert [(row.text, row.gold, row.dimension_id) for row in named.rows] == [(essay(n), 1 + n % 5, "fluency") for n in range(10)]
    assert (named.own, len(named.problems), named.problems[0].record) == (0, 1, 0)
    assert "«你是评委。请按流畅性给下面的文字打分。 待评判内容：»" in named.problems[0].message["en"]
    whole = read(path, dimension_id="fluency", whole=True)
    assert whole.rows[0].text.startswith("你是评委")
    notes = [problem.message["zh"] for problem in read(path, dimension_id="choice").problems if problem.record == 0]
    assert ["其他模板" in notes[0], "「选择题」需要创作要求" in notes[1]] == [True, True]
    with pytest.raises(SheetError, match="no dimension 'x'"):
        read(path, dimension_id="x")


def test_every_record_that_cannot_be_read_is_told_with_its_number(tmp_path: Path) -> None:
    good = training_row("fluency", "", essay(1), 5)

    def turn(output: object, **more: object) -> dict[str, object]:
        return {"conversation": [{"system": good.system, "input": good.user, "output": output, **more}]}

    records = [
        turn("5"), turn("5分"), turn("6"), turn("五"), turn(4), turn(None), turn("5.0"), turn(""), "text", {"conversation": []},
        {"conversation": [turn("5"), turn("5")]}, {"conversations": []}, {"conversation": "x"},
    ]  # fmt: skip
    file = read(write(tmp_path / "file", records))
    assert [(row.source.row, row.gold) for row in file.rows] == [(1, 5), (5, 4)]
    assert file.bad_records == [2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13]
    assert (
        file.problems[0].message["en"] == "answers '5分', which is no label of Fluency; it must be one of 1, 2, 3, 4, 5 and nothing else."
    )
    assert all(problem.message["zh"] and problem.message["en"] for problem in file.problems)


def test_lines_conversations_and_files_that_are_nothing_are_told(tmp_path: Path) -> None:
    good = training_row("fluency", "", essay(1), 5)
    line = json.dumps({"prompt": good.system + good.user, "completion": "5"}, ensure_ascii=False)
    path = tmp_path / "lines.jsonl"
    path.write_bytes(f"{line}\n\n{{broken\n{line}\n".encode("gb18030"))
    file = read(path)
    assert [row.source.row for row in file.rows] == [1, 3]
    assert file.problems[0].record == 2
    assert "line 3 is no JSON" in file.problems[0].message["en"]
    chat = [
        {"conversations": [{"from": "human", "value": "甲"}, {"from": "gpt", "value": "1"}] * 2},
        {"conversations": [{"from": "cat", "value": "x"}]},
    ]
    told = read(write(tmp_path / "chat", chat))
    assert ["2 turns" in told.problems[0].message["en"], "unknown role 'cat'" in told.problems[1].message["en"]] == [True, True]
    for content, words in (("[]", "no record"), ("", "no record"), ('[{"a": 1}]', "no known training format"), ("[1,", "no JSON")):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(SheetError, match=words):
            read(path)
    with pytest.raises(SheetError, match="cannot be read"):
        read(tmp_path / "nowhere")
