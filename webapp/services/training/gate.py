"""Reads what was measured and asks the gate: figures of a candidate, its drift from the stage before, its report against a judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core import gate
from core.errors import JobError
from core.judging.aggregation import expectation
from core.training import Comparison, GateVerdict, Prediction, Quality, Snapshot, Split, TrainingRow
from core.types import Dimension, LocalText
from training.evaluate import read_predictions
from training.rows import read_rows
from webapp.services.training.views import RowChange, StageDrift

# Rows that are shown of each kind, and files that are kept in memory.
ROWS_SHOWN = 20
_KEPT = 32
OVERALL = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """A judge's predictions on a snapshot's held-out rows, in the snapshot's order."""

    snapshot: Snapshot
    predictions: Sequence[Prediction]

    def of(self, dimension_id: str) -> list[Prediction]:
        """Return the predictions of one dimension."""
        return [prediction for prediction in self.predictions if prediction.dimension_id == dimension_id]


class GateKeeper:
    """Compares measured judges; what was read and computed is kept, since files of done jobs do not change."""

    def __init__(self, dimensions: Mapping[str, Dimension]) -> None:
        self._dimensions = dimensions
        self._qualities = lru_cache(maxsize=256)(self._quality)
        self._drifts = lru_cache(maxsize=256)(self._drift)
        self._comparisons = lru_cache(maxsize=256)(self._compare)

    def quality(self, snapshot: Snapshot, predictions: Path) -> Mapping[str, Quality]:
        """Return the figures by dimension, and over all of them under "" where there are several. Raises JobError."""
        return self._qualities(_Key(snapshot), predictions, _stamp(predictions))

    def drift(self, snapshot: Snapshot, old: Path, new: Path, previous_id: int) -> Mapping[str, StageDrift]:
        """Return how far the answers moved, by dimension. Raises JobError."""
        found = self._drifts(_Key(snapshot), old, _stamp(old), new, _stamp(new))
        return {name: StageDrift(previous_id, *values) for name, values in found.items()}

    def compare(self, snapshot: Snapshot, old: Path, new: Path, *, spare_silent: bool = False) -> tuple[Comparison, Sequence[Comparison]]:
        """Return the overall comparison and that of each dimension; `spare_silent` leaves out those that the new judge never answers.

        Raises JobError.
        """
        return self._comparisons(_Key(snapshot), old, _stamp(old), new, _stamp(new), spare_silent=spare_silent)

    def changes(self, snapshot: Snapshot, old: Path, new: Path, shown: int = ROWS_SHOWN) -> tuple[list[RowChange], list[RowChange]]:
        """Return the rows where the new judge gains most and those where it loses most, with their texts."""
        fallback = {name: self._fallback(snapshot, self._dimension(name)) for name in _dimension_ids(snapshot)}
        found = [
            change
            for row, before, after in zip(_rows(_Key(snapshot)), _read(old, _stamp(old)), _read(new, _stamp(new)), strict=True)
            if (change := _change(row, before, after, self._dimension(row.dimension_id), fallback[row.dimension_id])) is not None
        ]
        ordered = sorted(found, key=lambda change: (-change.gain, -abs(_moved(change)), change.hash))
        better = [change for change in ordered if change.gain > 0][:shown]
        worse = [change for change in reversed(ordered) if change.gain < 0][:shown]
        return better, worse

    def _quality(self, key: _Key, path: Path, stamp: int) -> Mapping[str, Quality]:
        measured = self._measured(key.snapshot, path, stamp)
        pairs = self._pairs(measured, measured)
        found = {pair.dimension.id: gate.quality(pair.new, pair.dimension, pair.fallback) for pair in pairs}
        if len(found) > 1:
            found[OVERALL] = gate.overall_quality([(pair.dimension, found[pair.dimension.id]) for pair in pairs])
        return found

    def _drift(self, key: _Key, old: Path, old_stamp: int, new: Path, new_stamp: int) -> Mapping[str, tuple[float, float, float]]:
        found = {}
        for pair in self._pairs(self._measured(key.snapshot, old, old_stamp), self._measured(key.snapshot, new, new_stamp)):
            before, after = (gate.quality(side, pair.dimension, pair.fallback).mae for side in (pair.old, pair.new))
            found[pair.dimension.id] = (*gate.moved(pair.old, pair.new), after - before)
        return found

    def _compare(
        self, key: _Key, old: Path, old_stamp: int, new: Path, new_stamp: int, *, spare_silent: bool
    ) -> tuple[Comparison, Sequence[Comparison]]:
        pairs = self._pairs(self._measured(key.snapshot, old, old_stamp), self._measured(key.snapshot, new, new_stamp))
        if spare_silent:
            pairs = [pair for pair in pairs if any(gate.answered(prediction) for prediction in pair.new)] or pairs
        return gate.compare_all(pairs, {row.hash: row.family for row in _rows(key)})

    def _measured(self, snapshot: Snapshot, path: Path, stamp: int) -> Measured:
        predictions = _read(path, stamp)
        if [prediction.hash for prediction in predictions] != [row.hash for row in _rows(_Key(snapshot))]:
            raise JobError(
                f"{path} does not have the held-out rows of the snapshot {snapshot.name}; measure the judge again.",
                zh=f"{path} 与训练集「{snapshot.name}」的留出行不一致，请重新测评。",
            )
        return Measured(snapshot, predictions)

    def _pairs(self, old: Measured, new: Measured) -> list[gate.Pair]:
        found = []
        for name in _dimension_ids(new.snapshot):
            dimension = self._dimension(name)
            if new.of(name):
                found.append(gate.Pair(dimension, old.of(name), new.of(name), self._fallback(new.snapshot, dimension)))
        return found

    def _fallback(self, snapshot: Snapshot, dimension: Dimension) -> int:
        return gate.constant(snapshot.counts.get(dimension.id, {}).get(Split.TRAIN, {}), dimension)

    def _dimension(self, name: str) -> Dimension:
        if name not in self._dimensions:
            raise JobError(f"There is no dimension {name!r} any more; put its file back.", zh=f"维度「{name}」已不存在，请恢复其文件。")
        return self._dimensions[name]


class _Key:
    """A snapshot as a key of caches: its rows are named by its folder and hash."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._key = (snapshot.folder, snapshot.held_out_sha256, snapshot.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(maxsize=_KEPT)
def _rows(key: _Key) -> Sequence[TrainingRow]:
    return tuple(read_rows(key.snapshot.folder, Split.HELD_OUT))


@lru_cache(maxsize=_KEPT)
def _read(path: Path, stamp: int) -> Sequence[Prediction]:  # noqa: ARG001
    return tuple(read_predictions(path))


def _stamp(path: Path) -> int:
    """Return when a file was last written. Raises JobError when it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise JobError(f"{path} is gone; measure the judge again.", zh=f"{path} 已不存在，请重新测评。") from error


def _dimension_ids(snapshot: Snapshot) -> list[str]:
    return list(dict.fromkeys(row.dimension_id for row in _rows(_Key(snapshot))))


def _change(row: TrainingRow, before: Prediction, after: Prediction, dimension: Dimension, fallback: int) -> RowChange | None:
    """Return what changed on a row, None where both judges cost the same."""
    old, new = gate.point(before, dimension), gate.point(after, dimension)
    costs = [gate.loss(row.label, fallback if label is None else label, dimension) for label in (old, new)]
    if costs[0] == costs[1]:
        return None
    return RowChange(
        hash=row.hash,
        external_id=row.external_id,
        dimension_id=row.dimension_id,
        item_prompt=row.item_prompt,
        text=row.text,
        gold=row.label,
        old=old,
        new=new,
        old_expected=expectation(before.probabilities) if before.probabilities else None,
        new_expected=expectation(after.probabilities) if after.probabilities else None,
        gain=costs[0] - costs[1],
    )


def _moved(change: RowChange) -> float:
    if change.old_expected is None or change.new_expected is None:
        return 0.0
    return change.new_expected - change.old_expected


def verdict_words(overall: Comparison, each: Sequence[Comparison], name: Callable[[str, str], str]) -> LocalText:
    """Return the verdict with its interval in words; `name` gives a dimension's name in a language."""
    percent = f"{100 * overall.confidence:g}%"
    interval = f"{overall.low:+.3f} … {overall.high:+.3f}"
    maes = f"{overall.old.mae:.3f} → {overall.new.mae:.3f}"
    fallen = [one for one in each if one.dimension_id and one.verdict is GateVerdict.WORSE]
    words = {
        GateVerdict.BETTER: ("Better", "更好"),
        GateVerdict.WORSE: ("Worse", "更差"),
        GateVerdict.UNPROVEN: ("Not proven", "尚无定论"),
    }[overall.verdict]
    return {
        "en": f"{words[0]}: MAE {maes}, gain {overall.gain:+.3f}, {percent} interval {interval} over {overall.new.rows} held-out rows"
        f"{_named(fallen, 'en', '; worse on ', ', ', name)}.",
        "zh": f"{words[1]}：MAE {maes}，改进 {overall.gain:+.3f}，{percent} 区间 {interval}，共 {overall.new.rows} 条留出行"
        f"{_named(fallen, 'zh', '；退步的维度：', '、', name)}。",
    }


def _named(fallen: Iterable[Comparison], language: str, lead: str, comma: str, name: Callable[[str, str], str]) -> str:
    listed = comma.join(name(one.dimension_id, language) for one in fallen)
    return f"{lead}{listed}" if listed else ""
