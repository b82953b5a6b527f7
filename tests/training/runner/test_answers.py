"""What people answered on suspected faults when a pretraining is started is frozen into its folder; the page says what there is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from core.errors import JobError
from core.faultmarks import MarkKind
from core.faultplaces import AnswerKind
from core.training import Job, Snapshot
from core.types import Item
from db.fault_answers import NewAnswer
from tests.db.build import add_sheet
from training import jobdir
from training.faults.answers import read_answers
from training.faults.spec import FaultPretrainSpec
from training.specs import read_spec
from webapp.cli.jobs import RunOptions, run_job
from webapp.pages.render import load_renderer
from webapp.pages.training import TrainingHandlers
from webapp.pages.translate import Language
from webapp.workbench import Workbench


@pytest.fixture
def item(bench: Workbench) -> Item:
    """A row on which two people have answered."""
    found = bench.store.items(add_sheet(bench.store, 1, "cd" * 32).id)[0]
    bench.store.add_fault_answer(found.id, NewAnswer(0, 2, MarkKind.ORDER, AnswerKind.CONFIRM, "林"))
    bench.store.add_fault_answer(found.id, NewAnswer(0, 1, None, AnswerKind.MISSED, "吴"))
    return found


def start(bench: Workbench, snapshot: Snapshot | None, *settings: str, answers: bool = True) -> tuple[Job, FaultPretrainSpec]:
    """Queue a pretraining as the command line does; return it with what it was told."""
    told = ["model=/m", 'texts=["/clean.txt"]', *settings]
    number = snapshot.id if snapshot else 0
    assert run_job(RunOptions("fault_pretrain", number, told, True, False, [], "", "", True, "li", answers)) == 0
    job = bench.store.jobs(1)[0]
    spec = read_spec(job.spec, "spec")
    assert isinstance(spec, FaultPretrainSpec)
    return job, spec


def test_the_answers_of_the_moment_are_frozen_into_the_job(
    bench: Workbench, small: Snapshot, item: Item, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINGPAN_HOME", str(bench.settings.home))
    job, spec = start(bench, small)
    assert "learns from 2 answers" in capsys.readouterr().err
    assert (spec.answers, spec.answers_count) == (job.folder / jobdir.ANSWERS, 2)
    assert spec.answers is not None
    assert spec.answers_sha256 == hashlib.sha256(spec.answers.read_bytes()).hexdigest()
    bench.store.add_fault_answer(item.id, NewAnswer(1, 2, MarkKind.TYPO, AnswerKind.REJECT, "张"))
    (text,) = read_answers(spec.answers, spec.answers_sha256)
    assert (text.text, [(say.author, say.kind) for say in text.says]) == (item.text, [("吴", None), ("林", "order")])
    jobdir.create(job.folder, spec)  # as the runner does
    assert jobdir.load_spec(job.folder) == spec

    again, named = start(bench, small, f"answers={spec.answers}")
    assert (named.answers, named.answers_sha256) == (again.folder / jobdir.ANSWERS, spec.answers_sha256)
    with pytest.raises(JobError, match="cannot be read"):
        start(bench, small, "answers=/nowhere.jsonl")
    assert start(bench, small, answers=False)[1].answers is None
    capsys.readouterr()
    assert start(bench, None)[1].answers is None  # nobody knows which rows must stay unseen
    assert "leaves 3 answers on suspected faults out" in capsys.readouterr().err


def test_the_page_says_how_many_answers_of_which_kind_there_are_and_can_leave_them_out(
    bench: Workbench, small: Snapshot, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    handlers = TrainingHandlers(bench, load_renderer(Language.EN))
    query = f"?preset=head&snapshot={small.id}&set.model=m&set.texts={tmp_path / 'clean.txt'}"
    shown = handlers.show(query)
    assert "Nobody has answered" in shown
    assert 'data-setting="answer_weight"' not in shown
    request.getfixturevalue("item")
    shown = handlers.show(query)
    assert "2 answers on suspected faults in 1 texts: 1 confirmed, 0 rejected, 1 marked as missed" in shown
    assert "wrong word order 1, none named 1" in shown
    assert 'data-setting="answer_weight"' in shown
    with_answers, without = (handlers.plan(query + part)[0].before for part in ("", "&set.answer_weight=0"))
    assert with_answers is not None
    assert without is not None
    job = bench.jobs.submit(with_answers, "li", snapshot_id=small.id)
    assert (job.folder / jobdir.ANSWERS).is_file()
    assert not (bench.jobs.submit(without, "li", snapshot_id=small.id).folder / jobdir.ANSWERS).exists()
