"""A card has one master at a time: jobs wait for each other and for judging runs, and runs wait for jobs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import CardTaken
from core.processes import current_process, identity_of, kill
from core.training import JobState, Snapshot
from core.types import JudgeSpec, PanelSpec, Run, RunState, said
from tests.training.runner.conftest import drive, measure, wait_for
from webapp.job_runner import Runner
from webapp.services.training.cards import cards, wanted_by_panel
from webapp.services.training.jobs import JobDesk
from webapp.services.training.launch import card_environment
from webapp.services.training.leases import CardLeases
from webapp.services.training.views import Card
from webapp.workbench import Workbench
from webapp.worker import Worker

CARDS = (Card("cuda:0", "one", 24.0, 20.0), Card("cuda:1", "two", 24.0, 24.0))


def panel(*judges: JudgeSpec, schedule: str = "together") -> PanelSpec:
    return PanelSpec("big", {"zh": "大", "en": "Big"}, judges, judges[0].id, schedule)


MODEL = JudgeSpec("qwen", "Qwen", "transformers", {"model": "/nowhere"})
RULES = JudgeSpec("rules", "Rules", "rules", {})


@pytest.fixture
def other() -> Iterator[str]:
    """The identity of a living process that is not this one."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield identity_of(process.pid)
    process.communicate(b"\n")


def start_run(bench: Workbench, spec: PanelSpec) -> Run:
    preview = bench.preview(bench.sample_sheet())
    sheet = bench.store_sheet(preview.token, skip_bad_rows=True)
    return bench.store.create_run(sheet.id, bench.libraries()[0].id, spec, "pooled-median")


def test_two_jobs_never_share_a_card_and_the_processor_does_one_at_a_time(bench: Workbench, small: Snapshot, other: str) -> None:
    leases = CardLeases(bench.store, lambda: CARDS)
    desk = JobDesk(bench.store, bench.settings, bench.panel_desk.panel, lambda: CARDS)
    runner = Runner(bench.store, bench.settings, leases=leases)
    on_card = [desk.submit(measure(small, "transformers", model="/nowhere"), "li", snapshot_id=small.id).id for _ in range(3)]
    named = desk.submit(measure(small, "transformers", model="/nowhere", device="cuda:1"), "li", snapshot_id=small.id).id
    plain = [desk.submit(measure(small), "li", snapshot_id=small.id).id for _ in range(2)]

    bench.store.lease_gpu("cuda:1", "run 5", other)
    for _ in range(3):
        runner.start()
    at_work = {job.id: job.device for job in bench.store.jobs(states={JobState.RUNNING})}
    assert at_work == {on_card[0]: "cuda:0", plain[0]: ""}
    assert said(desk.job(on_card[1]).waits_for, "en").startswith("Waits for the card cuda:0, which job 1 uses")
    assert said(desk.job(named).waits_for, "zh") == "等待显卡 cuda:1：评判 5 正在使用，空出后自动开始。"
    assert "one at a time" in said(desk.job(plain[1]).waits_for, "en")
    assert [said(card.holder, "en") for card in desk.cards()] == [f"job {plain[0]}", "job 1", "run 5"]

    bench.store.release_gpu("cuda:1", other)
    runner.start()
    assert {job.device for job in bench.store.jobs(states={JobState.RUNNING})} == {"", "cuda:0", "cuda:1"}
    second = next(job for job in bench.store.jobs(states={JobState.RUNNING}) if job.device == "cuda:1")
    kill(second.process)
    drive(runner, lambda: bench.store.job(second.id).state is JobState.FAILED)
    for job in bench.store.jobs(states={JobState.RUNNING, JobState.QUEUED}):
        desk.stop(job.id, kill=True)
    drive(runner, lambda: not bench.store.jobs(states={JobState.RUNNING, JobState.STOPPING}))
    assert bench.store.gpu_leases() == []


def test_a_card_is_told_to_a_job_unless_the_job_names_it() -> None:
    assert card_environment("cuda:1", "auto") == {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert card_environment("cuda:1", "cuda:1") == {}
    assert card_environment("", "cpu") == {"CUDA_VISIBLE_DEVICES": ""}


def test_which_cards_a_panel_wants() -> None:
    there = ("cuda:0", "cuda:1")
    assert wanted_by_panel(panel(RULES), there) == ()
    assert wanted_by_panel(panel(MODEL, RULES), there) == ("cuda:0",)
    assert wanted_by_panel(panel(MODEL, JudgeSpec("b", "B", "transformers", {"model": "/b"})), there) == there
    assert wanted_by_panel(panel(JudgeSpec("b", "B", "ordinal_head", {"device": "cuda:1"})), there) == ("cuda:1",)
    assert wanted_by_panel(panel(JudgeSpec("b", "B", "transformers", {"model": "/b", "device": "cpu"})), there) == ()
    assert wanted_by_panel(panel(MODEL), ()) == ()


def test_a_judging_run_waits_for_the_card_and_others_pass_it(bench: Workbench, other: str) -> None:
    leases = CardLeases(bench.store, lambda: CARDS[:1])
    bench.store.lease_gpu("cuda:0", "job 7", other)
    waiting, passing = start_run(bench, panel(MODEL)), start_run(bench, panel(RULES))
    worked: list[tuple[int, str]] = []

    def execute(run_id: int) -> None:
        with leases.held(bench.run(run_id)):
            worked.append((run_id, " ".join(leases.holders().values())))
            bench.store.finish(run_id, current_process())

    worker = Worker(bench.store, execute, poll_seconds=0.05, hindrance=leases.hindrance)
    thread = threading.Thread(target=worker.work)
    thread.start()
    try:
        wait_for(lambda: bench.run(passing.id).state is RunState.DONE)
        wait_for(lambda: bench.run(waiting.id).error)
        assert bench.run(waiting.id).state is RunState.QUEUED
        assert "cuda:0, which job 7 uses" in said(bench.run(waiting.id).error, "en")
        bench.store.release_gpu("cuda:0", other)
        wait_for(lambda: bench.run(waiting.id).state is RunState.DONE)
        assert bench.run(waiting.id).error == {}
        assert worked == [(passing.id, "job 7"), (waiting.id, f"run {waiting.id}")]
        assert bench.store.gpu_leases() == []
    finally:
        worker.shut_down()
        thread.join()


def test_a_run_whose_card_went_between_two_looks_is_queued_again(bench: Workbench, other: str) -> None:
    leases = CardLeases(bench.store, lambda: CARDS[:1])
    run = start_run(bench, panel(MODEL))
    bench.store.lease_gpu("cuda:0", "job 7", other)
    tried = threading.Event()

    def execute(run_id: int) -> None:
        try:
            with leases.held(bench.run(run_id)):
                bench.store.finish(run_id, current_process())
        except CardTaken:
            tried.set()
            raise

    worker = Worker(bench.store, execute, poll_seconds=0.05)
    thread = threading.Thread(target=worker.work)
    thread.start()
    try:
        assert tried.wait(20)
        wait_for(lambda: bench.run(run.id).state is RunState.QUEUED and bench.run(run.id).error)
        bench.store.release_gpu("cuda:0", other)
        wait_for(lambda: bench.run(run.id).state is RunState.DONE)
    finally:
        worker.shut_down()
        thread.join()


def test_jobs_wait_for_a_model_server_and_a_server_warns_of_a_job(bench: Workbench, other: str) -> None:
    leases = CardLeases(bench.store, lambda: CARDS)
    served = panel(JudgeSpec("glm", "GLM", "server", {"serve": {"model": "x", "devices": "0,1"}}))
    bench.store.lease_gpu("cuda:1", "job 7", other)
    with leases.served(served, "glm", 23333) as warnings:
        assert [said(words, "en").partition(":")[0] for words in warnings] == ["job 7 computes on cuda"]
        assert leases.holders() == {"cuda:0": "server big/glm", "cuda:1": "job 7"}
        assert not leases.hindrance()(start_run(bench, panel(MODEL)))  # what a server leaves free is the panel's own affair
    assert leases.holders() == {"cuda:1": "job 7"}


SMI = ("0, GPU-5aa1-77, H100, 81559, 81000", "1, GPU-5ab2-78, H100, 81559, 40960")


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        (None, ["cuda:0", "cuda:1"]),
        ("1,0", ["cuda:1", "cuda:0"]),
        ("GPU-5ab2-78", ["cuda:1"]),
        ("GPU-5aa1", ["cuda:0"]),
        ("", []),
        ("MIG-1", []),
    ],
)
def test_cards_are_counted_as_torch_counts_them(
    visible: str | None, devices: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in SMI))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.device for card in cards()] == devices
