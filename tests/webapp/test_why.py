"""Why a judge gave a label: a tiny model in a process of its own, a model server, and what is said when neither can answer."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

pytest.importorskip("torch")

from core.errors import JudgeError, JudgeUnavailable, NotFound
from core.types import Run
from tests.judging.server.engines import FakeServer, serving
from tests.webapp.explained import explained_workbench
from webapp.explainer import Ask
from webapp.services.explaining import Phase, _Child
from webapp.why_routes import why_routes
from webapp.workbench import Workbench

pytestmark = pytest.mark.timeout(240)
WORDS = "语句通顺，没有错别字。"


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with serving("vllm", words=WORDS) as server:
        yield server


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, server: FakeServer) -> Iterator[tuple[Workbench, Run, int]]:
    workbench, _, run = explained_workbench(tmp_path_factory.mktemp("home"), server)
    yield workbench, run, next(iter(workbench.export_rows(run.id))).item.id
    workbench.explanations.close()


def test_a_model_in_process_says_why_and_no_score_changes(asked: tuple[Workbench, Run, int]) -> None:
    workbench, run, item = asked
    before = workbench.row(run.id, item)
    pieces = list(workbench.explanations.why(run.id, item, "tiny"))
    assert pieces[0].phase is Phase.LOADING
    assert len("".join(piece.text for piece in pieces if piece.phase is Phase.TEXT)) > 20
    again = list(workbench.explanations.why(run.id, item, "tiny"))
    assert {piece.phase for piece in again} == {Phase.TEXT}  # the model was kept
    assert [piece.text for piece in again] == [piece.text for piece in pieces[1:]]
    after = workbench.row(run.id, item)
    assert after.judgements == before.judgements
    assert after.verdict == before.verdict
    assert workbench.progress(run.id).decided == 3


def test_a_server_is_asked_from_here(asked: tuple[Workbench, Run, int], server: FakeServer) -> None:
    workbench, run, item = asked
    assert "".join(piece.text for piece in workbench.explanations.why(run.id, item, "remote")) == WORDS
    user = server.asked[-1]["messages"][-1]["content"]
    label = next(kept.label for kept in workbench.row(run.id, item).judgements if kept.judge_id == "remote")
    assert "今天天气很好，我们去公园散步。" in user  # the row's own prompt
    assert f"已评为 {label}" in user


def test_the_page_that_asks_says_in_which_language_the_model_answers(
    asked: tuple[Workbench, Run, int], server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    workbench, run, item = asked
    sent: list[Ask] = []
    send = _Child.send
    monkeypatch.setattr(_Child, "send", lambda child, ask: (sent.append(ask), send(child, ask))[1])
    app = FastAPI()
    app.include_router(why_routes(workbench))
    said, users = {}, {}
    with TestClient(app) as client:
        for language in ("zh", "en"):
            for judge in ("tiny", "remote"):
                answer = client.post("/why", json={"language": language, "run": run.id, "item": item, "judge": judge})
                said[judge, language] = "".join(json.loads(line).get("text", "") for line in answer.text.splitlines())
            users[language] = server.asked[-1]["messages"][-1]["content"]
    assert [ask.language for ask in sent] == ["zh", "en"]
    assert said["tiny", "zh"] != said["tiny", "en"]  # the model was asked something else
    judged, _, chinese = users["zh"].rpartition("以上内容已评为")
    assert "请用两三句中文说明理由" in chinese
    assert users["en"].startswith(judged)  # the judging prompt and the judged text stay as they are
    english = users["en"].removeprefix(judged)
    assert "Explain in English" in english
    assert english.isascii()


def test_what_cannot_be_explained_is_told(asked: tuple[Workbench, Run, int]) -> None:
    workbench, run, item = asked
    with pytest.raises(JudgeError, match="no model to ask"):
        workbench.explanations.why(run.id, item, "rules")
    with pytest.raises(NotFound, match="no judge"):
        workbench.explanations.why(run.id, item, "nobody")


def test_a_reader_that_leaves_and_a_process_that_dies_leave_nothing_stuck(asked: tuple[Workbench, Run, int]) -> None:
    workbench, run, item = asked
    with closing(workbench.explanations.why(run.id, item, "tiny")) as pieces:
        while next(pieces).phase is not Phase.TEXT:
            pass
    assert any(piece.phase is Phase.TEXT for piece in workbench.explanations.why(run.id, item, "tiny"))
    process = workbench.explanations._process
    pid = process.pid
    assert pid is not None
    pieces = workbench.explanations.why(run.id, item, "tiny")
    os.kill(pid, signal.SIGSTOP)  # so that it dies before it has answered
    with closing(pieces):
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(JudgeUnavailable, match="Ask again"):
            list(pieces)
    assert any(piece.phase is Phase.TEXT for piece in workbench.explanations.why(run.id, item, "tiny"))


def test_a_run_that_wants_the_card_goes_first(asked: tuple[Workbench, Run, int]) -> None:
    workbench, run, item = asked
    assert any(piece.phase is Phase.TEXT for piece in workbench.explanations.why(run.id, item, "tiny"))
    queued = workbench.start_run(run.sheet_id, run.library_id, "asked", "pooled-median")
    deadline = time.monotonic() + 30
    while workbench.explanations._process.pid is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workbench.explanations._process.pid is None  # its memory is the run's
    pieces = workbench.explanations.why(run.id, item, "tiny")
    try:
        told = next(piece for piece in pieces if piece.run_id)
        assert (told.phase, told.run_id) == (Phase.WAITING, queued.id)
    finally:
        workbench.stop(queued.id)
    assert any(piece.phase is Phase.TEXT for piece in pieces)


def test_weights_that_are_gone_are_told_with_the_panels_name(asked: tuple[Workbench, Run, int]) -> None:
    workbench, run, item = asked
    workbench.explanations._process.close()
    workbench.explanations._process._closing.clear()
    folder = Path(str(run.panel.judges[0].options["model"]))
    folder.rename(folder.with_name("away"))
    try:
        with pytest.raises(JudgeError, match="there is no folder") as caught:
            list(workbench.explanations.why(run.id, item, "tiny"))
        assert "评委" in caught.value.messages["zh"]
    finally:
        folder.with_name("away").rename(folder)
