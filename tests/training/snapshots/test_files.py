"""A snapshot on disk: rows come back as they were, every changed byte is noticed, and what cannot be read says how to mend it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dimensions import PromptBuilder, load_dimensions
from core.errors import JobError
from core.settings import ASSETS
from core.training import SnapshotFilter, Split, TrainingRow
from core.types import Origin
from tests.training.build import rows
from tests.training.snapshots.made import DIMENSIONS, row
from training.files import folder_bytes, whole_folder, write_whole
from training.rows import as_library, as_request, dimension_of, iterate_rows, read_rows, snapshot_sha256
from training.snapshots import SnapshotInfo, SplitChoice, freeze, plan_snapshot, prompted_rows, read_snapshot
from training.snapshots.files import INFO, read_info
from training.snapshots.prompts import BATCH, prompt_marks

INFO_OF_NONE = SnapshotInfo(
    name="甲", lineage="main", sha256="", held_out_sha256="", train_rows=0, held_out_rows=0, seed=3, held_out_share=0.2, examples=0,
    filter=SnapshotFilter(library_ids=(1,), origins=(Origin.IMPORT,)), counts={"fluency": {Split.TRAIN: {1: 2}}}, families=4,
    left_out={}, libraries={}, prompts={}, prompt_versions={}, author="王", created_at=datetime(2026, 3, 1, tzinfo=UTC),
)  # fmt: skip
WORDS = st.text(max_size=12)
ROWS = st.builds(
    TrainingRow, hash=WORDS, external_id=WORDS, dimension_id=WORDS, item_prompt=WORDS, text=WORDS, label=st.integers(-9, 9), family=WORDS,
    split=st.sampled_from(Split), origin=st.sampled_from(Origin), author=WORDS, system=WORDS, user=WORDS, prompt_sha256=WORDS,
    examples=st.lists(WORDS, max_size=2).map(tuple),
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    folder, numbers = tmp_path_factory.mktemp("snapshots"), iter(range(10**6))
    return lambda: folder / str(next(numbers))


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    freeze(tmp_path / "frozen", INFO_OF_NONE, rows(4, Split.TRAIN), rows(2, Split.HELD_OUT))
    return tmp_path / "frozen"


@settings(max_examples=12)
@given(train=st.lists(ROWS, max_size=3), held=st.lists(ROWS, max_size=3))
def test_rows_of_any_words_come_back_and_a_copied_held_out_file_counts_the_same(
    place: Callable[[], Path], train: list[TrainingRow], held: list[TrainingRow]
) -> None:
    folder, copy = place(), place()
    done = freeze(folder, INFO_OF_NONE, iter(train), iter(held))
    info, found = read_snapshot(folder)
    assert info == done
    assert (info.train_rows, info.held_out_rows) == (len(train), len(held))
    assert found == {Split.TRAIN: train, Split.HELD_OUT: held}
    assert info.model_copy(update={name: getattr(INFO_OF_NONE, name) for name in FILLED}) == INFO_OF_NONE
    assert freeze(copy, INFO_OF_NONE, train, folder / "held_out.jsonl") == done
    assert snapshot_sha256(copy) == done.sha256


FILLED = ("sha256", "held_out_sha256", "train_rows", "held_out_rows")


@settings(max_examples=25)
@given(name=st.sampled_from(("train.jsonl", "held_out.jsonl")), at=st.floats(0, 0.999), to=st.integers(0, 255), cut=st.booleans())
def test_every_changed_or_missing_byte_is_noticed(place: Callable[[], Path], name: str, at: float, to: int, cut: bool) -> None:
    folder = place()
    freeze(folder, INFO_OF_NONE, rows(2, Split.TRAIN), rows(1, Split.HELD_OUT))
    content = bytearray((folder / name).read_bytes())
    spot = int(at * len(content))
    changed = content[:spot] + (b"" if cut else bytes((to,))) + content[spot + 1 :]
    (folder / name).write_bytes(changed)
    if changed == content:
        read_snapshot(folder)
        return
    with pytest.raises(JobError, match=rf"{name} was changed") as caught:
        read_snapshot(folder)
    assert "从备份恢复" in caught.value.messages["zh"]


def test_an_info_that_is_gone_or_changed_is_told_with_what_to_do(frozen: Path) -> None:
    told = json.loads((frozen / INFO).read_text(encoding="utf-8"))
    write_whole(frozen / INFO, json.dumps({**told, "from a later version": 1}))
    assert read_info(frozen).name == "甲"
    for content in ("{}", "", "[1]", json.dumps({**told, "counts": {"fluency": {"left": {"1": 2}}}})):
        write_whole(frozen / INFO, content)
        with pytest.raises(JobError, match="freeze the snapshot again") as caught:
            read_info(frozen)
        assert "重新生成训练集" in caught.value.messages["zh"]
    (frozen / INFO).write_bytes(b"\xff\xfe")
    with pytest.raises(JobError, match="cannot be understood"):
        read_info(frozen)
    (frozen / INFO).unlink()
    with pytest.raises(JobError, match="the folder is no snapshot"):
        read_info(frozen)
    (frozen / "train.jsonl").unlink()
    with pytest.raises(JobError, match=r"train\.jsonl cannot be read"):
        read_rows(frozen, Split.TRAIN)


def test_a_line_that_is_no_row_is_named_by_its_number_and_those_before_it_were_given(frozen: Path) -> None:
    path = frozen / "train.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\n" + lines[1] + lines[2][:40] + b"\n")
    found: list[TrainingRow] = []
    with pytest.raises(JobError, match=r"train\.jsonl, line 4 is no row") as caught:
        found.extend(iterate_rows(frozen, Split.TRAIN))
    assert "第 4 行" in caught.value.messages["zh"]
    assert [one.external_id for one in iter_until(frozen)] == ["0", "1"]


def iter_until(folder: Path) -> Iterator[TrainingRow]:
    try:
        yield from iterate_rows(folder, Split.TRAIN)
    except JobError:
        return


def test_a_failed_freeze_leaves_the_snapshot_that_was_there_and_the_next_one_is_whole(frozen: Path) -> None:
    before = {path.name: path.read_bytes() for path in frozen.iterdir()}

    def breaks() -> Iterator[TrainingRow]:
        yield from rows(3, Split.TRAIN, seed=5)
        raise JobError("the index is gone", zh="索引丢失")

    with pytest.raises(JobError, match="index is gone"):
        freeze(frozen, INFO_OF_NONE, breaks(), rows(1, Split.HELD_OUT))
    assert {path.name: path.read_bytes() for path in frozen.iterdir()} == before
    done = freeze(frozen, INFO_OF_NONE, rows(3, Split.TRAIN, seed=5), rows(1, Split.HELD_OUT))
    assert read_snapshot(frozen)[0] == done
    assert [path.name for path in frozen.parent.iterdir()] == [frozen.name]


def test_a_folder_replaces_the_one_before_it_with_all_that_was_in_it(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for number in range(2):
        with whole_folder(target) as folder:
            (folder / f"{number}.txt").write_text("x" * (number + 1))
            assert target.exists() is bool(number)
    assert [path.name for path in target.iterdir()] == ["1.txt"]
    assert folder_bytes(tmp_path) == 2
    (tmp_path / "model.old").mkdir()  # left by a crash between two renames
    with whole_folder(target) as folder:
        (folder / "2.txt").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_judge_is_asked_without_the_label_and_learns_with_it() -> None:
    made = rows(3, Split.TRAIN)
    request = as_request(made[1], 7, DIMENSIONS["fluency"])
    assert (request.item.id, request.item.gold, request.item.text) == (7, None, made[1].text)
    assert (request.prompt.user, request.prompt.sha256, request.examples) == (made[1].user, made[1].prompt_sha256, ())
    assert [(one.id, one.label, one.content_hash) for one in as_library(made)] == [(n, one.label, one.hash) for n, one in enumerate(made)]
    with pytest.raises(JobError, match="rows of gone, lost, but there is no such dimension") as caught:
        dimension_of([made[0], replace(made[1], dimension_id="gone"), replace(made[2], dimension_id="lost")], DIMENSIONS)
    assert "请恢复该文件" in caught.value.messages["zh"]
    assert list(dimension_of(made, DIMENSIONS)) == ["fluency"]


def test_prompts_are_made_a_batch_at_a_time_and_their_order_is_the_plans() -> None:
    prompts = PromptBuilder(DIMENSIONS, ASSETS / "dimensions")
    plan = plan_snapshot([row(n, 1 + n % 5) for n in range(BATCH + 20)], SnapshotFilter(), SplitChoice(), DIMENSIONS)
    made = list(prompted_rows(plan.rows, prompts))
    assert [one.hash for one in made] == [one.item.content_hash for one in plan.rows]
    assert [one.split for one in made] == [one.split for one in plan.rows]
    assert len({one.prompt_sha256 for one in made}) == len(made)
    assert next(prompted_rows(plan.rows[:1], prompts)) == made[0]


def test_the_mark_of_a_prompt_changes_with_its_words_alone(tmp_path: Path) -> None:
    marks = prompt_marks(DIMENSIONS, PromptBuilder(DIMENSIONS, ASSETS / "dimensions"))
    assert set(marks) == set(DIMENSIONS)
    again = dict(reversed(list(DIMENSIONS.items())))
    assert prompt_marks(again, PromptBuilder(again, ASSETS / "dimensions")) == marks
    shutil.copytree(ASSETS / "dimensions", tmp_path / "own")
    path = tmp_path / "own" / "prompts" / "fluency.v1.jinja"
    path.write_text(path.read_text(encoding="utf-8").replace("。", "！", 1), encoding="utf-8")
    changed = load_dimensions(tmp_path / "own")
    other = prompt_marks(changed, PromptBuilder(changed, tmp_path / "own"))
    assert {name for name in marks if marks[name] != other[name]} == {"fluency"}
