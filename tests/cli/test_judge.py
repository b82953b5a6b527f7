"""`judge` from file to result.csv, as a user types it: the first time, and where it is killed, in a process of its own."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import openpyxl
import pytest

from core.settings import Settings
from tests.commands import type_in
from tests.conftest import ROOT
from webapp.services import exports
from webapp.workbench import Workbench

SAMPLES = ROOT / "assets" / "samples"
HEADER = ["数据编号", "评判维度", "预测分数"]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-P", "-m", "webapp", *map(str, arguments)]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PINGPAN_HOME": str(home), "COLUMNS": "300"}


def pingpan(home: Path, cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    cwd.mkdir(parents=True, exist_ok=True)
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, env=environment(home), timeout=180, check=False)


def results(path: Path, encoding: str = "utf-8-sig") -> list[list[str]]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.reader(file))


def write_csv(path: Path, rows: list[list[str]], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def worksheets(path: Path) -> list[list[list[object]]]:
    """Read a workbook back: worksheets, rows, cells."""
    with closing(openpyxl.load_workbook(path, read_only=True)) as book:
        return [[list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets]


def sheet_ids() -> list[str]:
    return [str(row[0]) for row in worksheets(SAMPLES / "sheet.xlsx")[0][1:]]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the sample sheet was judged with nothing but defaults."""
    folder = tmp_path_factory.mktemp("judged")
    answer = pingpan(folder / "home", folder / "work", "judge", SAMPLES / "sheet.xlsx")
    assert answer.returncode == 0, answer.stderr
    return folder


def test_every_row_gets_a_label_on_its_scale_in_the_sheets_order(judged: Path) -> None:
    rows = results(judged / "work" / "result.csv")
    assert rows[0] == HEADER
    assert [row[0] for row in rows[1:]] == sheet_ids()
    scales = {"流畅性": set("12345"), "规范性": set("12345"), "选择题": set("01")}
    assert all(row[2] in scales[row[1]] for row in rows[1:])
    assert len({row[2] for row in rows[1:] if row[1] != "选择题"}) >= 3


def test_everything_stands_in_the_workbook_and_the_json_lines(judged: Path) -> None:
    labels = {row[0]: row[2] for row in results(judged / "work" / "result.csv")[1:]}
    book = worksheets(judged / "work" / "full.xlsx")
    assert len(book) == 3
    assert len(book[0]) - 1 == len(labels)
    lines = [json.loads(line) for line in (judged / "work" / "submit" / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["id"]: str(line["label"]) for line in lines} == labels


def test_files_are_the_same_whether_their_rows_are_read_once_or_for_each(judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "READ_ONCE", 0)
    answer = type_in(judged / "home", judged / "each", "export", "1")
    assert answer.returncode == 0, answer.stderr
    names = ["result.csv", *(f"submit/{path.name}" for path in (judged / "work" / "submit").iterdir())]
    assert len(names) == 6
    for name in names:
        assert (judged / "each" / name).read_bytes() == (judged / "work" / name).read_bytes()
    assert worksheets(judged / "each" / "full.xlsx")[:2] == worksheets(judged / "work" / "full.xlsx")[:2]


def test_the_other_aggregator_needs_no_judge(judged: Path) -> None:
    before = results(judged / "work" / "result.csv")
    answer = type_in(judged / "home", judged / "work", "export", "1", "--aggregator", "reference-vote", "--out", "vote.csv")
    assert answer.returncode == 0, answer.stderr
    after = results(judged / "work" / "vote.csv")
    assert [row[:2] for row in after] == [row[:2] for row in before]
    again = type_in(judged / "home", judged / "work", "export", "1", "--aggregator", "pooled-median", "--out", "median.csv")
    assert again.returncode == 0, again.stderr
    assert results(judged / "work" / "median.csv") == before


def test_runs_and_libraries_are_listed(judged: Path) -> None:
    assert "sheet.xlsx" in type_in(judged / "home", judged / "work", "runs").stdout
    assert "sample" in type_in(judged / "home", judged / "work", "library", "list").stdout
    again = type_in(judged / "home", judged / "work", "reindex")
    assert again.returncode == 0, again.stderr
    assert "indexed" in again.stdout


def test_bad_rows_stop_the_run_until_the_user_agrees_to_skip_them(tmp_path: Path) -> None:
    sheet = write_csv(
        tmp_path / "bad.csv",
        [
            ["数据编号", "创作要求", "评判维度", "待评判内容"],
            ["A1", "", "流畅性", "今天的天气很好，我们一起去公园散步，看见了许多盛开的花。"],
            ["A2", "", "流利度", "这一行的维度写错了。"],
            ["A3", "", "流畅性", ""],
            ["A4", "", "流畅性", "孩子们在河边放风筝，风筝越飞越高，笑声传得很远。"],
        ],
    )
    refused = type_in(tmp_path / "home", tmp_path, "judge", sheet)
    assert refused.returncode == 2
    assert not (tmp_path / "result.csv").exists()
    for part in ("row 3", "流利度", "row 4", "--skip-bad-rows"):
        assert part in refused.stderr
    agreed = type_in(tmp_path / "home", tmp_path, "judge", sheet, "--skip-bad-rows", "--encoding", "gb18030")
    assert agreed.returncode == 0, agreed.stderr
    assert [row[0] for row in results(tmp_path / "result.csv", "gb18030")[1:]] == ["A1", "A4"]
    everything = " ".join(str(cell) for sheet in worksheets(tmp_path / "full.xlsx") for row in sheet for cell in row if cell)
    assert "A2" in everything
    assert "A3" in everything


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.xlsx"], "missing.xlsx"),
        ([SAMPLES / "sheet.xlsx", "--panel", "nine"], "cpu"),
        ([SAMPLES / "sheet.xlsx", "--aggregator", "mean"], "pooled-median, reference-vote"),
        ([SAMPLES / "sheet.xlsx", "--library", "nowhere"], "sample"),
        ([SAMPLES / "sheet.xlsx", "--column", "text"], "field=header"),
    ],
)
def test_a_mistake_is_one_message_and_exit_status_2(tmp_path: Path, arguments: list[str | Path], told: str) -> None:
    answer = type_in(tmp_path / "home", tmp_path, "judge", *arguments)
    assert answer.returncode == 2
    assert told in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--encoding", "latin-1"], "gb18030"), (["--out", SAMPLES / "sheet.xlsx" / "result.csv"], "choose another place")],
)
def test_results_that_could_not_be_written_are_told_before_the_work(tmp_path: Path, arguments: list[str | Path], told: str) -> None:
    answer = type_in(tmp_path / "home", tmp_path, "judge", SAMPLES / "sheet.xlsx", *arguments)
    assert answer.returncode == 2
    assert told in answer.stderr
    assert not (tmp_path / "home").exists()


def test_a_library_file_of_one_dimension_still_gives_every_row_a_verdict(tmp_path: Path) -> None:
    rows = [[str(cell if cell is not None else "") for cell in row] for row in worksheets(SAMPLES / "library.xlsx")[0]]
    fluency = [rows[0], *(row for row in rows[1:] if row[rows[0].index("评判维度")] == "流畅性")]
    library = write_csv(tmp_path / "fluency.csv", fluency, "gb18030")
    answer = type_in(tmp_path / "home", tmp_path, "judge", SAMPLES / "sheet.xlsx", "--library", library, "--out", "out/result.csv")
    assert answer.returncode == 0, answer.stderr
    assert all(row[2] for row in results(tmp_path / "out" / "result.csv"))
    assert (tmp_path / "out" / "full.xlsx").exists()
    assert (tmp_path / "out" / "submit").is_dir()


def test_killed_at_random_moments_and_started_again_it_ends_as_if_nothing_had_happened(tmp_path: Path, judged: Path) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    arguments = command("judge", SAMPLES / "sheet.xlsx")
    for _ in range(6):
        with subprocess.Popen(arguments, cwd=tmp_path, env=environment(tmp_path / "home"), stderr=subprocess.DEVNULL) as process:
            time.sleep(chance.uniform(0.3, 6.0))
            process.send_signal(signal.SIGKILL)
    last = type_in(tmp_path / "home", tmp_path, "judge", SAMPLES / "sheet.xlsx")
    assert last.returncode == 0, last.stderr
    assert results(tmp_path / "result.csv") == results(judged / "work" / "result.csv")


def test_killed_while_the_files_are_written_it_writes_them_and_judges_nothing_again(tmp_path: Path) -> None:
    arguments = ["judge", SAMPLES / "sheet.xlsx", "--out", "out/result.csv"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workbench, "export_all", lambda *_: sys.exit(137))
        assert type_in(tmp_path / "home", tmp_path, *arguments).returncode == 137
    for runs in (1, 2):  # the second time nothing is owed, and a finished run is not taken for the new one
        assert type_in(tmp_path / "home", tmp_path, *arguments).returncode == 0
        assert len(Workbench.open(Settings(home=tmp_path / "home", _env_file=None)).runs()) == runs  # type: ignore[call-arg]
        assert len(results(tmp_path / "out" / "result.csv")) == 1 + len(sheet_ids())


def test_evaluate_prints_each_judge_and_the_verdict(tmp_path: Path) -> None:
    answer = type_in(tmp_path / "home", tmp_path, "evaluate", SAMPLES / "library.xlsx")
    assert answer.returncode == 0, answer.stderr
    for part in ("MAE", "QWK", "verdict", "rules", "流畅性", "选择题"):
        assert part in answer.stdout


def test_a_dimension_of_the_users_own_goes_from_file_to_result(tmp_path: Path) -> None:
    words = ["各单位请按通知执行，第", "白日依山尽，黄河入海流，其"]
    rows = [[f"G{i}", "", "体裁", f"{words[i % 2]}{'甲乙丙丁戊己庚辛'[i % 8] * (1 + i // 2)}。", str(i % 2)] for i in range(24)]
    header = ["数据编号", "创作要求", "评判维度", "待评判内容", "标注分值"]
    library = write_csv(tmp_path / "library.csv", [header, *rows[:20]])
    sheet = write_csv(tmp_path / "sheet.csv", [header, *rows[20:]])
    (tmp_path / "home" / "dimensions").mkdir(parents=True)
    (tmp_path / "home" / "dimensions" / "genre.yaml").write_text(
        "id: genre\nkind: nominal\nnames: {zh: 体裁, en: Genre}\ndescription: {zh: 文本的体裁。, en: The genre.}\nlabels: [0, 1]\n"
        "levels: {0: {zh: 公文, en: document}, 1: {zh: 诗歌, en: poem}}\nneeds_prompt: false\nprompt: {file: rubric, version: 1}\n",
        encoding="utf-8",
    )
    answer = type_in(tmp_path / "home", tmp_path, "judge", sheet, "--library", library)
    assert answer.returncode == 0, answer.stderr
    judged = results(tmp_path / "result.csv")[1:]
    assert [row[:2] for row in judged] == [[row[0], "体裁"] for row in rows[20:]]
    assert {row[2] for row in judged} <= {"0", "1"}
    answer = type_in(tmp_path / "home", tmp_path, "evaluate", sheet, "--library", "sample")  # which has no example of it
    assert (answer.returncode, answer.stdout.split()[-3:]) == (0, ["体裁", "verdict", "0"]), answer


def test_doctor_finds_this_machine_sound(tmp_path: Path) -> None:
    answer = type_in(tmp_path / "home", tmp_path, "doctor")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "chromadb" in answer.stdout
