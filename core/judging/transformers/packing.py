"""Which rows go through the model together, and which beginning they share: pure functions over lengths and token ids."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

Ids = tuple[int, ...]


def plan_packs(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return packs of indices whose lengths sum to at most `budget` tokens each, filled about equally.

    Longest rows first, each to the emptiest pack (LPT scheduling), so that no small pack is left for last. A row that
    is longer than the budget stands alone. Every index occurs exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    alone = [[index] for index in order if lengths[index] > budget]
    rest = order[len(alone) :]
    if not rest:
        return alone
    packs: list[list[int]] = [[] for _ in range(-(-sum(lengths[index] for index in rest) // budget))]
    heap = [(0, number) for number in range(len(packs))]
    for index in rest:
        filled, number = heap[0]
        if filled + lengths[index] > budget:
            number = len(packs)
            packs.append([index])
            heapq.heappush(heap, (lengths[index], number))
        else:
            packs[number].append(index)
            heapq.heapreplace(heap, (filled + lengths[index], number))
    return alone + packs


def split_pack(pack: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return two halves of a pack of at least two rows, long and short rows spread over both."""
    return list(pack[0::2]), list(pack[1::2])


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """Rows that begin with the same `prefix` ids (empty: they share nothing worth keeping)."""

    prefix: Ids
    rows: tuple[int, ...]


def group_by_prefix(rows: Sequence[Sequence[int]], known: Sequence[Ids], shortest: int) -> list[PrefixGroup]:
    """Split rows by the beginning that they share.

    Rows that begin with one of the `known` prefixes (already computed) use the longest such; the others share their
    longest common beginning where two or more have one of at least `shortest` tokens. At least one token of a row
    always stays outside its prefix.
    """
    groups: dict[Ids, list[int]] = {}
    unmatched: list[int] = []
    by_length = sorted(known, key=len, reverse=True)
    for index, row in enumerate(rows):
        match = next((prefix for prefix in by_length if len(prefix) < len(row) and tuple(row[: len(prefix)]) == prefix), None)
        if match is None:
            unmatched.append(index)
        else:
            groups.setdefault(match, []).append(index)
    if unmatched:
        groups.setdefault(_common_beginning([rows[index] for index in unmatched], shortest), []).extend(unmatched)
    return [PrefixGroup(prefix, tuple(members)) for prefix, members in groups.items()]


def _common_beginning(rows: Sequence[Sequence[int]], shortest: int) -> Ids:
    if len(rows) < 2:
        return ()
    # What the first and the last in order share, all between them share.
    ordered = [tuple(row) for row in rows]
    first, last = min(ordered), max(ordered)
    shared = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    length = min(shared, min(len(row) for row in rows) - 1)
    return first[:length] if length >= shortest else ()
