"""Two runs side by side: rows are matched once for two sheets, and every page is cut from columns."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from core.desks import Compared, CompareQuery, CompareRow, Comparison, RunQuality
from core.estimates import absolute_errors, mean_with_interval
from core.types import Dimension, Item
from db.run_desk import NO_LABEL, SheetColumns, SheetKey, VerdictColumns
from db.store import SqlStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.float64]

KEPT_MATCHES = 6


@dataclass(frozen=True, slots=True)
class _Matched:
    """The rows that two sheets share: places in each, in the order of the first; `changed` of them have another text."""

    first: Ints
    second: Ints
    changed: int


@dataclass(frozen=True, slots=True)
class _Side:
    """One run's part of the matched rows."""

    item_ids: Ints
    labels: Ints
    expected: Floats
    people: Ints
    truth: Ints


class Matcher:
    """Matches the rows of two sheets, and remembers the latest pairs: items never change."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[int, int], _Matched] = OrderedDict()

    def knows(self, first: int, second: int) -> bool:
        """Return whether two sheets were matched lately."""
        with self._lock:
            return (first, second) in self._known

    def match(self, first: int, second: int) -> _Matched:
        """Return the rows that two sheets share."""
        with self._lock:
            if (first, second) in self._known:
                self._known.move_to_end((first, second))
                return self._known[first, second]
        columns = self._store.sheet_columns(first), self._store.sheet_columns(second)
        if first == second:
            places = np.arange(len(columns[0].item_ids))
            found = _Matched(places, places, 0)
        else:
            found = _match(*columns, self._store.sheet_keys(first), self._store.sheet_keys(second))
        with self._lock:
            self._known[first, second] = found
            while len(self._known) > KEPT_MATCHES:
                self._known.popitem(last=False)
        return found


def compare(
    store: SqlStore, matcher: Matcher, dimensions: Mapping[str, Dimension], first_id: int, second_id: int, query: CompareQuery
) -> Comparison:
    """Return two runs row by row (see RunDesk.compare). Raises NotFound."""
    runs = store.run(first_id), store.run(second_id)
    sheets = store.sheet_columns(runs[0].sheet_id), store.sheet_columns(runs[1].sheet_id)
    matched = matcher.match(runs[0].sheet_id, runs[1].sheet_id)
    first = _side(sheets[0], matched.first, store.verdict_columns(runs[0]), store.people_labels(runs[0].sheet_id))
    second = _side(sheets[1], matched.second, store.verdict_columns(runs[1]), store.people_labels(runs[1].sheet_id))
    names = np.array(sheets[0].dimensions)[matched.first] if len(matched.first) else np.array([], dtype=str)
    chosen = _chosen(names, first, second, query)
    size = max(1, query.page_size)
    start = max(0, query.page) * size
    return Comparison(
        *runs,
        matched=len(matched.first),
        changed=matched.changed,
        only_first=len(sheets[0].item_ids) - len(matched.first),
        only_second=len(sheets[1].item_ids) - len(matched.second),
        dimensions=tuple(
            _compared(dimension, names == key, first, second) for key, dimension in dimensions.items() if (names == key).any()
        ),
        rows=_rows(store, first, second, chosen[start : start + size]),
        total=len(chosen),
        page=query.page,
        page_size=size,
    )


def _match(first: SheetColumns, second: SheetColumns, mine: Sequence[SheetKey], theirs: Sequence[SheetKey]) -> _Matched:
    """Match rows by content, the same id first, then in order; what is left, by id and dimension where that is unique."""
    free: dict[str, list[int]] = defaultdict(list)
    by_id: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, key in enumerate(theirs):
        free[key.content_hash].append(place)
        by_id[key.external_id, second.dimensions[place]].append(place)
    pairs: dict[int, int] = {}
    for exact in (True, False):
        for place, key in enumerate(mine):
            if place in pairs:
                continue
            other = next(
                (other for other in free.get(key.content_hash, ()) if not exact or theirs[other].external_id == key.external_id), None
            )
            if other is not None:
                pairs[place] = other
                free[key.content_hash].remove(other)
    changed = _match_changed(pairs, [(key.external_id, first.dimensions[place]) for place, key in enumerate(mine)], by_id)
    order = sorted(pairs)
    return _Matched(np.array(order, dtype=np.int64), np.array([pairs[place] for place in order], dtype=np.int64), changed)


def _match_changed(pairs: dict[int, int], mine: Sequence[tuple[str, str]], by_id: Mapping[tuple[str, str], Sequence[int]]) -> int:
    """Add to `pairs` the rows whose text changed and whose id and dimension are unique in both sheets; return how many."""
    taken, count, changed = set(pairs.values()), Counter(mine), 0
    for place, key in enumerate(mine):
        others = by_id.get(key, ())
        if place not in pairs and count[key] == 1 and len(others) == 1 and others[0] not in taken:
            pairs[place] = others[0]
            changed += 1
    return changed


def _side(sheet: SheetColumns, places: Ints, verdicts: VerdictColumns, people: Mapping[int, int]) -> _Side:
    ids = sheet.item_ids[places]
    labels = np.full(len(ids), NO_LABEL, dtype=np.int64)
    expected = np.full(len(ids), np.nan)
    if len(verdicts.item_ids):
        where = np.minimum(np.searchsorted(verdicts.item_ids, ids), len(verdicts.item_ids) - 1)
        known = verdicts.item_ids[where] == ids
        labels[known], expected[known] = verdicts.labels[where[known]], verdicts.expected[where[known]]
    said = np.array([people.get(item_id, NO_LABEL) for item_id in ids.tolist()] if people else [NO_LABEL] * len(ids), dtype=np.int64)
    return _Side(ids, labels, expected, said, np.where(said != NO_LABEL, said, sheet.gold[places]))


def _chosen(names: NDArray[np.str_], first: _Side, second: _Side, query: CompareQuery) -> Ints:
    """Return the places of the rows to list: the widest differences first, a missing verdict before them; else in order."""
    kept = np.ones(len(first.item_ids), dtype=np.bool_)
    if query.dimension_id:
        kept &= names == query.dimension_id
    if query.first is not None:
        kept &= first.labels == query.first
    if query.second is not None:
        kept &= second.labels == query.second
    apart = np.abs(first.labels - second.labels)
    if not query.only_different:
        return np.flatnonzero(kept)
    places = np.flatnonzero(kept & (apart != 0))
    return places[np.lexsort((places, -apart[places]))]


def _compared(dimension: Dimension, mine: NDArray[np.bool_], first: _Side, second: _Side) -> Compared:
    one, two = first.labels[mine], second.labels[mine]
    labels = dimension.labels
    matrix = tuple(tuple(int(((one == a) & (two == b)).sum()) for b in labels) for a in labels)
    both = (one != NO_LABEL) & (two != NO_LABEL)
    truth = np.where(first.truth[mine] != NO_LABEL, first.truth[mine], second.truth[mine])
    return Compared(
        dimension.id,
        labels,
        matrix,
        int(both.sum()),
        int((one[both] == two[both]).sum()),
        float((two[both] - one[both]).mean()) if both.any() else None,
        _quality(one, truth),
        _quality(two, truth),
    )


def _quality(labels: Ints, truth: Ints) -> RunQuality:
    known = (labels != NO_LABEL) & (truth != NO_LABEL)
    n = int(known.sum())
    if n == 0:
        return RunQuality(0, None, None)
    pairs = Counter(zip(labels[known].tolist(), truth[known].tolist(), strict=True))
    exact = sum(count for (label, true), count in pairs.items() if label == true) / n
    return RunQuality(n, exact, mean_with_interval(absolute_errors(dict(pairs))))


def _rows(store: SqlStore, first: _Side, second: _Side, places: Ints) -> tuple[CompareRow, ...]:
    items = store.items_by_id([*first.item_ids[places].tolist(), *second.item_ids[places].tolist()])
    return tuple(
        _row(first, second, place, items[int(first.item_ids[place])], items[int(second.item_ids[place])]) for place in places.tolist()
    )


def _row(first: _Side, second: _Side, place: int, one: Item, two: Item) -> CompareRow:
    said = first.people[place] if first.people[place] != NO_LABEL else second.people[place]
    return CompareRow(
        one,
        two,
        _label(first.labels[place]),
        _label(second.labels[place]),
        _real(first.expected[place]),
        _real(second.expected[place]),
        _label(said),
    )


def _label(value: np.int64) -> int | None:
    return None if value == NO_LABEL else int(value)


def _real(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
