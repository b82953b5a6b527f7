"""A job's folder as others read it: events whole and in order however they were written, and records that may be damaged."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import JobError
from core.processes import current_process
from core.settings import Settings
from core.training import EventKind, JobEvent, Stage
from training import jobdir
from training.context import Product
from training.events import EventLog, curve, read_events, tail
from training.process import ProcessContext
from training.specs import MergeSpec

PRODUCT = Product(Stage.ADAPTER, "transformers", {"model": "m", "adapter": "/a", "scale": [1, 2]}, Path("/a"))
WORDS = st.dictionaries(st.sampled_from(("zh", "en")), st.text(max_size=9), max_size=2)
FIGURES = st.dictionaries(st.text(max_size=4), st.floats(), max_size=3)
EVENTS = st.tuples(st.sampled_from(EventKind), st.integers(0, 10**9), st.integers(0, 10**9), FIGURES, WORDS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    folder, numbers = tmp_path_factory.mktemp("events"), iter(range(10**6))

    def fresh() -> Path:
        made = folder / str(next(numbers))
        made.mkdir()
        return made

    return fresh


def write(path: Path, *wanted: tuple[EventKind, int, int, dict[str, float], dict[str, str]]) -> list[JobEvent]:
    log = EventLog(path)
    made = [log.append(*one) for one in wanted]
    log.close()
    return made


@settings(max_examples=25)
@given(lives=st.lists(st.tuples(st.lists(EVENTS, max_size=3), st.integers(0, 30)), max_size=4))
def test_events_of_processes_killed_at_any_byte_are_read_whole_in_order_and_with_new_numbers(
    place: Callable[[], Path], lives: list[tuple[list[tuple[EventKind, int, int, dict[str, float], dict[str, str]]], int]]
) -> None:
    """Each life writes some events; a kill takes the last bytes of its last line away, which may leave it whole."""
    path = place() / "events.jsonl"
    kept: list[JobEvent] = []
    for wanted, torn in lives:
        made = write(path, *wanted)
        if made:
            content = path.read_bytes()
            last = len(content) - (content[:-1].rfind(b"\n") + 1)
            lost = min(torn, last - 1)
            path.write_bytes(content[: len(content) - lost])
            kept += made[:-1] if lost > 1 else made
    found = read_events(path)
    assert found == kept
    assert [event.sequence for event in found] == list(range(1, len(kept) + 1))
    assert all(math.isfinite(value) for event in found for value in event.figures.values())
    assert [event for number in range(len(kept) + 2) for event in read_events(path, number)] == [
        event for number in range(len(kept) + 2) for event in kept[number:]
    ]


@settings(max_examples=20)
@given(wanted=st.lists(EVENTS, max_size=5), cuts=st.lists(st.floats(0, 1), max_size=5))
def test_following_a_growing_file_gives_each_event_once_wherever_it_is_looked_at(
    place: Callable[[], Path], wanted: list[tuple[EventKind, int, int, dict[str, float], dict[str, str]]], cuts: list[float]
) -> None:
    folder = place()
    made = write(folder / "whole", *wanted)
    content = (folder / "whole").read_bytes()
    found: list[JobEvent] = []
    offset = 0
    assert tail(folder / "growing", 0) == ([], 0)  # nothing is there yet
    for cut in [*sorted(cuts), 1.0]:
        (folder / "growing").write_bytes(content[: round(cut * len(content))])
        new, offset = tail(folder / "growing", offset)
        found += new
    assert (found, offset) == (made, len(content))


@settings(max_examples=20)
@given(content=st.binary(max_size=60))
@example(content=b'{"sequence": 1, "at": "2026-11-24T08:00:00Z", "kind": "train"}\n[]\n{"sequence": "x"}\n\xff\xfe\n')
@example(content=b'{"sequence": 1, "at": "2026-11-24T08:00:00Z", "kind": "of a later version", "step": 2}')
def test_no_event_file_is_too_damaged_to_be_read_and_written_on(place: Callable[[], Path], content: bytes) -> None:
    path = place() / "events.jsonl"
    path.write_bytes(content)
    before = read_events(path)
    (made,) = write(path, (EventKind.NOTE, 0, 0, {}, {"zh": "一\n二", "en": "one"}))
    assert read_events(path) == [*before, made]
    assert tail(path, 0)[0][-1] == made


def test_a_step_done_again_counts_by_its_last_value_and_other_kinds_do_not() -> None:
    def event(kind: EventKind, step: int, **figures: float) -> JobEvent:
        return JobEvent(1, datetime.now(UTC), kind, step, 9, figures)

    told = [
        event(EventKind.TRAIN, 4, loss=1.0), event(EventKind.TRAIN, 2, loss=3.0), event(EventKind.HELD_OUT, 3, loss=7.0),
        event(EventKind.TRAIN, 3, rate=0.1), event(EventKind.TRAIN, 4, loss=0.5, rate=0.2),
    ]  # fmt: skip
    assert curve(told, EventKind.TRAIN, "loss") == [(2, 3.0), (4, 0.5)]
    assert curve(told, EventKind.TRAIN, "rate") == [(3, 0.1), (4, 0.2)]
    assert curve([], EventKind.TRAIN, "loss") == []


def test_the_last_figures_of_notes_and_looks_are_those_of_the_result(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    context = ProcessContext(tmp_path, log)
    context.report(EventKind.HELD_OUT, 5, 10, {"mae": 0.6, "kappa": float("nan")})
    context.report(EventKind.TRAIN, 6, 10, {"loss": 2.0})
    context.report(EventKind.NOTE, message={"zh": "说明", "en": "words"})
    assert context.figures == {"mae": 0.6}
    context.report(EventKind.NOTE, figures={"drift": 0.1})
    assert context.figures == {"drift": 0.1}
    log.close()
    assert not context.stop_requested()
    assert ProcessContext(tmp_path, log, lambda: True).stop_requested()
    jobdir.request_stop(tmp_path)
    assert context.stop_requested()
    jobdir.clear_stop(tmp_path)
    jobdir.clear_stop(tmp_path)  # by whoever comes first
    assert not context.stop_requested()


@pytest.mark.parametrize("product", [None, PRODUCT])
def test_a_result_comes_back_and_a_damaged_one_is_told(product: Product | None, tmp_path: Path) -> None:
    assert jobdir.read_result(tmp_path) is None
    jobdir.write_result(tmp_path, product, {"mae": 0.5})
    found = jobdir.read_result(tmp_path)
    assert found is not None
    assert (found.product, found.figures) == (product, {"mae": 0.5})
    assert found.finished_at.tzinfo is not None
    for content in (b"", b"{}", b"\xff\xfe", b'{"finished_at": "2026-01-01T00:00:00Z", "product": {"stage": "new"}}'):
        (tmp_path / jobdir.RESULT).write_bytes(content)
        with pytest.raises(JobError, match=r"result\.json is damaged") as caught:
            jobdir.read_result(tmp_path)
        assert "请删除后重新运行" in caught.value.messages["zh"]


def test_a_process_file_that_cannot_be_read_means_nobody_is_known_to_work(tmp_path: Path) -> None:
    assert jobdir.read_process(tmp_path) == ""
    assert jobdir.is_alive(tmp_path) is False
    jobdir.write_process(tmp_path)
    assert (jobdir.read_process(tmp_path), jobdir.is_alive(tmp_path)) == (current_process(), True)
    for content in (b"", b"{}", b"\xff\xfe", b"[" * 99):
        (tmp_path / jobdir.PROCESS).write_bytes(content)
        assert (jobdir.read_process(tmp_path), jobdir.is_alive(tmp_path)) == ("", False)


def test_a_spec_that_is_gone_or_no_text_is_told_with_its_path(tmp_path: Path) -> None:
    spec = MergeSpec(name="合并", model="m", adapter=Path("/a"))
    jobdir.create(tmp_path / "job", spec)
    assert jobdir.load_spec(tmp_path / "job") == spec
    assert (tmp_path / "job" / jobdir.CHECKPOINTS).is_dir()
    for path, content in ((tmp_path / "job" / jobdir.SPEC, b"\xff"), (tmp_path / jobdir.SPEC, None)):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(JobError, match=r"spec\.json cannot be read(.|\n)*name the folder of a job") as caught:
            jobdir.load_spec(path.parent)
        assert "请填写任务文件夹" in caught.value.messages["zh"]


@pytest.mark.parametrize("characters", [1, 7, 100])
def test_the_end_of_a_log_is_whole_characters(characters: int, tmp_path: Path) -> None:
    assert jobdir.log_tail(tmp_path) == ""
    text = "日志🙂line\n" * 30
    (tmp_path / jobdir.LOG).write_text(text, encoding="utf-8")
    assert jobdir.log_tail(tmp_path, characters) == text[-characters:]
    assert jobdir.log_tail(tmp_path, 10**6) == text


def test_the_command_names_settings_only_where_they_are_not_the_defaults(tmp_path: Path) -> None:
    plain = Settings(_env_file=None)  # type: ignore[call-arg]
    own = Settings(home=tmp_path / "o'clock", log_level="DEBUG", _env_file=None)  # type: ignore[call-arg]
    line = jobdir.shell_command(tmp_path / "$job", own)
    assert "PINGPAN_LOG_LEVEL=DEBUG" in line
    assert """o'"'"'clock""" in line
    assert line.endswith(f"run '{tmp_path}/$job'")
    changed = {name for name in ("home", "dimensions_dir", "log_level") if getattr(plain, name) != Settings.model_fields[name].default}
    assert jobdir.shell_command(tmp_path, plain).count("PINGPAN_") == len(changed)
