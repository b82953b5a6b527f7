"""The judge that asks the neighbours: the labelled texts most like this one in topic and in the way they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.cores import one_core
from core.judging.cache import LearnedCache
from core.judging.kinship import kinship
from core.judging.panel_judge import CHOICE, Abstention, Answer, PanelJudge, distribution, labelled, too_few, unknown_dimension
from core.judging.profile import profile, style_matrix
from core.ports import Embedder, JudgeContext
from core.types import Dimension, DimensionKind, JudgeRequest, JudgeSpec, LabelledItem

_NEIGHBOURS = 60
_TOPIC_WEIGHT, _STYLE_WEIGHT, _CLIP = 1.5, 0.5, 3.0
_PRIOR_WEIGHT = 5.0
_SCALE = 1024.0
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The labelled items of one dimension as points (items, width) of whole numbers, so that distances are exact.

    `hashes` are the items' content hashes, `places` the places of their texts in the library's families.
    """

    points: NDArray[np.float64]
    norms: NDArray[np.float64]
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    labels: NDArray[np.int64]
    scale: tuple[int, ...]
    hashes: tuple[str, ...]
    names: tuple[str, ...]
    places: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Return the share of each label among the items."""
        counts = np.array([np.count_nonzero(self.labels == label) for label in self.scale], dtype=np.float64)
        return np.asarray((counts + 0.5) / (counts + 0.5).sum(), dtype=np.float64)


class NeighboursJudge(PanelJudge):
    """Lets the nearest labelled items vote, nearer ones more, never the row itself nor a near-duplicate of it."""

    def __init__(self, spec: JudgeSpec, context: JudgeContext) -> None:
        super().__init__(spec)
        self._embedder = context.embedder
        self._kin = kinship([item.text for item in context.library])
        dimensions = [one for one in context.dimensions.values() if one.id != CHOICE]
        examples = {one.id: labelled(context.library, one) for one in dimensions}
        self._reasons = {one.id: too_few(examples[one.id], one) for one in dimensions}
        usable = [one for one in dimensions if self._reasons[one.id] is None]
        self._known: Mapping[str, Neighbourhood] = {}
        if usable:
            key = ";".join([context.embedder.version, *sorted(f"{one.id}:{one.labels}" for one in usable)])
            cache = LearnedCache(context.cache_dir, context.library_version)
            self._known = cache.get("neighbours", lambda: {one.id: self._settle(examples[one.id], one) for one in usable}, key)

    def refusal(self, request: JudgeRequest) -> Answer | Abstention | None:
        """Abstain from 选择题 rows; other nominal labels can be voted on by neighbours."""
        if request.dimension.kind is DimensionKind.NOMINAL and request.dimension.id != CHOICE and request.item.text.strip():
            return None
        return super().refusal(request)

    def answer(self, requests: Sequence[JudgeRequest]) -> list[Answer | Abstention]:
        """Return one answer per request."""
        answers: list[Answer | Abstention] = [self._abstain(request.dimension) for request in requests]
        for dimension_id, known in self._known.items():
            rows = [row for row, request in enumerate(requests) if request.dimension.id == dimension_id]
            if rows:
                found = self._vote([requests[row] for row in rows], known)
                for row, answer in zip(rows, found, strict=True):
                    answers[row] = answer
        return answers

    def _abstain(self, dimension: Dimension) -> Abstention:
        return Abstention(self._reasons.get(dimension.id) or unknown_dimension(dimension))

    def _settle(self, examples: Sequence[LabelledItem], dimension: Dimension) -> Neighbourhood:
        style = style_matrix([profile(example.text, example.prompt) for example in examples])
        labels = np.array([example.label for example in examples], dtype=np.int64)
        centre = style.mean(axis=0)
        # A trait counts by how much it goes with the labels, so that traits which say nothing do not blur what is near.
        weight = _relevance(style, labels)
        spread_ = np.maximum(style.std(axis=0), 1e-6) / np.maximum(weight, 1e-3)
        points = _points(self._embedder, [example.text for example in examples], style, centre, spread_)
        return Neighbourhood(
            points,
            (points * points).sum(axis=1),
            centre,
            spread_,
            labels,
            tuple(sorted(dimension.labels)),
            tuple(example.content_hash for example in examples),
            tuple(example.external_id for example in examples),
            np.array([self._kin.place[example.text] for example in examples], dtype=np.int64),
        )

    def _vote(self, requests: Sequence[JudgeRequest], known: Neighbourhood) -> list[Answer]:
        texts = [request.item.text for request in requests]
        style = style_matrix([profile(request.item.text, request.item.prompt) for request in requests])
        points = _points(self._embedder, texts, style, known.centre, known.spread)
        # Whole numbers far below 2**53: the product is exact, so neither the batch nor the threads can change it.
        with one_core():
            products = points @ known.points.T
        distances = (points * points).sum(axis=1)[:, None] + known.norms[None, :] - 2.0 * products
        relatives = self._kin.of(texts)
        answers = []
        for request, row, family in zip(requests, distances, relatives, strict=True):
            kept = ~np.isin(known.places, family)
            kept &= np.array([one != request.item.content_hash for one in known.hashes]) if family else True
            answers.append(_answer(known, row, np.flatnonzero(kept)))
        return answers


def _relevance(style: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the absolute rank correlation of each trait with the labels, shape (width,), scaled to a mean square of 1."""
    from scipy.stats import rankdata

    ranks, target = rankdata(style, axis=0), rankdata(labels)
    ranks -= ranks.mean(axis=0)
    target = target - target.mean()
    scale = np.sqrt((ranks**2).sum(axis=0) * (target**2).sum())
    found = np.abs((ranks * target[:, None]).sum(axis=0)) / np.maximum(scale, 1e-9)
    return np.asarray(found / max(float(np.sqrt((found**2).mean())), 1e-9), dtype=np.float64)


def _points(
    embedder: Embedder, texts: Sequence[str], style: NDArray[np.float64], centre: NDArray[np.float64], spread_: NDArray[np.float64]
) -> NDArray[np.float64]:
    topic = embedder.embed(texts).astype(np.float64) * _TOPIC_WEIGHT
    written = np.clip((style - centre) / spread_, -_CLIP, _CLIP) * _STYLE_WEIGHT
    return np.rint(np.concatenate([topic, written], axis=1) * _SCALE)


def _answer(known: Neighbourhood, distances: NDArray[np.float64], kept: NDArray[np.int64]) -> Answer:
    order = kept[np.argsort(distances[kept], kind="stable")[:_NEIGHBOURS]]
    near = distances[order]
    width = max(float(near[-1]), 1.0) if len(near) else 1.0
    weights = np.exp(-0.5 * near / width)
    votes = np.array([weights[known.labels[order] == label].sum() for label in known.scale])
    shares = known.shares
    mixed = (votes + _PRIOR_WEIGHT * shares) / (votes.sum() + _PRIOR_WEIGHT)
    given = distribution(known.scale, mixed.tolist())
    shown = [
        {"id": known.names[place], "label": int(known.labels[place]), "weight": round(weight, 2)}
        for place, weight in zip(order[:_SHOWN].tolist(), weights[:_SHOWN].tolist(), strict=False)
    ]
    labels = [int(label) for label in known.labels[order]]
    best = max(known.scale, key=lambda label: labels.count(label))
    number, same, mean = len(order), labels.count(best), float(np.mean(labels)) if labels else 0.0
    rationale = {
        "zh": f"最相近的 {number} 条示例里，{same} 条是 {best} 分，平均 {mean:.1f} 分。",
        "en": f"Of the {number} nearest examples, {same} have the label {best}; the mean is {mean:.1f}.",
    }
    return Answer(given, {"neighbours": number, "nearest": shown}, rationale)


def make_neighbours(spec: JudgeSpec, context: JudgeContext) -> NeighboursJudge:
    """Return the `neighbours` judge, learned from the library or read from its cache."""
    return NeighboursJudge(spec, context)
