"""Requests and judges for the tests of the server family."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.judging.registry import make_judge
from core.judging.server import ServerJudge
from core.ports import JudgeContext
from core.types import Dimension, DimensionKind, Item, JudgeRequest, JudgeSpec, RenderedPrompt, SourceRef, content_hash
from tests.judging.server.engines import FakeServer

FLUENCY = Dimension("fluency", {"zh": "流畅性"}, (1, 2, 3, 4, 5), DimensionKind.ORDINAL, {}, "fluency.v1", needs_prompt=False)
WIDE = Dimension("wide", {"zh": "十分制"}, tuple(range(11)), DimensionKind.ORDINAL, {}, "wide.v1", needs_prompt=False)


class NoEmbedder:
    """Judges behind a server look nothing up."""

    version = "none"

    def fit(self, texts: Any) -> None:
        """Learn nothing."""

    def embed(self, texts: Any) -> Any:
        """Return nothing of use."""
        return np.zeros((len(texts), 1), dtype=np.float32)


def request(text: str, number: int = 1, dimension: Dimension = FLUENCY, system: str = "你评定流畅性。") -> JudgeRequest:
    """Return a request as the run loop makes it."""
    item = Item(
        number, 1, number, str(number), dimension.id, "", text, None, content_hash(dimension.id, "", text), SourceRef("f", "", number)
    )
    user = f"文本：{text}\n评分："
    digest = hashlib.sha256((system + user).encode()).hexdigest()
    return JudgeRequest(item, dimension, (), RenderedPrompt(system, user, digest))


def requests_of(count: int) -> list[JudgeRequest]:
    """Return `count` requests with labels 5, 4, 3, 2, 1 in turn."""
    return [request(f"第{number}段，" + "错" * (number % 5), number) for number in range(1, count + 1)]


@pytest.fixture
def context(tmp_path: Path) -> JudgeContext:
    """A context as the engine makes it."""
    return JudgeContext((), "v", {"fluency": FLUENCY}, tmp_path / "cache", NoEmbedder())


Maker = Callable[..., ServerJudge]


@pytest.fixture
def judge_of(context: JudgeContext) -> Iterator[Maker]:
    """Make the judge of one or several fake servers through the registry; it is closed after the test."""
    with ExitStack() as stack:

        def make(*servers: FakeServer, **options: Any) -> ServerJudge:
            options = {
                "base_url": [server.url for server in servers],
                "engine": servers[0].engine,
                "model": servers[0].model,
                "timeout": 5,
                "deadline": 20,
                "concurrency": 4,
                **options,
            }
            judge = make_judge(JudgeSpec("glm", "GLM", "server", options), context)
            assert isinstance(judge, ServerJudge)
            return stack.enter_context(closing(judge))

        yield make
