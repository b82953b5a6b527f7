"""Why a judge gave a label, in its model's words, on demand: streamed, never stored, and never a score.

A judge on a model server is asked from here. A judge in process is asked in a process of its own (webapp/explainer.py),
because the server loads no models; that process keeps the model for some minutes, and gives it up as soon as a run wants
the card. While a run is at work that loads models itself, the question waits and says so.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from core.dimensions import PromptBuilder
from core.errors import JudgeError, JudgeUnavailable, NotFound, PingpanError
from core.judging.placement import SERVER, needs_cards
from core.judging.registry import can_explain, make_explainer
from core.ports import JudgeContext
from core.queries import RowDetail
from core.retrieval.ngram import NgramEmbedder
from core.settings import PROJECT_ROOT, Settings
from core.types import Dimension, JudgementStatus, JudgeRequest, JudgeSpec, Run, RunState
from db.store import SqlStore
from webapp.explainer import Ask, AskedJudge, Kind, Said

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
RUNS_SEEN = 50
# A model that says nothing for so long after it was loaded is given up.
SILENCE_SECONDS = 300.0
END_SECONDS = 5.0


class Phase(StrEnum):
    """What a piece of an explanation is."""

    WAITING = "waiting"
    LOADING = "loading"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an explanation: the model's text, or why there is none yet (`run_id` is the run that is waited for)."""

    phase: Phase
    text: str = ""
    run_id: int = 0


class Explanations:
    """Asks judges why. `command` is what is started for judges in process."""

    def __init__(
        self, settings: Settings, store: SqlStore, dimensions: Mapping[str, Dimension], command: Sequence[str] | None = None
    ) -> None:
        self._settings = settings
        self._store = store
        self._dimensions = dimensions
        self._process = ModelProcess(settings, command or (sys.executable, "-m", "webapp.explainer"), self.run_at_work)

    def close(self) -> None:
        """End the process that holds a model."""
        self._process.close()

    def why(self, run_id: int, item_id: int, judge_id: str, language: str = "zh") -> Generator[Piece, None, None]:
        """Yield why a judge gave a row its label, in `language`, as its model writes it; closing the iterator ends the generation.

        Raises NotFound for what is not there, JudgeError for a judge that has no words or no label, and JudgeUnavailable
        for what may pass.
        """
        detail = self._store.row(run_id, item_id)
        spec, label = _asked(detail, judge_id)
        prompt = self._prompts.render(detail.item, detail.examples)
        if spec.family == SERVER:
            request = JudgeRequest(detail.item, self._dimensions[detail.item.dimension_id], detail.examples, prompt)
            return self._from_server(spec, detail.run, request, label, language)
        judge = AskedJudge(id=spec.id, name=spec.name, family=spec.family, options=dict(spec.options))
        panel_id = detail.run.panel.id
        ask = Ask(number=0, panel_id=panel_id, judge=judge, system=prompt.system, user=prompt.user, label=label, language=language)
        return self._process.ask(ask)

    def run_at_work(self) -> Run | None:
        """Return the run that loads models itself and is at work, or the next to be; None when the card is free."""
        live = (RunState.RUNNING, RunState.QUEUED)
        runs = [run for run in self._store.runs(RUNS_SEEN) if run.state in live and needs_cards(run.panel)]
        return min(runs, key=lambda run: live.index(run.state), default=None)

    @cached_property
    def _prompts(self) -> PromptBuilder:
        return PromptBuilder(self._dimensions, *self._settings.dimension_folders())

    def _from_server(self, spec: JudgeSpec, run: Run, request: JudgeRequest, label: int, language: str) -> Generator[Piece, None, None]:
        context = JudgeContext((), "", self._dimensions, self._settings.judge_cache(), NgramEmbedder(), run.panel.id)
        explainer = make_explainer(spec, context)
        with contextlib.closing(explainer):
            for text in explainer.explain(request, label, language):
                yield Piece(Phase.TEXT, text)


@dataclass(slots=True)
class _Child:
    """A process that holds a model, with what it says; None in the queue means that it has ended."""

    process: subprocess.Popen[str]
    said: queue.SimpleQueue[Said | None] = field(default_factory=queue.SimpleQueue)

    def send(self, ask: Ask) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(ask.model_dump_json() + "\n")
        self.process.stdin.flush()


class ModelProcess:
    """The process that holds one model: started for a question, kept while it is warm, ended when a run wants the card."""

    def __init__(self, settings: Settings, command: Sequence[str], run_at_work: Callable[[], Run | None]) -> None:
        self._settings = settings
        self._command = tuple(command)
        self._run_at_work = run_at_work
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()
        self._child: _Child | None = None
        self._closing = threading.Event()

    @property
    def pid(self) -> int | None:
        """Return the process id, None while there is none."""
        child = self._child
        return None if child is None or child.process.poll() is not None else child.process.pid

    def ask(self, ask: Ask) -> Generator[Piece, None, None]:
        """Yield the answer, after the questions before it and after the run that has the card.

        Raises JudgeError with what the model's process says is wrong.
        """
        while not self._turn.acquire(timeout=LOOK_SECONDS):
            yield Piece(Phase.WAITING)
        try:
            while (run := self._run_at_work()) is not None:
                self._end()
                yield Piece(Phase.WAITING, run_id=run.id)
                time.sleep(LOOK_SECONDS)
            yield from self._answer(ask.model_copy(update={"number": next(self._numbers)}))
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the process."""
        self._closing.set()
        self._end()

    def _answer(self, ask: Ask) -> Generator[Piece, None, None]:
        child = self._running()
        over = False
        try:
            child.send(ask)
            for said in self._lines(child, ask.number):
                over = said.kind in {Kind.DONE, Kind.ERROR}
                if said.kind is Kind.ERROR:
                    raise JudgeError(said.words.get("en", ""), zh=said.words.get("zh", ""))
                if not over:
                    yield Piece(Phase(said.kind.value), said.text)
        except (BrokenPipeError, ValueError, _Ended) as error:
            over = True
            self._end()
            raise JudgeUnavailable(
                "The model's process ended before it had answered; the server's log says more. Ask again.",
                zh="模型进程在回答之前退出了，原因见服务日志。请再试一次。",
            ) from error
        finally:
            if not over:  # nobody reads on
                with contextlib.suppress(BrokenPipeError, ValueError):
                    child.send(Ask(number=ask.number, stop=True))

    def _lines(self, child: _Child, number: int) -> Iterator[Said]:
        """Yield what is said to ask `number`, until it is done; the rest of an earlier answer is passed over."""
        silent_since = time.monotonic()
        while True:
            try:
                said = child.said.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if time.monotonic() - silent_since > SILENCE_SECONDS:
                    raise _Ended from None
                continue
            silent_since = time.monotonic()
            if said is None:
                raise _Ended
            if said.number == number:
                yield said
                if said.kind in {Kind.DONE, Kind.ERROR}:
                    return

    def _running(self) -> _Child:
        if self._child is not None and self._child.process.poll() is not None:
            self._end()
        if self._child is None:
            # A session of its own: Ctrl-C reaches the server, which closes it.
            environment = {**os.environ, "PINGPAN_HOME": str(self._settings.home.resolve())}
            process = subprocess.Popen(
                self._command, cwd=PROJECT_ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                encoding="utf-8", start_new_session=True,
            )  # fmt: skip
            self._child = _Child(process)
            threading.Thread(target=self._listen, args=(self._child,), name="explainer-said", daemon=True).start()
            threading.Thread(target=self._make_room, args=(self._child,), name="explainer-watch", daemon=True).start()
        return self._child

    def _listen(self, child: _Child) -> None:
        assert child.process.stdout is not None
        with child.process.stdout as lines:
            for line in lines:
                child.said.put(Said.model_validate_json(line))
        child.said.put(None)
        child.process.wait()

    def _make_room(self, child: _Child) -> None:
        """End the process when a run wants the card; an answer on its way is finished first."""
        while child.process.poll() is None and not self._closing.wait(LOOK_SECONDS):
            try:
                wanted = self._run_at_work() is not None
            except PingpanError as error:
                logger.warning("the explainer cannot look for runs: %s", error)
                continue
            if wanted and self._turn.acquire(timeout=END_SECONDS):
                try:
                    if self._child is child:
                        self._end()
                finally:
                    self._turn.release()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        assert child.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.process.stdin.close()
        try:
            child.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


class _Ended(Exception):
    """The model's process is gone, or says nothing any more."""


def _asked(detail: RowDetail, judge_id: str) -> tuple[JudgeSpec, int]:
    """Return the judge's line in the run's panel and the label it gave. Raises NotFound or JudgeError."""
    spec = next((one for one in detail.run.panel.judges if one.id == judge_id), None)
    if spec is None:
        raise NotFound(f"Run {detail.run.id} has no judge «{judge_id}».", zh=f"任务 {detail.run.id} 中没有评委「{judge_id}」。")
    if not can_explain(spec):
        raise JudgeError(
            f"{spec.named('en')} has no model to ask; its reasons stand beside its answer.",
            zh=f"「{spec.named('zh')}」没有可以追问的模型，理由已写在评分旁。",
        )
    answer = next((one for one in detail.judgements if one.judge_id == judge_id), None)
    if answer is None or answer.status is not JudgementStatus.OK or answer.label is None:
        raise JudgeError(
            f"{spec.named('en')} has given this row no label that could be explained.",
            zh=f"「{spec.named('zh')}」没有给这一行评分，无从说明。",
        )
    return spec, answer.label
