"""Results out: the competition's csv, the full xlsx and the jsonl files, read back by other programs."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest

from core.errors import ExportError
from core.ingest import read_sheet, write_full_xlsx, write_jsonl, write_result_csv
from core.queries import ExportRow
from core.types import RunState, Sheet
from tests.ingest.outcomes import JUDGES, NOON, RUN, cells, csv_rows, item, judged
from tests.ingest.samples import DIMENSIONS, HEADER, read, write_xlsx

ROWS = [judged(item(2)), judged(item(4, dimension="choice"), 1, corrected=0), judged(item(5, dimension="normativity"), None)]
FORMULAS = ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", '=HYPERLINK("http://x")', "-cmd|' /C calc'!A0"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-8", "GB18030"])
def test_result_csv_has_the_competitions_form(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "deep" / "result.csv"
    summary = write_result_csv(path, iter(ROWS), DIMENSIONS, encoding)
    assert csv_rows(path, encoding) == [
        ["数据编号", "评判维度", "预测分数"],
        ["TE0002", "流畅性", "4"],
        ["TE0004", "选择题", "0"],
        ["TE0005", "规范性", ""],
    ]
    assert (summary.rows, summary.without_label, summary.guarded) == (3, 1, 0)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") == (encoding == "utf-8-sig")


def test_result_csv_holds_every_character_in_both_encodings(tmp_path: Path) -> None:
    odd = "𠮷😀é\u3000ก-€"
    for encoding in ("utf-8-sig", "gb18030"):
        write_result_csv(tmp_path / "r.csv", [judged(item(2, odd))], DIMENSIONS, encoding)
        assert csv_rows(tmp_path / "r.csv", encoding)[1][0] == odd
    with pytest.raises(ExportError, match="choose one of utf-8-sig"):
        write_result_csv(tmp_path / "x.csv", ROWS, DIMENSIONS, "latin-1")
    assert not (tmp_path / "x.csv").exists()


def test_ids_that_look_like_formulas_do_not_run_and_numbers_stay_exact(tmp_path: Path) -> None:
    ids = [*FORMULAS, "-5", "+3.25", "007", "1e5"]
    summary = write_result_csv(tmp_path / "r.csv", [judged(item(n, name)) for n, name in enumerate(ids, start=2)], DIMENSIONS)
    written = [row[0] for row in csv_rows(tmp_path / "r.csv")[1:]]
    assert written == [*("'" + name for name in FORMULAS), "-5", "+3.25", "007", "1e5"]
    assert summary.guarded == len(FORMULAS)


def test_full_xlsx_has_everything_of_a_row(tmp_path: Path) -> None:
    row = judged(item(2, prompt="写一篇短文", gold=5, extra={"作者": "张三", "轮次": "2"}), corrected=3)
    write_full_xlsx(tmp_path / "f.xlsx", [row], RUN, DIMENSIONS, ("作者", "轮次"))
    (found,) = cells(tmp_path / "f.xlsx", "结果")
    assert {name: value for name, value in found.items() if value is not None} == {
        "数据编号": "TE0002",
        "行号": 2,
        "评判维度": "流畅性",
        "创作要求": "写一篇短文",
        "待评判内容": "春天来了。",
        "标注分值": 5,
        "状态": "已改正",
        "预测分数": 3,
        "裁决": 4,
        "人工改正": 3,
        "期望分": 3.8,
        "概率": "1:0 2:.05 3:.10 4:.85 5:0",
        "投票结果": "多数",
        "依据": "lead",
        "分歧": 0.25,
        "汇总方法": "pooled-median",
        "示例": "TR0001 (0.912), TR0002 (0.500)",
        "GLM 分数": 4,
        "GLM 状态": "正常",
        "GLM 期望分": pytest.approx(3.8),
        "GLM 把握": 0.85,
        "GLM 概率": "1:0 2:.05 3:.10 4:.85 5:0",
        "GLM 理由": "错误很少",
        "Qwen 状态": "弃权",
        "Qwen 理由": "文本过短",
        "作者": "张三",
        "轮次": "2",
    }


def test_full_xlsx_in_english(tmp_path: Path) -> None:
    write_full_xlsx(tmp_path / "f.xlsx", ROWS, RUN, DIMENSIONS, language="en")
    book = openpyxl.load_workbook(tmp_path / "f.xlsx")
    assert book.sheetnames == ["Results", "Problems and skipped", "Run"]
    rows = cells(tmp_path / "f.xlsx", "Results")
    assert [row["Status"] for row in rows] == ["judged", "corrected", "no verdict"]
    assert [row["Score"] for row in rows] == [4, 0, None]
    assert rows[2]["Outcome"] == "no quorum"
    assert rows[0]["Dimension"] == "Fluency"
    assert (book["Results"].freeze_panes, book["Results"].auto_filter.ref is not None) == ("B2", True)


def test_judges_are_named_and_give_their_reasons_in_the_language_of_the_workbook(tmp_path: Path) -> None:
    paused = dataclasses.replace(RUN, error={"zh": "服务没有回应。", "en": "The server does not answer."})
    for language, worksheets, reason, error in (
        ("zh", ("结果", "运行"), ("GLM 理由", "错误很少", "Qwen 理由", "文本过短"), ("错误", "服务没有回应。")),
        (
            "en",
            ("Results", "Run"),
            ("GLM 4 reason", "错误很少", "Qwen reason", "The text is too short"),
            ("Error", "The server does not answer."),
        ),
    ):
        write_full_xlsx(tmp_path / "f.xlsx", ROWS, paused, DIMENSIONS, language=language)
        first = cells(tmp_path / "f.xlsx", worksheets[0])[0]
        assert (first[reason[0]], first[reason[2]]) == (reason[1], reason[3])
        assert error in [tuple(row.values()) for row in cells(tmp_path / "f.xlsx", worksheets[1])]


def test_skipped_rows_stand_in_their_place_with_the_reason(tmp_path: Path) -> None:
    path = write_xlsx(
        tmp_path / "评审.xlsx",
        [
            HEADER,
            ("TE0002", "", "流畅性", "春", ""),
            ("TE0003", "", "逻辑性", "夏", "9"),
            ("TE0004", "", "选择题", "秋", ""),
            ("", "", "流畅性", "冬", ""),
        ],
    )
    sheet = read(path)
    rows = [judged(item(row.source.row, row.external_id, dimension=row.dimension_id)) for row in sheet.rows]
    write_full_xlsx(tmp_path / "f.xlsx", rows, RUN, DIMENSIONS, (), sheet.problems, sheet.error_rows)
    found = cells(tmp_path / "f.xlsx", "结果")
    assert [(row["行号"], row["数据编号"], row["状态"]) for row in found] == [
        (2, "TE0002", "已评判"),
        (3, "TE0003", "已跳过"),
        (4, "TE0004", "已评判"),
        (5, None, "已跳过"),
    ]
    assert "没有这个评判维度" in str(found[1]["说明"])
    listed = cells(tmp_path / "f.xlsx", "问题与跳过")
    assert [(row["行号"], row["代码"], row["处理"]) for row in listed] == [(3, "unknown_dimension", "已跳过"), (5, "missing_id", "已跳过")]
    facts = {row["项目"]: row["内容"] for row in cells(tmp_path / "f.xlsx", "运行")}
    assert (facts["已导出的行"], facts["跳过的行"]) == (2, 2)


def test_the_facts_of_the_run(tmp_path: Path) -> None:
    sheet = Sheet(1, "评审.xlsx", "a" * 64, "xlsx", "", "Sheet1", HEADER, {"id": "数据编号"}, 3, 0, NOON)
    write_full_xlsx(tmp_path / "f.xlsx", ROWS, RUN, DIMENSIONS, sheet=sheet, facts={"版本": "0.1.0"})
    facts = {row["项目"]: row["内容"] for row in cells(tmp_path / "f.xlsx", "运行")}
    assert facts["sha256"] == "a" * 64
    assert (facts["首席评判"], facts["汇总方法"], facts["样例库"]) == ("glm", "pooled-median", "2 (v-abc)")
    assert facts["评判 glm"] == 'GLM: baseline {"seed": 1}'
    assert (facts["完成时间"], facts["用时（秒）"]) == ("2025-03-01T12:02:00+00:00", 118.5)
    assert (facts["无结论的行"], facts["人工改正的行"], facts["投票结果 多数"]) == (1, 1, 2)
    assert (facts["分数分布 流畅性"], facts["分数分布 选择题"]) == ("4:1", "0:1")
    assert facts["版本"] == "0.1.0"


def test_nothing_in_the_xlsx_runs_or_links(tmp_path: Path) -> None:
    rows = [
        judged(item(n, name, text=name, prompt="https://example.org", extra={"=x": name}), rationale=name)
        for n, name in enumerate(FORMULAS, start=2)
    ]
    summary = write_full_xlsx(tmp_path / "f.xlsx", rows, RUN, DIMENSIONS, ("=x",))
    with zipfile.ZipFile(tmp_path / "f.xlsx") as archive:
        page = archive.read("xl/worksheets/sheet1.xml")
        assert b"<f>" not in page
        assert b"hyperlink" not in page
        assert not any("externalLink" in name for name in archive.namelist())
    ids = [str(row["数据编号"]).replace("_x000D_", "\r") for row in cells(tmp_path / "f.xlsx", "结果")]  # openpyxl leaves the escape
    assert ids == FORMULAS
    assert summary.guarded == 4 * len(FORMULAS)


def test_no_character_corrupts_the_xlsx(tmp_path: Path) -> None:
    text = '一\x00二\x0b三\x1f四\ud800五\ufffe六_x000D_七\r\n八<&>"九\U0001f600'
    write_full_xlsx(tmp_path / "f.xlsx", [judged(item(2, text=text), rationale=text)], RUN, DIMENSIONS)
    sheet = read_sheet(tmp_path / "f.xlsx", dimensions=DIMENSIONS)
    assert sheet.rows[0].text == '一二\n三四\ufffd五\ufffd六_x000D_七\r\n八<&>"九\U0001f600'


def test_a_text_too_long_for_a_cell_is_marked_and_whole_in_the_jsonl(tmp_path: Path) -> None:
    for text in ("长" * 40_000, "😀" * 20_000):
        summary = write_full_xlsx(tmp_path / "f.xlsx", [judged(item(2, text=text))], RUN, DIMENSIONS)
        cell = str(cells(tmp_path / "f.xlsx", "结果")[0]["待评判内容"])
        assert cell.endswith(f"…（全文 {len(text):,} 字，见 results.jsonl）")
        assert len(cell.encode("utf-16-le")) // 2 <= 32_767
        assert summary.shortened == 1
        paths = write_jsonl(tmp_path / "submit", [judged(item(2, text=text))], RUN, DIMENSIONS)
        assert json.loads(paths[0].read_text(encoding="utf-8"))["text"] == text
    whole = "长" * 32_767
    assert write_full_xlsx(tmp_path / "f.xlsx", [judged(item(2, text=whole))], RUN, DIMENSIONS).shortened == 0
    assert cells(tmp_path / "f.xlsx", "结果")[0]["待评判内容"] == whole


def test_jsonl_has_one_combined_file_and_one_per_judge(tmp_path: Path) -> None:
    paths = write_jsonl(tmp_path / "submit", iter(ROWS), RUN, DIMENSIONS)
    assert [path.name for path in paths] == ["results.jsonl", "judge-glm.jsonl", "judge-qwen_2_7b.jsonl"]
    assert sorted(path.name for path in (tmp_path / "submit").iterdir()) == sorted(path.name for path in paths)
    combined, glm, qwen = ([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in paths)
    assert [(row["id"], row["label"], row["corrected"]) for row in combined] == [
        ("TE0002", 4, None),
        ("TE0004", 0, 0),
        ("TE0005", None, None),
    ]
    first = combined[0]
    assert (first["dimension"], first["dimension_name"], first["row"], first["run"]) == ("fluency", "流畅性", 2, 7)
    assert first["verdict"]["probabilities"] == {"1": 0.0, "2": 0.05, "3": 0.1, "4": 0.85, "5": 0.0}
    assert [answer["judge"] for answer in first["judgements"]] == ["glm", "qwen/2:7b"]
    assert first["examples"][0] == {"id": "TR0001", "label": 4, "similarity": 0.91234}
    assert (glm[0]["label"], glm[0]["raw_reply"], glm[0]["status"]) == (4, "4 分", "ok")
    assert (qwen[0]["status"], qwen[0]["error"], qwen[0]["label"]) == ("abstained", {"zh": "文本过短", "en": "The text is too short"}, None)
    assert len(glm) == len(qwen) == 3


def test_rows_without_a_verdict_yet(tmp_path: Path) -> None:
    row = ExportRow(item(2), (), None)
    assert write_result_csv(tmp_path / "r.csv", [row], DIMENSIONS).without_label == 1
    write_full_xlsx(tmp_path / "f.xlsx", [row], RUN, {})
    found = cells(tmp_path / "f.xlsx", "结果")[0]
    assert (found["状态"], found["评判维度"]) == ("无结论", "fluency")
    combined, *judges = write_jsonl(tmp_path / "submit", [row], RUN, DIMENSIONS)
    assert json.loads(combined.read_text(encoding="utf-8"))["verdict"] is None
    assert [path.read_text(encoding="utf-8") for path in judges] == ["", ""]


def failing() -> Iterator[ExportRow]:
    """Yield one row and then break, as a lost database would."""
    yield ROWS[0]
    raise RuntimeError("lost")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "result.csv"
    target.write_text("before", encoding="utf-8")
    for write in (
        lambda: write_result_csv(target, failing(), DIMENSIONS),
        lambda: write_full_xlsx(target, failing(), RUN, DIMENSIONS),
        lambda: write_jsonl(tmp_path, failing(), RUN, DIMENSIONS),
    ):
        with pytest.raises(RuntimeError, match="lost"):
            write()
        assert [path.name for path in tmp_path.iterdir()] == ["result.csv"]
        assert target.read_text(encoding="utf-8") == "before"


def test_a_place_that_cannot_be_written_names_the_path_and_the_remedy(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x", encoding="utf-8")
    for write in (
        lambda: write_result_csv(blocked / "result.csv", ROWS, DIMENSIONS),
        lambda: write_full_xlsx(blocked / "full.xlsx", ROWS, RUN, DIMENSIONS),
        lambda: write_jsonl(blocked / "submit", ROWS, RUN, DIMENSIONS),
    ):
        with pytest.raises(ExportError) as caught:
            write()
        assert os.fspath(blocked) in caught.value.messages["en"]
        assert "无法写入" in caught.value.messages["zh"]
    folder = tmp_path / "result.csv"
    folder.mkdir()
    with pytest.raises(ExportError, match="choose another place"):
        write_result_csv(folder, ROWS, DIMENSIONS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "result.csv"]


def test_judges_of_the_same_name_and_columns_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    twins = tuple(dataclasses.replace(judge, name="同名", names={}) for judge in JUDGES)
    run = dataclasses.replace(RUN, panel=dataclasses.replace(RUN.panel, judges=twins))
    write_full_xlsx(tmp_path / "f.xlsx", [judged(item(2, extra={"状态": "草稿"}))], run, DIMENSIONS, ("状态",))
    header = next(openpyxl.load_workbook(tmp_path / "f.xlsx")["结果"].iter_rows(values_only=True))
    assert len(set(header)) == len(header)
    found = cells(tmp_path / "f.xlsx", "结果")[0]
    assert (found["状态 *"], found["同名 (glm) 分数"], found["同名 (qwen/2:7b) 状态"]) == ("草稿", 4, "弃权")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_results_that_are_judged_again_and_again_keep_every_column_apart(tmp_path: Path, language: str) -> None:
    names: tuple[str, ...] = ("班级",)
    for number in range(3):  # each time, the columns of the last results are the extra columns of the next
        path = tmp_path / f"{number}.xlsx"
        rows = [judged(item(2, extra={name: f"{number}: {name}" for name in names}))]
        write_full_xlsx(path, rows, RUN, DIMENSIONS, names, language=language)
        header = [str(name) for name in next(openpyxl.load_workbook(path).worksheets[0].iter_rows(values_only=True))]
        assert len(set(header)) == len(header), [name for name in header if header.count(name) > 1]
        found = cells(path, "结果" if language == "zh" else "Results")[0]
        assert sorted(str(value) for value in found.values() if str(value).startswith(f"{number}: ")) == sorted(rows[0].item.extra.values())
        names = tuple(header)


@pytest.mark.parametrize("state", RunState)
def test_the_facts_of_a_run_are_in_the_language_of_the_workbook(tmp_path: Path, state: RunState) -> None:
    run = dataclasses.replace(RUN, state=state)
    said = {}
    for language in ("zh", "en"):
        write_full_xlsx(tmp_path / "f.xlsx", [judged(item(2)), judged(item(3), None)], run, DIMENSIONS, language=language)
        page = openpyxl.load_workbook(tmp_path / "f.xlsx").worksheets[2]
        said[language] = {str(name): str(value) for name, value in page.iter_rows(values_only=True)}
    assert not said["zh"]["状态"].isascii()
    assert said["en"]["State"] == state.value
    assert {"投票结果 多数", "投票结果 票数不足"} <= said["zh"].keys()
    assert {"Outcome majority", "Outcome no quorum"} <= said["en"].keys()
    assert len(said["zh"]) == len(said["en"])
