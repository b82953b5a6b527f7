"""Judges that read texts into numbers and grade the numbers with a small model learned from the library."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.judging.cache import LearnedCache
from core.judging.honest import HonestModel, fit_honest
from core.judging.kinship import kinship
from core.judging.light import import_sklearn
from core.judging.panel_judge import Abstention, Answer, PanelJudge, distribution, labelled, too_few, unknown_dimension
from core.ports import JudgeContext
from core.types import DimensionKind, JudgeRequest, JudgeSpec, LabelledItem, LocalText

Knowledge = TypeVar("Knowledge")


@dataclass(frozen=True, slots=True)
class Row:
    """A text to read: `relatives` are the library places of its near-duplicates, `half` where they stand (see Kinship)."""

    text: str
    prompt: str
    relatives: Sequence[int]
    half: int


@dataclass(frozen=True, slots=True)
class Note:
    """What a judge saw in a text: as facts without language, and as a sentence for people."""

    facts: Mapping[str, object]
    rationale: LocalText


@dataclass(frozen=True, slots=True)
class Reading:
    """What a judge saw in some rows: `features` (rows, width), one note per row."""

    features: NDArray[np.float64]
    notes: Sequence[Note]


@dataclass(frozen=True, slots=True)
class _Learned(Generic[Knowledge]):
    knowledge: Knowledge
    models: Mapping[str, HonestModel]


class LearnedJudge(PanelJudge, Generic[Knowledge]):
    """A judge whose knowledge of the library's language and models of its labels are learned once and cached."""

    family: str

    def __init__(self, spec: JudgeSpec, context: JudgeContext) -> None:
        super().__init__(spec)
        graded = [one for one in context.dimensions.values() if one.kind is DimensionKind.ORDINAL]
        self._examples = {one.id: labelled(context.library, one) for one in graded}
        self._reasons = {one.id: too_few(self._examples[one.id], one) for one in graded}
        self._models: Mapping[str, HonestModel] = {}
        self.kin = kinship([item.text for item in context.library])
        if any(reason is None for reason in self._reasons.values()):
            import_sklearn()
            key = ";".join(f"{one.id}:{one.labels}" for one in sorted(graded, key=lambda one: one.id))
            cache = LearnedCache(context.cache_dir, context.library_version)
            learned = cache.get(self.family, lambda: self._learn(context), key)
            self.prepare(learned.knowledge)
            self._models = learned.models
        self._examples = {}

    @abstractmethod
    def acquire(self) -> Knowledge:
        """Return what is learned of the texts in `self.kin`, without labels; must survive pickling."""

    @abstractmethod
    def prepare(self, knowledge: Knowledge) -> None:
        """Make ready to read with `knowledge`."""

    @abstractmethod
    def read(self, rows: Sequence[Row]) -> Reading:
        """Return what the judge sees in `rows`; a row's part is bit-equal whatever rows stand beside it."""

    def unlearned(self, request: JudgeRequest) -> Answer | Abstention:
        """Return the answer in a dimension that nothing was learned of."""
        return Abstention(self._reasons.get(request.dimension.id) or unknown_dimension(request.dimension))

    def answer(self, requests: Sequence[JudgeRequest]) -> list[Answer | Abstention]:
        """Return one answer per request."""
        places = [place for place, request in enumerate(requests) if request.dimension.id in self._models]
        rows = self._rows([(requests[place].item.text, requests[place].item.prompt) for place in places])
        graded: dict[int, Answer] = {}
        if rows:
            reading = self.read(rows)
            grades = self._grades([requests[place].dimension.id for place in places], rows, reading)
            for place, grade, note in zip(places, grades, reading.notes, strict=True):
                graded[place] = Answer(grade, note.facts, note.rationale)
        return [graded[place] if place in graded else self.unlearned(request) for place, request in enumerate(requests)]

    def _grades(self, dimension_ids: Sequence[str], rows: Sequence[Row], reading: Reading) -> list[dict[int, float]]:
        grades: list[dict[int, float]] = [{} for _ in rows]
        for dimension_id in sorted(set(dimension_ids)):
            model = self._models[dimension_id]
            numbers = [number for number, one in enumerate(dimension_ids) if one == dimension_id]
            found = model.predict(reading.features[numbers], [rows[number].half for number in numbers])
            for number, values in zip(numbers, found.tolist(), strict=True):
                grades[number] = distribution(model.full.labels, values)
        return grades

    def _rows(self, texts: Sequence[tuple[str, str]]) -> list[Row]:
        relatives = self.kin.of([text for text, _ in texts])
        return [Row(text, prompt, family, self.kin.half(family)) for (text, prompt), family in zip(texts, relatives, strict=True)]

    def _learn(self, context: JudgeContext) -> _Learned[Knowledge]:
        knowledge = self.acquire()
        self.prepare(knowledge)
        models = {}
        for dimension_id, examples in self._examples.items():
            if self._reasons[dimension_id] is None:
                models[dimension_id] = self._model(examples, context.dimensions[dimension_id].labels)
        return _Learned(knowledge, models)

    def _model(self, examples: Sequence[LabelledItem], scale: Sequence[int]) -> HonestModel:
        rows = self._rows([(example.text, example.prompt) for example in examples])
        parts = [self.read(rows[start : start + _BATCH]).features for start in range(0, len(rows), _BATCH)]
        halves = np.array([row.half for row in rows], dtype=np.int64)
        labels = np.array([example.label for example in examples], dtype=np.int64)
        return fit_honest(np.concatenate(parts), labels, halves, scale)


_BATCH = 512
