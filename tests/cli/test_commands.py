"""Every command as it is typed: what it prints, how it tells a mistake, and its exit status."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from core.queries import RowQuery
from core.settings import Settings
from tests.commands import type_in
from webapp.workbench import Workbench

NAME = "[red]作文[b] :100:.csv"
LIBRARY = NAME.removesuffix(".csv")
ROWS = (
    "编号,创作要求,评判维度,待评判内容,标注分值\n"
    "A1,,流畅性,今天的天气很好，我们一起去公园散步，看见了许多盛开的花。,5\n"
    "A2,,流畅性,他错错说话不清楚，很难懂懂，大家都都不明白。,\n"
    "A3,2+2 等于几？A. 3 B. 4,选择题,正确选项为B，模型回复为：选 B。,1\n"
)
SPEC = ("--set", "model=m", "--set", "snapshot=s")
Pingpan = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Judge by the rules alone, which look at no example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PINGPAN_PANEL", "quick")
        patch.setenv("PINGPAN_EXAMPLES", "0")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home in which a sheet was judged whose name looks like markup."""
    folder = tmp_path_factory.mktemp("commands")
    write_panel(folder / "home", "quick", {"id": "rules", "name": "Rules", "family": "rules"})
    (folder / NAME).write_text(ROWS, encoding="utf-8")
    judged = type_in(folder / "home", folder, "judge", NAME, "--library", NAME)
    assert judged.returncode == 0, judged.stderr
    (folder / "said.txt").write_text(judged.stderr, encoding="utf-8")
    return folder


def write_panel(home: Path, name: str, judge: dict[str, object]) -> None:
    (home / "panels").mkdir(parents=True, exist_ok=True)
    panel = {"names": {"zh": "我的", "en": "Mine"}, "lead": judge["id"], "judges": [judge]}
    (home / "panels" / f"{name}.yaml").write_text(yaml.safe_dump(panel, allow_unicode=True), encoding="utf-8")


@pytest.fixture
def pingpan(folder: Path, tmp_path: Path) -> Pingpan:
    """Type a command in over that home, in a folder of the test's own."""
    return lambda *words: type_in(folder / "home", tmp_path, *words)


def workbench(folder: Path) -> Workbench:
    return Workbench.open(Settings(home=folder / "home", _env_file=None))  # type: ignore[call-arg]


def told(answer: subprocess.CompletedProcess[str]) -> str:
    """What a user is told of a mistake: one message on stderr, nothing on stdout, exit status 2."""
    assert (answer.returncode, answer.stdout) == (2, ""), answer
    assert "Traceback" not in answer.stderr
    return answer.stderr


# -- what is stored


def test_names_that_look_like_markup_are_listed_as_they_are(pingpan: Pingpan, folder: Path) -> None:
    assert f"{NAME}: csv utf-8, 3 rows, 3 can be judged" in (folder / "said.txt").read_text(encoding="utf-8")
    assert NAME in pingpan("runs").stdout
    imported = pingpan("library", "import", folder / NAME, "--name", "[b]示例[/b] :+1:")
    assert "[b]示例[/b] :+1:" in imported.stdout
    assert "choice 1, fluency 1" in imported.stdout  # the row without a label is no example
    assert "[b]示例[/b] :+1:" in pingpan("library", "list").stdout
    assert "[b]示例[/b] :+1:: 2 examples indexed" in pingpan("reindex", "--library", "[b]示例[/b] :+1:").stdout


def test_the_same_library_file_again_changes_nothing(pingpan: Pingpan, folder: Path) -> None:
    first = pingpan("library", "import", folder / NAME, "--name", "twice")
    assert pingpan("library", "import", folder / NAME, "--name", "twice").stdout == first.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "99"], "There is no run 99"),
        (["export", "1", "--aggregator", "mean"], "choose one of: pooled-median, reference-vote"),
        (["export", "1", "--encoding", "big5"], "gb18030"),
        (["export", "1", "--out", "/dev/null/result.csv"], "/dev/null"),
        (["ask-again", "99"], "There is no run 99"),
        (["ask-again", "1", "--judge", "nobody"], "choose one of: rules."),
        (["reindex", "--library", "nowhere"], "libraries: "),
        (["library", "import", "missing.xlsx"], "missing.xlsx cannot be read"),
        (["faults", "export", "/dev/null/faults.jsonl"], "Choose another file"),
        (["models", "fetch", "nine"], "choose one of: cpu"),
        (["serve-judge", "cpu", "nobody", "--print"], "choose one of: rules"),
        (["serve-judge", "cpu", "rules", "--print"], "needs `family: server`"),
        (["snapshots", "show", "99"], "99"),
        (["snapshots", "make", "s", "--library", "nowhere"], "libraries: "),
        (["snapshots", "import", "missing.json"], "missing.json"),
        (["jobs", "show", "99"], "99"),
        (["jobs", "resume", "99", "--queue"], "99"),
        (["jobs", "archive", "99"], "99"),
        (["jobs", "run", "nothing"], "neither a file, a preset ("),
        (["jobs", "run", "fine_tune", "--set", "rank"], "write FIELD=VALUE"),
        (["jobs", "run", "fine_tune", "--set", "rank=1", "--set", "rank.deep=1"], "rank holds no fields"),
        (["jobs", "run", "fine_tune", *SPEC, "--merge"], "need --snapshot"),
        (["jobs", "run", "fine_tune", *SPEC, "--no-answers"], "only a fault_pretrain job"),
        (["jobs", "measure"], "--panel, --judge and --snapshot"),
        (["jobs", "report", "99", "cpu"], "99"),
        (["jobs", "promote", "99", "cpu"], "99"),
        (["jobs", "rollback", "99"], "99"),
        (["users", "list"], "PINGPAN_USERS_FILE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_message_with_what_to_do(pingpan: Pingpan, words: list[str], said: str) -> None:
    assert said in told(pingpan(*words))


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"], ["export", "one"], ["judge"], ["jobs", "list", "--limit", "0"], ["snapshots", "show", "1", "--split", "both"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_no_command_or_option_ends_with_status_2_and_the_usage(pingpan: Pingpan, words: list[str]) -> None:
    answer = pingpan(*words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "Usage:" in answer.stderr


@pytest.mark.parametrize("group", ["", "library", "models", "faults", "jobs", "users", "snapshots"])
def test_every_group_of_commands_explains_itself(pingpan: Pingpan, group: str) -> None:
    answer = pingpan(*filter(None, [group, "--help"]))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "Commands:" in answer.stdout


# -- results


def test_export_writes_all_three_files_where_it_says(pingpan: Pingpan, tmp_path: Path) -> None:
    answer = pingpan("export", "1", "--out", tmp_path / "a" / "result.csv", "--full", tmp_path / "b" / "all.xlsx", "--encoding", "gb18030")
    assert answer.returncode == 0, answer.stderr
    written = [tmp_path / "a" / "result.csv", tmp_path / "b" / "all.xlsx", tmp_path / "a" / "submit"]
    assert f"Written: {', '.join(map(str, written))}" in answer.stderr
    assert (tmp_path / "a" / "result.csv").read_text(encoding="gb18030").startswith("数据编号,评判维度,预测分数\n")
    assert len((tmp_path / "a" / "submit" / "results.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_there_is_nothing_to_ask_again_where_every_answer_is_a_vote(pingpan: Pingpan) -> None:
    assert pingpan("ask-again", "1", "--judge", "rules").stdout == "run 1: every answer is a vote or an abstention\n"


def test_a_sheet_without_labels_cannot_be_evaluated(pingpan: Pingpan, tmp_path: Path) -> None:
    (tmp_path / "bare.csv").write_text("数据编号,评判维度,待评判内容\nB1,流畅性,清晨的码头起了薄雾。\n", encoding="utf-8")
    answer = pingpan("evaluate", "bare.csv")
    assert answer.returncode == 2
    assert "no labels (标注分值)" in answer.stderr
    assert "bare.csv" not in pingpan("runs").stdout  # nothing was judged for it


def test_columns_and_worksheets_are_named_by_hand(pingpan: Pingpan, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("nr,kind,what\nZ1,流畅性,清晨的码头起了薄雾。\n", encoding="utf-8")
    columns = ("--column", "id=nr", "--column", "dimension = kind", "--column", "text=what")
    answer = pingpan("judge", "odd.csv", *columns, "--library", LIBRARY)
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "result.csv").read_text(encoding="utf-8-sig").splitlines()[1].startswith("Z1,流畅性,")
    assert "nr, kind, what" in told(pingpan("judge", "odd.csv", "--column", "id=number"))


def test_an_interrupted_run_goes_on_with_the_same_command_and_not_with_fresh(folder: Path, pingpan: Pingpan) -> None:
    bench = workbench(folder)
    sheet = bench.store.sheet(bench.run(1).sheet_id)
    waiting = bench.start_run(sheet.id, bench.library_named(LIBRARY).id, "quick", "pooled-median")
    same = ("judge", folder / NAME, "--library", LIBRARY)
    assert pingpan(*same, "--fresh").returncode == 0
    assert bench.run(waiting.id).state == "queued"
    assert pingpan(*same).returncode == 0
    assert bench.run(waiting.id).state == "done"


def test_runs_deleted_long_ago_are_removed_for_good(folder: Path, pingpan: Pingpan, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = workbench(folder)
    run = bench.start_run(bench.run(1).sheet_id, bench.library_named(LIBRARY).id, "cpu", "pooled-median")
    bench.run_desk.delete(run.id)
    assert "no run was deleted more than 30 days ago" in pingpan("purge").stdout
    monkeypatch.setattr("webapp.services.housekeeping.DELETED_KEPT", timedelta(0))
    assert pingpan("purge").stdout == f"removed for good: runs {run.id}\n"
    assert "no run" in pingpan("purge").stdout


def test_answers_on_suspected_faults_are_exported_and_counted(folder: Path, pingpan: Pingpan, tmp_path: Path) -> None:
    assert "0 texts with answers" in pingpan("faults", "export", tmp_path / "none.jsonl").stdout
    bench = workbench(folder)
    item = bench.rows(1, RowQuery("fluency")).rows[1].item
    bench.fault_answers.mark(1, item.id, 1, 3, None, "林")
    answer = pingpan("faults", "export", tmp_path / "new" / "faults.jsonl")
    assert "1 texts with answers" in answer.stdout
    line = json.loads((tmp_path / "new" / "faults.jsonl").read_text(encoding="utf-8"))
    assert (line["text"], line["faults"]) == (item.text, [[1, 3, None, "missed", "林"]])


# -- training, without a job that would run


def test_empty_lists_are_lists(pingpan: Pingpan) -> None:
    assert pingpan("jobs", "list").stdout.split() == ["job", "kind", "name", "state", "progress", "left", "device", "candidate", "author"]
    assert pingpan("jobs", "candidates").stdout.split()[:3] == ["candidate", "name", "stage"]
    assert pingpan("snapshots", "list").stdout.split()[:2] == ["snapshot", "name"]


@pytest.mark.parametrize(
    ("content", "said"), [("{", "this is no spec file"), ("[1]", "holds a JSON object"), ("\ufeff\x00", "no spec file")]
)
def test_a_file_that_is_no_spec_is_told_with_its_path(pingpan: Pingpan, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "spec.json").write_text(content, encoding="utf-8")
    message = told(pingpan("jobs", "run", "spec.json"))
    assert said in message
    assert "spec.json" in message


def test_every_wrong_field_of_a_spec_is_named(pingpan: Pingpan) -> None:
    message = told(pingpan("jobs", "run", "fine_tune", "--set", "rank=-1", "--set", "learning_rate=NaN", "--set", "no_such=1"))
    assert all(name in message for name in ("rank", "learning_rate", "no_such"))


# -- people


def test_users_are_told_what_a_name_or_a_password_lacks(pingpan: Pingpan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGPAN_USERS_FILE", str(tmp_path / "users"))
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert "at least 8 characters" in told(pingpan("users", "add", "林", "--password-stdin"))
    for name in ("#林", "a:b", " 林", "", "长" * 41):
        monkeypatch.setattr("sys.stdin", io.StringIO("long enough\n"))
        assert "cannot be a user's name" in told(pingpan("users", "add", "--password-stdin", "--", name))
    assert "There is no user '林'" in told(pingpan("users", "remove", "林"))
    answers = iter(["long enough", "another one"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    assert "The passwords differ" in told(pingpan("users", "add", "林"))
    assert pingpan("users", "list").stdout == ""
    (tmp_path / "users").write_bytes(b"\xff\xfe")
    assert str(tmp_path / "users") in told(pingpan("users", "list"))


# -- what is set wrong


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PINGPAN_PORT", "many", "PINGPAN_PORT"),
        ("PINGPAN_DATABASE_URL", "oracle://somewhere", "sqlite"),
        ("PINGPAN_AGGREGATOR", "mean", "pooled-median, reference-vote"),
    ],
)
def test_a_wrong_setting_is_told_by_the_command_that_needs_it(
    pingpan: Pingpan, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    answer = pingpan("judge", folder / NAME)
    assert answer.returncode == 2
    assert said in answer.stderr


def test_the_doctor_names_what_cannot_be_used_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home" / "panels").mkdir(parents=True)
    (tmp_path / "home" / "panels" / "mine.yaml").write_text("lead: [", encoding="utf-8")
    answer = type_in(tmp_path / "home", tmp_path, "doctor")
    assert answer.returncode == 1
    marked = [line.split()[1] for line in answer.stdout.splitlines() if line.lstrip().startswith("!")]
    assert marked == ["panels", "database"]
    assert "mine.yaml" in answer.stdout


def test_the_doctor_tells_a_panel_that_is_set_but_not_there(pingpan: Pingpan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINGPAN_PANEL", "nine")
    answer = pingpan("doctor")
    assert (answer.returncode, "choose one of: cpu" in answer.stdout) == (1, True)


def test_models_that_are_not_here_are_listed_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    write_panel(tmp_path / "home", "own", {"id": "j", "name": "J", "family": "transformers", "options": {"model": "nobody/nothing"}})
    answer = type_in(tmp_path / "home", tmp_path, "models", "list")
    assert answer.returncode == 0
    (line,) = (line for line in answer.stdout.splitlines() if "nobody/nothing" in line)
    assert "not here: ./run.sh models fetch own" in line
