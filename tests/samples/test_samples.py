"""The shipped samples: right by construction, varied, and the same as their sources."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from core.dimensions import load_dimensions
from core.ingest.sheet import read_sheet
from core.judging.choice.reader import read_choice
from core.types import Dimension, RowProblem
from tests.conftest import ROOT

SAMPLES = ROOT / "assets" / "samples"
PRONOUNS = {"我", "你", "他", "她", "它", "我们", "你们", "他们", "她们", "它们"}
SHARED_GRAM = 20


def load_builder() -> ModuleType:
    """Load the builder as Python runs it, without `assets` being a package."""
    spec = importlib.util.spec_from_file_location("pingpan_samples_build", SAMPLES / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build = load_builder()


@pytest.fixture(scope="module")
def sources() -> list:
    return build.load_sources()


def cells(name: str) -> list[tuple]:
    table, _ = build.read_cells((SAMPLES / name).read_bytes())
    return list(table)


def squeezed(text: str) -> str:
    return "".join(text.split())


def sizes(rows: list) -> Counter:
    return Counter((row.dimension, row.label) for row in rows)


def test_the_library_has_every_label_in_number_and_the_columns_of_a_training_file(sources: list) -> None:
    header, *rows = cells("library.xlsx")
    assert header == ("数据编号", "创作要求", "评判维度", "待评判内容", "标注分值")
    assert len(rows) >= 150
    counts = Counter((row[2], row[4]) for row in rows)
    assert counts == sizes(build.sample_rows(sources, build.Target.LIBRARY))
    for dimension in ("流畅性", "规范性"):
        assert all(counts[dimension, label] >= 8 for label in range(1, 6)), counts
    assert abs(counts["选择题", 0] - counts["选择题", 1]) <= 6
    assert all(re.fullmatch(r"L\d{4}", row[0]) for row in rows)


def test_the_sheet_has_no_labels_and_mixes_the_three_dimensions() -> None:
    header, *rows = cells("sheet.xlsx")
    assert header == ("数据编号", "创作要求", "评判维度", "待评判内容")
    assert len(rows) >= 60
    assert [row[0] for row in rows] == [f"S{number:04d}" for number in range(1, len(rows) + 1)]
    assert min(Counter(row[2] for row in rows).values()) >= 20
    assert {row[2] for row in rows[:10]} == {"流畅性", "规范性", "选择题"}


def test_fluency_rows_have_no_prompt_and_the_others_have_one(sources: list) -> None:
    for target in build.Target:
        for row in build.sample_rows(sources, target):
            assert (row.prompt == "") == (row.dimension == "流畅性"), row.id


@pytest.mark.parametrize(
    ("errors", "length", "label"),
    [(0, 200, 5), (1, 200, 5), (1, 199, 4), (2, 200, 4), (3, 200, 3), (4, 200, 3), (5, 200, 2), (6, 200, 1), (0, 0, 5)],
)
def test_fluency_labels_follow_errors_per_hundred_characters(errors: int, length: int, label: int) -> None:
    assert build.label_of_rate(errors, "字" * length, build.FLUENCY_CHARACTERS, build.FLUENCY_BOUNDS) == label


@pytest.mark.parametrize(
    ("errors", "length", "label"),
    [(0, 300, 5), (1, 1000, 5), (1, 500, 4), (1, 499, 3), (1, 250, 3), (1, 249, 2), (1, 199, 1), (3, 600, 2)],
)
def test_normativity_labels_follow_errors_per_thousand_characters(errors: int, length: int, label: int) -> None:
    text = "字 " * length  # white space is not counted
    assert build.label_of_rate(errors, text, build.NORMATIVITY_CHARACTERS, build.NORMATIVITY_BOUNDS) == label


def difference(before: str, after: str) -> tuple[str, str]:
    """Return what is left of both after their common start and end."""
    while before and after and before[0] == after[0]:
        before, after = before[1:], after[1:]
    while before and after and before[-1] == after[-1]:
        before, after = before[:-1], after[:-1]
    return before, after


def is_one_error(kind: object, find: str, put: str) -> bool:
    lost, gained = difference(find, put)
    kinds = build.FaultKind
    if kind is kinds.MISSING:
        return gained == "" and 1 <= len(lost) <= 3
    if kind is kinds.EXTRA_PRONOUN:
        return lost == "" and gained in PRONOUNS
    if kind is kinds.EXTRA_PARTICLE:
        return lost == "" and 1 <= len(gained) <= 2
    if kind is kinds.DOUBLED:
        return lost == "" and gained in find
    if kind is kinds.WRONG_CHARACTER:
        return len(lost) == len(gained) <= 2
    if kind is kinds.ORDER:
        return sorted(find) == sorted(put)
    if kind in (kinds.PUNCTUATION, kinds.QUOTES):
        return not re.search(r"\w", lost + gained)
    return lost + gained != ""


def test_every_fluency_fault_is_one_error_of_its_kind(sources: list) -> None:
    rows = [row for source in sources if source.dimension == "fluency" for row in source.rows]
    wrong = [(row.id, kind.value, find, put) for row in rows for kind, find, put in row.faults if not is_one_error(kind, find, put)]
    assert wrong == []
    assert {kind for row in rows for kind, _, _ in row.faults} == set(build.FaultKind)


def test_the_faults_of_a_passage_stand_in_its_text(sources: list) -> None:
    for source in sources:
        for row in source.rows if source.dimension == "fluency" else ():
            text = row.faulty_text()
            assert (text == row.text) == (not row.faults)
            assert all(put in text for _, _, put in row.faults), row.id
            assert 130 <= len(squeezed(row.text)) <= 420, row.id


def test_clean_passages_have_balanced_quotes(sources: list) -> None:
    for source in sources:
        for row in source.rows if source.dimension == "fluency" else ():
            assert row.text.count("“") == row.text.count("”"), row.id
            assert row.text.count("《") == row.text.count("》"), row.id


def test_choice_labels_say_whether_the_reply_picks_the_correct_option(sources: list) -> None:
    rows = [row for source in sources if source.dimension == "choice" for row in source.rows]
    assert {row.form for row in rows} == set(build.ReplyForm)
    silent = {build.ReplyForm.ALL, build.ReplyForm.REFUSAL, build.ReplyForm.NO_ANSWER}
    for row in rows:
        built = row.build()
        assert built.text.startswith(f"正确选项为{row.correct} 模型回复为")
        assert re.search(r" 选择正确选项作答  A、.+ B、.+ C、.+ D、.+$", built.prompt, re.DOTALL), row.id
        assert built.label == int(row.picks == row.correct)
        assert (row.picks is None) == (row.form in silent), row.id
        if row.picks and row.form is not build.ReplyForm.DISAGREEING:
            option = row.options["ABCD".index(row.picks)]
            assert row.picks in row.reply or option in row.reply, row.id


def test_the_choice_reader_sees_what_the_sources_say(sources: list) -> None:
    rows = [row for source in sources if source.dimension == "choice" for row in source.rows]
    built = [row.build() for row in rows]
    assert [row.id for row in built if read_choice(row.prompt, row.text).label != row.label] == []


def grams(text: str) -> Iterator[str]:
    text = squeezed(text)
    return (text[start : start + SHARED_GRAM] for start in range(len(text) - SHARED_GRAM + 1))


def test_no_two_rows_of_either_file_share_a_long_passage(sources: list) -> None:
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for target in build.Target:
        for row in build.sample_rows(sources, target):
            # What every 选择题 text says is the same by its form, so its question stands for it.
            for gram in grams(row.prompt if row.dimension == "选择题" else row.text):
                owners[gram].add(row.id)
    assert {gram: ids for gram, ids in owners.items() if len(ids) > 1} == {}


def test_prompts_of_the_two_files_differ(sources: list) -> None:
    prompts = Counter(row.prompt for target in build.Target for row in build.sample_rows(sources, target) if row.prompt)
    assert [prompt for prompt, count in prompts.items() if count > 1] == []


def test_normativity_prompts_come_in_many_forms(sources: list) -> None:
    rows = [row for source in sources if source.dimension == "normativity" for row in source.rows]
    assert all(row.prompt.startswith("请以“") for row in rows)
    assert len({row.genre for row in rows}) >= 20
    assert sum(not row.text for row in rows) == 2


def test_the_files_are_what_the_sources_give_and_build_the_same_twice() -> None:
    first, second = build.build_files(), build.build_files()
    assert first == second
    assert build.stale_files(first) == []


def test_check_fails_for_a_file_that_differs(tmp_path: Path) -> None:
    built = build.build_files()
    for name, content in built.items():
        (tmp_path / name).write_bytes(content)
    assert build.stale_files(built, tmp_path) == []
    (tmp_path / "sheet.xlsx").write_bytes(built["library.xlsx"])
    (tmp_path / "library.xlsx").unlink()
    assert sorted(build.stale_files(built, tmp_path)) == ["library.xlsx", "sheet.xlsx"]


def test_the_command_line_checks() -> None:
    answer = subprocess.run([sys.executable, str(SAMPLES / "build.py"), "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_an_edit_that_does_not_apply_once_is_refused() -> None:
    kind = build.FaultKind.MISSING
    with pytest.raises(build.SourceError, match=r"L1.*2 times"):
        build.FluencyRow(id="L1", genre="", text="天亮了，天晴了", faults=((kind, "天", ""),)).build()
    with pytest.raises(build.SourceError, match="overlap"):
        build.FluencyRow(id="L1", genre="", text="天亮了，雨停了", faults=((kind, "天亮了", "天了"), (kind, "亮了，", "亮，"))).build()
    with pytest.raises(build.SourceError, match="quotes"):
        build.NormativityRow(id="L2", genre="", prompt="", text="春天", problems=((build.ProblemKind.LOGIC, "", "夏天"),)).build()


def test_doubled_ids_and_unreadable_sources_name_their_place(tmp_path: Path, sources: list) -> None:
    with pytest.raises(build.SourceError, match="L0001"):
        build.sample_rows([*sources, *sources], build.Target.LIBRARY)
    (tmp_path / "bad.yaml").write_text("target: library\ndimension: fluency\nrows: [{id: L1}]\n", encoding="utf-8")
    with pytest.raises(build.SourceError, match=r"bad\.yaml"):
        build.load_sources(tmp_path)


def dimensions() -> dict[str, Dimension]:
    return load_dimensions(ROOT / "assets" / "dimensions")


def problems_of(name: str) -> tuple[int, list[RowProblem]]:
    sheet = read_sheet(SAMPLES / name, dimensions=dimensions())
    return len(sheet.rows), list(sheet.problems)


@pytest.mark.parametrize("name", ["library.xlsx", "sheet.xlsx"])
def test_the_samples_come_in_whole(name: str) -> None:
    rows, problems = problems_of(name)
    assert rows == len(cells(name)) - 1
    assert [problem.code for problem in problems] == ["empty_text_labelled"]


def test_the_problem_sheet_shows_each_of_its_mistakes() -> None:
    _, problems = problems_of("sheet-problems.xlsx")
    assert {problem.code for problem in problems} >= {
        "duplicate_id",
        "unknown_dimension",
        "label_off_scale",
        "label_not_number",
        "empty_text",
        "missing_id",
        "formula",
        "error_cell",
        "missing_prompt",
        "merged_cell_filled",
        "control_characters",
    }


def test_the_readme_gives_the_numbers_of_rows(sources: list) -> None:
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    for target in build.Target:
        rows = build.sample_rows(sources, target)
        counts = sizes(rows)
        line = [f"{target}: {len(rows)}"]
        for dimension, labels in (("流畅性", (5, 4, 3, 2, 1)), ("规范性", (5, 4, 3, 2, 1)), ("选择题", (1, 0))):
            found = [counts[dimension, label] for label in labels]
            line.append(f"{' / '.join(map(str, found))} = {sum(found)}")
        assert f"| {' | '.join(line)} |" in readme
