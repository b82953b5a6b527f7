"""The training page: its address, form, plots and parts; what its requests do; nothing of a text becomes markup."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from core.settings import Settings
from core.training import JobKind, JobState, Split
from core.types import Origin
from tests.webapp.fake import HOSTILE
from tests.webapp.fake_training import (
    FakeCandidates,
    FakeJobs,
    busy_jobs,
    candidates_of,
    falling,
    job,
    jobs_of,
    measured_candidates,
    put_desks,
)
from tests.webapp.serving import build_app
from tests.webapp.test_pages import EN, RENDERERS, ZH, assert_harmless
from training.faults.spec import FaultPretrainSpec, Made
from training.specs import FineTuneSpec
from webapp.pages.render import Renderer
from webapp.pages.training import PARTS, TrainingHandlers
from webapp.pages.training_address import DataTab, MakeChoices, TrainingAddress
from webapp.pages.training_form import form, read_form
from webapp.pages.training_names import job_name, shown_name
from webapp.pages.training_plot import MOST_POINTS, Curve, Line, Plot, nice_ticks, plot, smoothed, thinned
from webapp.pages.training_view import chain_lines, gain_bar
from webapp.pages.translate import Language
from webapp.services.training.snapshots import SnapshotChoices
from webapp.services.training.views import Card, JobView, SpecDifference
from webapp.workbench import Workbench

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(str.strip).map(str.strip)
PLACED = {"model": "m", "snapshot": Path("/s"), "name": "n"}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A workbench on the sample library, with one snapshot."""
    home = tmp_path_factory.mktemp("home")
    workbench = Workbench.open(Settings(home=home, port=0, open_browser=False, _env_file=None))  # type: ignore[call-arg]
    workbench.libraries()
    workbench.snapshots.freeze("第一批", SnapshotChoices(), "林")
    yield workbench
    workbench.store.close()


@pytest.fixture
def workbench(real: Workbench) -> Iterator[Workbench]:
    """The same with invented jobs and candidates, which would take hours to make."""
    put_desks(real, busy_jobs(), measured_candidates())
    yield real
    for name in ("jobs", "candidates"):
        del real.__dict__[name]


@pytest.fixture
def client(workbench: Workbench) -> Iterator[TestClient]:
    with TestClient(build_app(workbench, workbench.settings), cookies={"pingpan_annotator": "Lin"}) as client:
        yield client


@given(
    st.builds(
        TrainingAddress,
        job=st.integers(0, 10**8),
        compare=st.integers(0, 10**8),
        snapshot=st.integers(0, 10**8),
        candidate=st.integers(0, 10**8),
        tab=st.none() | st.sampled_from(DataTab),
        source=st.sampled_from(["", "corrections"]),
        preset=TEXT,
        panel=TEXT,
        judge=TEXT,
        rows=st.booleans(),
        page=st.integers(1, 999),
        archived=st.booleans(),
        make=st.builds(
            MakeChoices,
            libraries=st.lists(st.integers(1, 99), unique=True).map(tuple),
            dimensions=st.lists(TEXT, unique=True, max_size=3).map(tuple),
            origins=st.lists(st.sampled_from(Origin), unique=True).map(tuple),
            authors=st.lists(TEXT, unique=True, max_size=3).map(tuple),
            differing=st.booleans(),
            held=TEXT,
            seed=TEXT,
            lineage=TEXT,
        ),
        settings=st.dictionaries(
            st.sampled_from(list(FineTuneSpec.model_fields)), st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
        ),
    )
)
def test_an_address_written_and_read_back_is_the_same(address: TrainingAddress) -> None:
    assert TrainingAddress.parse(address.url(Language.EN).partition("?")[2]) == address


# -- the form


@RENDERERS
def test_every_setting_of_the_spec_is_on_the_form_with_words_and_eight_are_in_sight(render: Renderer) -> None:
    drawn = form(render.t, FineTuneSpec, {}, {})
    assert len(drawn.basic) == 8
    names = {field.name for field in (*drawn.basic, *(one for group in drawn.groups for one in group.fields))}
    assert names | {"kind", "name", "model", "revision", "snapshot", "dimensions", "method", "device"} == set(FineTuneSpec.model_fields)
    for field in drawn.basic:
        assert field.hint
        assert field.label != field.name


def test_what_is_typed_becomes_the_spec_over_the_recipe_and_an_emptied_field_becomes_none() -> None:
    preset = {"rank": 8, "max_steps": 1000}
    spec, faults = read_form(
        EN.t, FineTuneSpec, preset, {"learning_rate": " 2e-5 ", "max_steps": "", "group_by_length": "false", "x": "1"}, PLACED
    )
    assert faults == ()
    assert spec is not None
    assert (spec.rank, spec.learning_rate, spec.max_steps, spec.group_by_length) == (8, 2e-5, None, False)
    shown = form(EN.t, FineTuneSpec, preset, {"max_steps": ""})
    assert {field.name for group in shown.groups for field in group.fields if field.changed} == {"max_steps"}


def test_every_wrong_field_is_told_at_once_with_its_range_in_both_languages() -> None:
    typed = {"rank": "0", "epochs": "many", "loss": "nonsense", "dropout": ""}
    for render, words in (
        (EN, "LoRA rank must be a whole number (from 1 up to 512), not “0”."),
        (ZH, "“LoRA 秩”须为整数（1 起 至 512），现在是“0”。"),
    ):
        spec, faults = read_form(render.t, FineTuneSpec, {}, typed, PLACED)
        assert spec is None
        assert {fault.field for fault in faults} == set(typed)
        assert words in [fault.text for fault in faults]


# -- plots


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_axes_end_at_round_numbers_around_the_values(low: float, size: float, wanted: int) -> None:
    ticks = nice_ticks(low, low + size, wanted)
    step = ticks[1] - ticks[0]
    slack = 1e-6 * step + 1e-12 * (abs(low) + size)  # the last digit of the numbers themselves
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + size - slack
    assert len(ticks) <= wanted + 3
    digit = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(digit - nice) for nice in (1, 2, 2.5, 5, 10)) < 0.01 + abs(low) / step * 1e-9


def test_a_long_noisy_curve_is_thinned_to_its_means_and_smoothed_without_a_lag_at_its_start() -> None:
    points = tuple((float(step), 2.0 + (0.5 if step % 2 else -0.5)) for step in range(10_000))
    thin = thinned(points)
    assert len(thin) == MOST_POINTS
    assert thin[-1] == points[-1]
    assert all(abs(value - 2.0) < 0.1 for _, value in thin[:-1])
    constant = smoothed(tuple((float(step), 3.0) for step in range(100)))
    assert all(abs(value - 3.0) < 1e-9 for _, value in constant)


def test_the_axis_stays_while_points_come_in_and_the_best_look_is_marked() -> None:
    def drawn(upto: int) -> Plot | None:
        held = tuple((float(point.step), point.value) for point in falling(upto, 1, 20, 0.9, 0.6, 0.0))
        return plot(
            "mae", "MAE", [Curve("held", Line.HELD_OUT, held)], 400, from_zero=True, best_of=Line.HELD_OUT, best_text="{value} @{step}"
        )

    early, late = drawn(100), drawn(400)
    assert early is not None
    assert late is not None
    assert [tick.at for tick in early.ticks_x] == [tick.at for tick in late.ticks_x]
    assert early.ticks_y == late.ticks_y
    assert late.best_text.endswith("@400")
    assert plot("x", "x", [Curve("none", Line.TRAIN, ())], 10, from_zero=True, best_of=None, best_text="") is None


def test_a_gain_stands_right_of_zero_and_its_interval_is_kept_within_the_bar() -> None:
    bar = gain_bar(0.1, 0.05, 0.9, 0.2)
    assert (bar.left, bar.mark, bar.left + bar.width) == (62.5, 75.0, 100.0)
    assert gain_bar(-0.1, -0.2, 0.0, 0.2).mark == 25.0


# -- the page


@RENDERERS
def test_hostile_names_logs_and_rows_are_shown_as_text(workbench: Workbench, render: Renderer) -> None:
    jobs = busy_jobs()
    bad = {"zh": HOSTILE, "en": HOSTILE}
    jobs.views[3] = replace(
        jobs.views[3], job=replace(jobs.views[3].job, name=HOSTILE, author=HOSTILE, spec=json.dumps({"name": HOSTILE})), last=bad
    )
    jobs.views[1] = replace(jobs.views[1], job=replace(jobs.views[1].job, error=bad))
    jobs.log = HOSTILE
    desk = measured_candidates()
    desk.views[3] = replace(desk.views[3], candidate=replace(desk.views[3].candidate, name=HOSTILE), serve_command=HOSTILE)
    put_desks(workbench, jobs, desk)
    for query in ("?job=3&compare=1&candidate=1&rows=1", "?job=6", f"?tab=make&set.model={HOSTILE}&set.rank={HOSTILE}&lineage={HOSTILE}"):
        shown = TrainingHandlers(workbench, render).page(query)
        assert_harmless(shown)
        assert "&lt;script&gt;" in shown


@RENDERERS
def test_the_page_says_what_to_do_where_there_is_nothing(tmp_path: Path, render: Renderer) -> None:
    empty = Workbench.open(Settings(home=tmp_path, port=0, _env_file=None))  # type: ignore[call-arg]
    try:
        shown = TrainingHandlers(empty, render).page("?from=corrections")
    finally:
        empty.store.close()
    for key in ("training.no_jobs", "training.no_job", "training.no_candidates", "training.no_corrections", "training.need_snapshot"):
        assert render.t(key) in shown
    assert 'data-send="/training/snapshots"' in shown  # the sample library can be frozen at once,
    assert 'data-list="dimension" value="fluency"' in shown  # or a part of it


def test_a_chain_is_one_line_and_stands_at_the_step_that_needs_a_look(workbench: Workbench) -> None:
    lines = chain_lines(EN.t, workbench.jobs.jobs(), TrainingAddress(job=3))
    assert [(line.number, len(line.steps), line.at.job.state) for line in lines] == [
        (7, 1, JobState.QUEUED), (6, 1, JobState.FAILED), (3, 2, JobState.RUNNING), (1, 2, JobState.DONE),
    ]  # fmt: skip
    assert [line.chosen for line in lines] == [False, False, True, False]
    assert "compare=1" in lines[3].compare_href
    assert lines[2].compare_href == ""
    loop = [JobView(job(1, JobKind.FINE_TUNE, JobState.DONE, 2)), JobView(job(2, JobKind.EVALUATE, JobState.DONE, 1))]
    assert sum(len(line.steps) for line in chain_lines(EN.t, loop, TrainingAddress())) == 2


def test_a_job_that_is_done_leads_to_the_step_where_its_chain_stands(workbench: Workbench) -> None:
    chained = [JobView(job(9, JobKind.EVALUATE, JobState.RUNNING, 8)), JobView(job(8, JobKind.FINE_TUNE, JobState.DONE))]
    put_desks(workbench, FakeJobs(chained), measured_candidates())
    handlers = TrainingHandlers(workbench, EN)
    line = handlers.show("?job=8").split("This step is done", 1)[1].split("</p>")[0]
    assert "job=9" in line
    assert "This step is done" not in handlers.show("?job=9")


def test_a_head_on_a_reader_that_held_out_other_rows_is_warned_of(workbench: Workbench) -> None:
    other = workbench.snapshots.freeze("另一批", SnapshotChoices(lineage="作文"), "林")
    first = next(one for one in workbench.snapshots.snapshots() if one.lineage != other.lineage)
    reader = job(21, JobKind.FAULT_PRETRAIN, JobState.DONE, snapshot_id=first.id)
    put_desks(workbench, FakeJobs([JobView(reader)]), measured_candidates())
    query = f"?preset=head&set.model=m&set.reader={reader.folder / 'output'}"
    assert "another lineage, “main”" in TrainingHandlers(workbench, EN).plan(f"{query}&snapshot={other.id}")[0].warning
    assert "另一系列" in TrainingHandlers(workbench, ZH).show(f"{query}&snapshot={other.id}")
    assert TrainingHandlers(workbench, EN).plan(f"{query}&snapshot={first.id}")[0].warning == ""


def test_only_what_changed_is_sent_and_a_running_job_keeps_the_page_asking(workbench: Workbench) -> None:
    handlers = TrainingHandlers(workbench, EN)
    first = handlers.fragments("?job=3", dict.fromkeys(PARTS, ""))
    assert first.live
    assert set(first.parts) == set(PARTS)
    known = {name: digest for name, (digest, _) in first.parts.items()}
    assert handlers.fragments("?job=3", known).parts == {}
    jobs = jobs_of(workbench)
    jobs.views[3] = replace(jobs.views[3], step=263)
    assert set(handlers.fragments("?job=3", known).parts) == {"jobs", "job"}
    put_desks(workbench, FakeJobs([JobView(job(1, JobKind.FINE_TUNE, JobState.DONE))]), FakeCandidates())
    assert not handlers.fragments("", {}).live


def test_a_comparison_is_drawn_once_and_a_judge_that_was_not_measured_is_told(workbench: Workbench) -> None:
    handlers = TrainingHandlers(workbench, EN)
    for _ in range(3):
        shown = handlers.fragments("?candidate=1", {"candidates": ""}).parts["candidates"][1]
    assert sorted(candidates_of(workbench).compared) == [1, 2, 3]
    assert "+0.100" in shown
    assert "better" in shown
    assert "TR0000" in shown
    put_desks(workbench, busy_jobs(), FakeCandidates(measured_candidates().views))
    assert "was not measured" in TrainingHandlers(workbench, EN).fragments("", {"candidates": ""}).parts["candidates"][1]


def test_the_plan_follows_what_is_typed(workbench: Workbench) -> None:
    handlers = TrainingHandlers(workbench, EN)
    assert "Fill in the base model first" in handlers.fragments("", {"plan": ""}).parts["plan"][1]
    ready = handlers.fragments("?set.model=/models/tiny&set.batch_size=8", {"plan": ""}).parts["plan"][1]
    assert "python -m training run" in ready
    assert "32 rows an update" in ready
    assert "disabled" not in ready
    wrong = handlers.fragments("?set.model=/models/tiny&set.rank=0", {"plan": ""}).parts["plan"][1]
    assert 'data-fault="rank"' in wrong
    assert "disabled" in wrong


ALLOWED = {
    "AWQ", "LoRA", "QLoRA", "Qwen", "GLM", "InternLM", "Gemma", "Edge", "NVIDIA", "HBM", "GiB", "MiB", "KiB", "MAE", "AdamW", "alpha", "dropout",
    "all", "linear", "bitsandbytes", "xlsx", "csv", "jsonl", "txt", "spec", "json", "JSON", "JSONL", "XTuner", "trl", "Alpaca", "ShareGPT", "hub", "cuda", "CPU",
}  # fmt: skip


def test_the_chinese_page_says_in_chinese_what_the_program_named(workbench: Workbench) -> None:
    jobs = jobs_of(workbench)
    awq = job(9, JobKind.QUANTIZE, JobState.QUEUED, 8, spec=json.dumps({"method": "auto_awq", "name": "Ordinal head · m"}))
    chain = [
        awq,
        job(8, JobKind.MERGE, JobState.QUEUED, name="Ordinal head · m"),
        job(10, JobKind.EVALUATE, JobState.DONE, name="cpu/rules", device=""),
        job(11, JobKind.FAULT_PRETRAIN, JobState.DONE, spec=json.dumps({"kind": "fault_pretrain", "dimension": "", "rows": 20})),
    ]
    jobs.views = [*(JobView(one) for one in chain), *jobs.views]
    differences = [("kind", "head", "fault_pretrain"), ("dimension", "fluency", ""), ("loss", "likelihood", ""), ("rows", "", "20")]
    jobs.differences = tuple(SpecDifference(*one) for one in differences)
    for query in ("?job=9", "?job=10&compare=11", "?preset=head"):
        shown = TrainingHandlers(workbench, ZH).page(query)
        said = re.sub(r"<(pre|code|template|option)\b.*?</\1>|<[^>]+>|\b[0-9a-f]{8}\b", " ", shown, flags=re.DOTALL)
        assert set(re.findall(r"[A-Za-z]{3,}", said)) - ALLOWED == set(), query
    shown = TrainingHandlers(workbench, ZH).page("?job=10&compare=11")
    for words in (
        "CPU 评委组 · 规则",
        "序数头 · m",
        "量化 4 位",
        "处理器",
        "<td>种类</td><td>序数头</td><td>病句预训练</td>",
        "<td>流畅性</td>",
    ):
        assert words in shown
    assert "Ordinal head · m" in TrainingHandlers(workbench, EN).page("?job=9")


def test_a_name_that_somebody_gave_stays(workbench: Workbench) -> None:
    assert [shown_name(EN.t, name) for name in ("序数头 · m", "全部权重 · m · 2", "LoRA · m", "序数头", "我的 · m")] == [
        "Ordinal head · m", f"{EN.t('training_option.full')} · m · 2", "LoRA · m", "序数头", "我的 · m",
    ]  # fmt: skip
    assert job_name(ZH.t, job(1, JobKind.HEAD, JobState.DONE, name="cpu/rules"), {"cpu/rules": "规则"}) == "cpu/rules"


# -- acts


def test_train_queues_what_the_url_says_in_the_name_of_the_visitor(client: TestClient, workbench: Workbench) -> None:
    query = "?set.model=/models/tiny&set.rank=4&set.device=cpu&panel=cpu&judge=neighbours&set.dimensions=fluency"
    answer = client.post("/training/train", json={"query": query}, headers={"Accept-Language": "en"}).json()
    _, spec, author, options = jobs_of(workbench).acts[-1]
    assert (spec.model, spec.rank, spec.device, spec.dimensions, author) == ("/models/tiny", 4, "cpu", ("fluency",), "Lin")
    assert (options["panel_id"], options["judge_id"]) == ("cpu", "neighbours")
    assert spec.snapshot == workbench.snapshots.snapshots()[0].folder
    assert "job=7" in answer["url"]
    assert "set.rank=4" in answer["url"]
    refused = client.post("/training/train", json={"query": "?set.model=x&set.rank=0"}, headers={"Accept-Language": "zh"})
    assert refused.status_code == 422
    assert "须为整数" in refused.json()["message"]


def test_the_estimate_is_held_against_the_card_that_the_job_will_get(workbench: Workbench) -> None:
    handlers = TrainingHandlers(workbench, EN)
    for device, words in (("auto", "of 79.6 GiB on cuda:0"), ("cuda:1", "of 79.6 GiB on cuda:1"), ("cpu", "of 128.0 GiB on cpu")):
        shown = handlers.fragments(f"?set.model=m&set.device={device}", {"plan": ""}).parts["plan"][1]
        assert "about 22.0 GiB" in shown
        assert words in shown
        assert "▲" not in shown
    jobs_of(workbench).there = (Card("cpu", "cpu", 16.0, 9.0),)
    assert "About 22.0 GiB are needed and 16.0 GiB are there" in handlers.fragments("?set.model=m", {"plan": ""}).parts["plan"][1]


def test_a_head_is_trained_on_one_ordered_dimension_after_a_pretraining_on_clean_texts(client: TestClient, workbench: Workbench) -> None:
    kept = client.post(
        "/training/texts?name=clean.txt", content="干净的一段话。".encode(), headers={"Content-Type": "application/octet-stream"}
    )
    path = Path(kept.json()["value"])
    assert path.read_text(encoding="utf-8") == "干净的一段话。"
    query = f"?preset=head&set.model=m&set.rank=32&set.texts={path}"
    shown = TrainingHandlers(workbench, EN).show(query)
    assert "Dimension to grade" in shown
    assert '<option value="choice"' not in shown.split('data-setting="dimension"')[1].split("</select>")[0]
    assert client.post("/training/train", json={"query": query}).status_code == 200
    _, (pretraining, head, measurement), _, _ = next(act for act in jobs_of(workbench).acts if act[0] == "chain")
    assert (pretraining.kind, head.kind, measurement.kind) == (JobKind.FAULT_PRETRAIN, JobKind.HEAD, JobKind.EVALUATE)
    assert (pretraining.texts, pretraining.rank, head.rank, head.dimension) == ((path,), 32, 32, "fluency")
    assert client.post("/training/train", json={"query": f"{query}&set.dimension=normativity"}).status_code == 200
    of_pairs = [act for act in jobs_of(workbench).acts if act[0] == "chain"][-1][1][0]
    assert (pretraining.makes, of_pairs.makes, of_pairs.dimension) == (Made.FAULTS, Made.DEFECTS, "normativity")
    assert pretraining.name == head.name == measurement.name  # one chain, one name
    assert pretraining.rows == FaultPretrainSpec.model_fields["rows"].default
    fewer = TrainingHandlers(workbench, EN).plan(f"{query}&set.rows=300")[0]
    assert fewer.before is not None
    assert fewer.before.rows == 300
    wrong = TrainingHandlers(workbench, EN).plan(f"{query}&set.rows=few")[0]
    assert (wrong.spec, [fault.field for fault in wrong.faults]) == (None, ["rows"])
    assert client.post("/training/train", json={"query": "?preset=head&set.model=m"}).status_code == 200
    assert jobs_of(workbench).acts[-1][1].reader is None


def test_nobody_acts_without_a_name(client: TestClient) -> None:
    client.cookies.clear()
    for path in ("jobs/3/stop", "jobs/6/resume", "candidates/1/measure", "train"):
        assert client.post(f"/training/{path}", json={}, headers={"Accept-Language": "en"}).status_code == 422


def test_a_snapshot_is_frozen_looked_into_exported_and_a_file_is_taken_back(client: TestClient, workbench: Workbench) -> None:
    frozen = client.post(
        "/training/snapshots",
        json={"name": "fluent", "query": "?dimension=fluency&lineage=own&held=0.3"},
        headers={"Accept-Language": "en"},
    )
    snapshot = workbench.snapshots.snapshots()[0]
    assert (snapshot.name, snapshot.lineage, snapshot.author, list(snapshot.counts)) == ("fluent", "own", "Lin", ["fluency"])
    assert f"snapshot={snapshot.id}" in frozen.json()["url"]
    row = workbench.snapshots.rows(snapshot.id, Split.TRAIN)[0]
    shown = TrainingHandlers(workbench, EN).fragments(f"?snapshot={snapshot.id}&rows=1", {"data": ""}).parts["data"][1]
    assert row.external_id in shown
    assert str(row.user[:20].splitlines()[0]) in shown
    exported = client.get(f"/training/snapshots/{snapshot.id}/export/xtuner")
    assert set(exported.json()[0]["conversation"][0]) >= {"input", "output"}
    taken = client.post(
        "/training/import/-/all?name=back.json", content=exported.content, headers={"Content-Type": "application/octet-stream"}
    )
    library = workbench.store.library(int(taken.json()["value"]))
    assert library.size == snapshot.train_rows


def test_an_unproven_candidate_needs_a_reason_and_a_promotion_is_rolled_back(client: TestClient, workbench: Workbench) -> None:
    given = {"target": "cpu\nrules"}
    assert "say why" in client.post("/training/candidates/3/promote", json=given, headers={"Accept-Language": "en"}).json()["message"]
    done = client.post(
        "/training/candidates/3/promote", json={**given, "reason": "half the memory"}, headers={"Accept-Language": "en"}
    ).json()
    assert candidates_of(workbench).acts[-1] == ("promote", 3, "cpu", "rules", "Lin", "half the memory")
    shown = TrainingHandlers(workbench, EN).fragments("", {"candidates": ""}).parts["candidates"][1]
    assert "judges in cpu-2" in shown
    assert client.post(done["undo"]["url"], json={}).status_code == 200
    assert candidates_of(workbench).acts[-1] == ("roll-back", 1, "Lin")


def test_jobs_are_stopped_resumed_cancelled_and_put_away_with_a_way_back(client: TestClient, workbench: Workbench) -> None:
    desk = jobs_of(workbench)
    for path in ("3/stop", "6/resume", "7/cancel"):
        assert client.post(f"/training/jobs/{path}", json={}).status_code == 200
    assert desk.acts == [(JobState.STOPPING, 3), (JobState.QUEUED, 6), (JobState.STOPPED, 7)]
    undo = client.post("/training/jobs/1/archive", json={}).json()["undo"]
    assert [view.job.id for view in desk.hidden] == [1]
    assert client.post(undo["url"], json={}).status_code == 200
    assert desk.hidden == []
    assert client.post("/training/jobs/99/archive", json={}).status_code == 404
