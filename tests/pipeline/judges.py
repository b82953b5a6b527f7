"""Small judges, retriever and aggregator for the run loop: deterministic, and blind to the batch."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.types import Decision, Dimension, Example, Item, Judgement, JudgementStatus, JudgeRequest, LabelledItem, Outcome, RenderedPrompt


def chance(*parts: object) -> float:
    """Return a number in [0, 1) that depends on `parts` alone."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def answer(judge_id: str, request: JudgeRequest) -> Judgement:
    """Return the judgement that a judge gives on an item, its examples and prompt."""
    shown = [(example.item.external_id, example.similarity) for example in request.examples]
    prompt = "" if request.prompt is None else request.prompt.sha256
    if chance(judge_id, request.item.external_id, "abstain") < 0.1:
        return Judgement(
            judge_id, request.item.id, JudgementStatus.ABSTAINED, prompt_sha256=prompt, error={"zh": "太短", "en": "too short"}
        )
    weights = {label: 0.05 + chance(judge_id, request.item.external_id, shown, prompt, label) for label in request.dimension.labels}
    shares = {label: weight / sum(weights.values()) for label, weight in weights.items()}
    label = max(shares, key=lambda label: shares[label])
    return Judgement(judge_id, request.item.id, JudgementStatus.OK, shares, label, f"{label}分", {"zh": "好", "en": "ok"}, prompt, 1.0, 3)


@dataclass
class SmallJudge:
    """A judge with a pace, which writes a line for every item it answers."""

    id: str
    reads_prompts: bool = False
    pause: float = 0.0
    log: Path | None = None
    before: Callable[[JudgeRequest], None] | None = None
    batches: list[list[int]] = field(default_factory=list)
    closed: bool = False

    def judge(self, requests: Sequence[JudgeRequest]) -> Iterator[Judgement]:
        """Answer in order."""
        self.batches.append([request.item.id for request in requests])
        for request in requests:
            if self.before is not None:
                self.before(request)
            time.sleep(self.pause)
            if self.log is not None:
                write_line(self.log, f"{self.id} {request.item.id}")
            yield answer(self.id, request)

    def close(self) -> None:
        """Remember that the judge was closed."""
        self.closed = True


def write_line(log: Path, line: str) -> None:
    """Append a line so that neither a kill nor another process can tear it."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


class SmallRetriever:
    """Shows three items of the library, chosen by the row."""

    index_version = "small-1"

    def __init__(self, library: Sequence[LabelledItem]) -> None:
        self._library = library
        self.asked: list[int] = []

    def search(self, items: Sequence[Item], limit: int) -> list[tuple[Example, ...]]:
        """Return examples for each item."""
        self.asked += [item.id for item in items]
        return [self._shown(item, min(limit, 3)) for item in items]

    def _shown(self, item: Item, limit: int) -> tuple[Example, ...]:
        order = sorted(self._library, key=lambda labelled: chance(item.external_id, labelled.external_id))
        return tuple(Example(labelled, 1 / (rank + 3), rank, self.index_version) for rank, labelled in enumerate(order[:limit]))


class SmallPrompts:
    """Renders a prompt of the text and the examples' labels."""

    def __init__(self) -> None:
        self.rendered: list[int] = []

    def render(self, item: Item, examples: Sequence[Example]) -> RenderedPrompt:
        """Return the prompt."""
        self.rendered.append(item.id)
        user = f"{item.text}\n{[example.item.label for example in examples]}"
        return RenderedPrompt("judge", user, hashlib.sha256(user.encode()).hexdigest())


class Mean:
    """Decides for the label nearest to the mean of the OK votes."""

    def __init__(self, id: str = "mean") -> None:
        self.id = id

    def __call__(self, judgements: Sequence[Judgement], dimension: Dimension, lead: str) -> Decision:
        """Return the decision."""
        votes = sorted(judgement.label for judgement in judgements if judgement.label is not None)
        if not votes:
            return Decision(None, None, {}, Outcome.NO_QUORUM, 0.0, "no_votes")
        mean = sum(votes) / len(votes) if self.id == "mean" else float(votes[len(votes) // 2])
        label = min(dimension.labels, key=lambda label: (abs(label - mean), label))
        outcome = Outcome.UNANIMOUS if len(set(votes)) == 1 else Outcome.MAJORITY
        return Decision(label, mean, {label: 1.0}, outcome, (max(votes) - min(votes)) / 4, self.id)
