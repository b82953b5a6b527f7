"""A process that holds one judge's model to say why, apart from the server, which loads no models.

`python -m webapp.explainer` reads asks from its input and writes what the model says to its output, a JSON object a line.
It opens no database. It ends when its input is closed, and by itself when nobody asked for a while, so that the card's
memory is given back. `webapp/services/explaining.py` is its other end.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

from pydantic import BaseModel, ConfigDict, Field

from core.errors import PingpanError
from core.processes import collect_rarely
from core.settings import Settings, load_settings
from core.types import Dimension, DimensionKind, Item, JudgeRequest, JudgeSpec, RenderedPrompt, SourceRef

if TYPE_CHECKING:
    from core.ports import Explainer

logger = logging.getLogger(__name__)

WARM_SECONDS = 300.0


class AskedJudge(BaseModel):
    """The judge's line in its run's panel."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    family: str
    options: dict[str, object] = Field(default_factory=dict)


class Ask(BaseModel):
    """One question, or (`stop`) the end of the one that is being answered."""

    number: int
    stop: bool = False
    panel_id: str = ""
    judge: AskedJudge | None = None
    system: str = ""
    user: str = ""
    label: int = 0
    language: str = "zh"


class Kind(StrEnum):
    """What a line of the answer is."""

    LOADING = "loading"
    TEXT = "text"
    ERROR = "error"
    DONE = "done"


class Said(BaseModel):
    """A line of the answer to ask `number`: a piece of text, or words for people by language."""

    number: int
    kind: Kind
    text: str = ""
    words: dict[str, str] = Field(default_factory=dict)


class Asks:
    """The asks that come in, read by a thread of its own: a stop must be heard while the model talks."""

    def __init__(self, lines: TextIO) -> None:
        self._asks: queue.SimpleQueue[Ask | None] = queue.SimpleQueue()
        self._stopped = -1
        threading.Thread(target=self._read, args=(lines,), name="asks", daemon=True).start()

    def next(self, seconds: float) -> Ask | None:
        """Return the next question, None when there will be none or `seconds` have passed."""
        with contextlib.suppress(queue.Empty):
            return self._asks.get(timeout=seconds)
        return None

    def stopped(self, number: int) -> bool:
        """Return whether nobody wants the rest of an answer."""
        return self._stopped >= number

    def _read(self, lines: TextIO) -> None:
        for line in lines:
            ask = Ask.model_validate_json(line)
            if ask.stop:
                self._stopped = ask.number
            else:
                self._asks.put(ask)
        self._stopped = sys.maxsize
        self._asks.put(None)


class Answering:
    """Answers one ask after the other; the model of the last one stays loaded."""

    def __init__(self, settings: Settings, asks: Asks, out: TextIO) -> None:
        self._settings = settings
        self._asks = asks
        self._out = out
        self._loaded: tuple[AskedJudge, Explainer] | None = None

    def answer(self, ask: Ask) -> None:
        """Write the answer, piece by piece; what a user can mend is told in words."""
        try:
            for piece in self._explainer(ask).explain(_request(ask), ask.label, ask.language):
                if self._asks.stopped(ask.number):
                    break
                self._say(ask, Kind.TEXT, text=piece)
        except PingpanError as error:
            self._say(ask, Kind.ERROR, words=dict(error.messages))
        except Exception as error:  # the edge of the process: told, logged, and the next ask is answered
            logger.exception("ask %d failed", ask.number)
            what = f"{type(error).__name__}: {error}"
            self._say(ask, Kind.ERROR, words={"zh": f"{what}。详情见服务日志。", "en": f"{what}. The server's log says more."})
        self._say(ask, Kind.DONE)

    def close(self) -> None:
        """Give the model's memory back."""
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None

    def _explainer(self, ask: Ask) -> Explainer:
        from core.dimensions import load_dimensions
        from core.judging.registry import make_explainer
        from core.ports import JudgeContext
        from core.retrieval.ngram import NgramEmbedder

        assert ask.judge is not None
        if self._loaded is None or self._loaded[0] != ask.judge:
            self.close()
            self._say(ask, Kind.LOADING)
            dimensions = load_dimensions(*self._settings.dimension_folders())
            context = JudgeContext((), "", dimensions, self._settings.judge_cache(), NgramEmbedder(), ask.panel_id)
            spec = JudgeSpec(ask.judge.id, ask.judge.name, ask.judge.family, ask.judge.options)
            self._loaded = (ask.judge, make_explainer(spec, context))
        return self._loaded[1]

    def _say(self, ask: Ask, kind: Kind, text: str = "", words: dict[str, str] | None = None) -> None:
        self._out.write(Said(number=ask.number, kind=kind, text=text, words=words or {}).model_dump_json() + "\n")
        self._out.flush()


def _request(ask: Ask) -> JudgeRequest:
    # An explanation reads the prompt alone, which was rendered from the row and its dimension.
    item = Item(0, 0, 0, "", "", "", "", None, "", SourceRef("", "", 1))
    dimension = Dimension("", {}, (), DimensionKind.ORDINAL, {}, "", needs_prompt=False)
    return JudgeRequest(item, dimension, (), RenderedPrompt(ask.system, ask.user, ""))


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer until the input is closed, or nobody asked for `--warm` seconds."""
    parser = argparse.ArgumentParser(prog="python -m webapp.explainer", description=__doc__)
    parser.add_argument("--warm", type=float, default=WARM_SECONDS, help="Seconds that a model stays loaded after its last answer.")
    options = parser.parse_args(arguments)
    settings = load_settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s explainer %(name)s: %(message)s")
    # Libraries print; the answers have an output of their own.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asks = Asks(sys.stdin)
    answering = Answering(settings, asks, out)
    with contextlib.suppress(BrokenPipeError):  # the server is gone
        while (ask := asks.next(options.warm)) is not None:
            answering.answer(ask)
    answering.close()
    return 0


if __name__ == "__main__":
    collect_rarely()
    sys.exit(main())
