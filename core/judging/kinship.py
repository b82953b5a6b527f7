"""Which library texts are near-duplicates of a text, so that no judge answers from a copy of the row itself."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from core.retrieval.families import FamilyIndex

_LOCK = threading.Lock()
_SHARED: dict[str, Kinship] = {}
_KEPT = 2
_MOST_RELATIVES = 64


class Kinship:
    """The near-duplicate families of the library's texts.

    `texts` are the library's distinct texts in ascending order, `halves` (texts,) says in which of two halves each
    stands; a family is never split.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        from core.retrieval.families import FamilyIndex

        self.texts: list[str] = sorted({text for text in texts if text.strip()})
        self.place = {text: place for place, text in enumerate(self.texts)}
        self._index: FamilyIndex = FamilyIndex(self.texts)
        self._memo: tuple[tuple[str, ...], list[frozenset[int]]] = ((), [])
        self.relatives = self._matches(self.texts)
        self.halves = _halves(self.relatives)

    def of(self, texts: Sequence[str]) -> list[list[int]]:
        """Return for each text the places of its relatives in the library, the text itself included, ascending.

        A relative of a relative counts: what a judge must not have seen is the whole family. Of a family of hundreds
        the first few dozen are returned.
        """
        result = []
        for text, direct in zip(texts, self._matches(texts), strict=True):
            family = set(direct)
            if text in self.place:
                family.add(self.place[text])
            for place in sorted(family)[:_MOST_RELATIVES]:
                family |= self.relatives[place]
            result.append(self._nearest(text, family))
        return result

    def _nearest(self, text: str, family: set[int]) -> list[int]:
        """Return at most `_MOST_RELATIVES` places, the text's own first, so that one huge family costs no more than others."""
        own = [self.place[text]] if text in self.place else []
        return sorted((own + sorted(family - set(own)))[:_MOST_RELATIVES])

    def half(self, relatives: Sequence[int]) -> int:
        """Return the half that a text's relatives stand in: 0, 1, -1 for none, 2 where they stand in both."""
        halves = {int(self.halves[place]) for place in relatives}
        if not halves:
            return -1
        return halves.pop() if len(halves) == 1 else 2

    def _matches(self, texts: Sequence[str]) -> list[frozenset[int]]:
        # The judges of a panel ask about the same rows one after the other.
        asked = tuple(texts)
        kept, answer = self._memo
        if kept != asked:
            answer = self._index.matches(asked)
            self._memo = (asked, answer)
        return answer


def kinship(texts: Sequence[str]) -> Kinship:
    """Return the families of a library's texts, shared by the judges of a process."""
    digest = hashlib.sha256()
    for text in sorted(set(texts)):
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    key = digest.hexdigest()
    with _LOCK:
        found = _SHARED.get(key)
        if found is None:
            found = Kinship(texts)
            while len(_SHARED) >= _KEPT:
                _SHARED.pop(next(iter(_SHARED)))
            _SHARED[key] = found
        return found


def _halves(relatives: Sequence[frozenset[int]]) -> NDArray[np.int64]:
    """Return a half for each text: families in order, each to the half that is smaller so far."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    size = len(relatives)
    pairs = [(place, other) for place, family in enumerate(relatives) for other in family if other != place]
    rows = np.array([pair[0] for pair in pairs], dtype=np.int64)
    columns = np.array([pair[1] for pair in pairs], dtype=np.int64)
    graph = csr_matrix((np.ones(len(pairs), dtype=np.int8), (rows, columns)), shape=(size, size))
    _, family = connected_components(graph, directed=False)
    sizes = np.bincount(family, minlength=1)
    chosen, filled = np.zeros(len(sizes), dtype=np.int64), [0, 0]
    for number in range(len(sizes)):
        smaller = int(filled[1] < filled[0])
        chosen[number] = smaller
        filled[smaller] += int(sizes[number])
    return chosen[family] if size else np.zeros(0, dtype=np.int64)
