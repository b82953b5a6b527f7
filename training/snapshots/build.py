"""Which labelled rows a snapshot takes, and on which side each stands. Pure: the same rows and seed give the same plan.

What is true of a content is decided first (what people said of it counts more than a library's label), then the filter is
applied, so that a row is never trained with a label that somebody has corrected. Rows of one near-duplicate family, of
whatever dimension and prompt, stand on one side.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from core.errors import JobError
from core.retrieval.families import FamilyIndex, family_groups
from core.retrieval.select import passages_of
from core.review import ReviewState
from core.training import LabelledRow, SnapshotFilter, Split, TrainingRow
from core.types import Dimension, LabelledItem, LocalText

Counts = Mapping[str, Mapping[Split, Mapping[int, int]]]


class LeftOut(StrEnum):
    """Why a row that the filter takes is not in the snapshot."""

    UNKNOWN_DIMENSION = "unknown_dimension"
    OFF_SCALE = "off_scale"
    DISPUTED = "disputed"
    LABELS_DIFFER = "labels_differ"
    HELD_OUT_LABEL = "held_out_label"
    HELD_OUT_FAMILY = "held_out_family"
    BALANCE = "balance"

    @property
    def words(self) -> LocalText:
        """Return the reason as a sentence, with the remedy where there is one."""
        return _WORDS[self]


_WORDS: Mapping[LeftOut, LocalText] = {
    LeftOut.UNKNOWN_DIMENSION: {
        "zh": "评判维度的文件已不存在，无法生成提示词；请恢复该文件。",
        "en": "Their dimension has no file any more, so they have no prompt; put the file back.",
    },
    LeftOut.OFF_SCALE: {
        "zh": "标签不在该维度的取值范围内；请在示例库中改正。",
        "en": "Their label is not on the dimension's scale; correct it in the library.",
    },
    LeftOut.DISPUTED: {
        "zh": "多人标注不一致且尚未裁定；裁定后即可使用。",
        "en": "People differ on them and nobody has settled it; they count once it is settled.",
    },
    LeftOut.LABELS_DIFFER: {
        "zh": "同一内容在示例库中有不同标签；请改正或停用其一。",
        "en": "Libraries hold the same content with different labels; correct or retire one.",
    },
    LeftOut.HELD_OUT_LABEL: {
        "zh": "属于本系列的留出行，之后标签有改动；留出行保持原标签。要采用新标签，请新建系列。",
        "en": "They are held out in this lineage and were relabelled since; held-out rows keep their labels. Begin another lineage to use the new ones.",
    },
    LeftOut.HELD_OUT_FAMILY: {
        "zh": "与本系列的某条留出行近似重复，不能用于训练。",
        "en": "They are near-duplicates of rows that this lineage holds out, and must not be trained on.",
    },
    LeftOut.BALANCE: {
        "zh": "为平衡各标签的数量而随机减去（种子固定）。",
        "en": "Drawn out to balance the labels (by the seed).",
    },
}


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """How rows are split: the held-out share in (0, 0.9], by family and label, and the seed of everything random."""

    held_out_share: float = 0.2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """A row with its side and family, before it has a prompt."""

    item: LabelledItem
    family: str
    split: Split


@dataclass(frozen=True, slots=True)
class LeftOutRow:
    """A row that is not in the snapshot, and why."""

    item: LabelledItem
    reason: LeftOut


@dataclass(frozen=True, slots=True)
class Plan:
    """Which rows stand where; `kept` are the held-out rows of an earlier snapshot of the lineage, taken over as they are.

    `rows` are ordered by dimension and content, and are training rows alone where there is `kept`. `families` counts the
    families of all rows.
    """

    rows: tuple[PlannedRow, ...]
    left_out: tuple[LeftOutRow, ...]
    families: int
    kept: tuple[TrainingRow, ...] = ()

    def train(self) -> list[PlannedRow]:
        """Return the training rows."""
        return [row for row in self.rows if row.split is Split.TRAIN]

    def held_out(self) -> dict[str, str]:
        """Return the held-out rows as content hash -> family."""
        if self.kept:
            return {row.hash: row.family for row in self.kept}
        return {row.item.content_hash: row.family for row in self.rows if row.split is Split.HELD_OUT}

    def counts(self) -> dict[str, dict[Split, dict[int, int]]]:
        """Return rows by dimension, split and label, each in rising order."""
        placed = [(row.item.dimension_id, row.split, row.item.label) for row in self.rows]
        placed += [(row.dimension_id, Split.HELD_OUT, row.label) for row in self.kept]
        found: dict[str, dict[Split, dict[int, int]]] = {}
        for (dimension_id, split, label), count in sorted(Counter(placed).items()):
            found.setdefault(dimension_id, {one: {} for one in Split})[split][label] = count
        return found


@dataclass(slots=True)
class _Sieve:
    """What passes, and what does not."""

    passed: list[LabelledItem] = field(default_factory=list)
    left: list[LeftOutRow] = field(default_factory=list)


def plan_snapshot(
    rows: Sequence[LabelledRow],
    chosen: SnapshotFilter,
    choice: SplitChoice,
    dimensions: Mapping[str, Dimension],
    kept: Sequence[TrainingRow] = (),
) -> Plan:
    """Return which rows enter a snapshot; `kept` are the lineage's held-out rows, none for its first snapshot.

    Raises JobError when no row is left on one of the sides, or the balance cannot be reached.
    """
    _check(choice, chosen)
    sieve = _Sieve()
    for item in _filtered(_true_rows(rows, chosen, sieve), chosen):
        _pass_known(item, dimensions, sieve)
    sieve.passed.sort(key=lambda item: (item.dimension_id, item.content_hash))
    frozen = {row.hash: row for row in kept}
    items = [item for item in sieve.passed if item.content_hash not in frozen]
    sieve.left += [LeftOutRow(item, LeftOut.HELD_OUT_LABEL) for item in sieve.passed if _relabelled(item, frozen)]
    families = families_of([*items, *map(_as_item, kept)], dimensions)
    planned, sides = _sides(items, families, kept, choice)
    sieve.left += [LeftOutRow(item, LeftOut.HELD_OUT_FAMILY) for item, side in zip(items, sides, strict=True) if side is None]
    balanced, drawn = _balanced(planned, chosen.balance, choice.seed)
    plan = Plan(tuple(balanced), (*sieve.left, *drawn), len({row.family for row in balanced} | {row.family for row in kept}), tuple(kept))
    _refuse_empty(plan)
    return plan


def families_of(items: Sequence[LabelledItem], dimensions: Mapping[str, Dimension]) -> list[str]:
    """Return the name of each item's near-duplicate family: the beginning of its smallest content hash."""
    flat: list[str] = []
    owners: list[int] = []
    for place, item in enumerate(items):
        for passage in passages_of(item.dimension_id, item.prompt, item.text, dimensions):
            flat.append(passage)
            owners.append(place)
    matches = FamilyIndex(flat).matches(flat)
    groups = family_groups(len(items), ((owner, owners[near]) for owner, found in zip(owners, matches, strict=True) for near in found))
    smallest: dict[int, str] = {}
    for group, item in zip(groups, items, strict=True):
        smallest[group] = min(smallest.get(group, item.content_hash), item.content_hash)
    return [smallest[group][:16] for group in groups]


def _check(choice: SplitChoice, chosen: SnapshotFilter) -> None:
    if not 0 < choice.held_out_share <= 0.9:
        raise JobError(
            f"The held-out share is {choice.held_out_share}; choose more than 0 and at most 0.9.",
            zh=f"留出比例为 {choice.held_out_share}，应大于 0 且不超过 0.9。",
        )
    if not 0 < chosen.balance <= 1:
        raise JobError(
            f"The balance is {chosen.balance}; choose the largest share that one label may have, more than 0 and at most 1.",
            zh=f"平衡上限为 {chosen.balance}，应大于 0 且不超过 1（单个标签的最大占比）。",
        )


def _refuse_empty(plan: Plan) -> None:
    if not plan.train():
        raise JobError(
            "No row is left to train on; widen the filter, or label and settle more rows.",
            zh="没有可用于训练的行；请放宽筛选条件，或标注、裁定更多的行。",
        )
    if not plan.held_out():
        raise JobError(
            "No row would be held out: there are too few families for this share. Raise the share, or label more rows.",
            zh="没有行会被留出：近似重复组太少。请提高留出比例，或标注更多的行。",
        )


def _true_rows(rows: Sequence[LabelledRow], chosen: SnapshotFilter, sieve: _Sieve) -> Iterator[LabelledItem]:
    """Yield one item a content: what people said of it where they did, else the library's, the latest of several."""
    by_content: dict[str, list[LabelledRow]] = defaultdict(list)
    for row in rows:
        by_content[row.item.content_hash].append(row)
    for same in by_content.values():
        said = [row for row in same if row.library_id is None]
        settled = [row for row in said if row.review is ReviewState.SETTLED]
        best = max(settled or said or same, key=_rank)
        disputed = ReviewState.CONFLICT in {row.review for row in said} or len({row.item.label for row in said}) > 1
        differ = len({row.item.label for row in same}) > 1
        if chosen.agreed_only and disputed and not settled:
            sieve.left += [LeftOutRow(item, LeftOut.DISPUTED) for item in _filtered([best.item], chosen)]
        elif chosen.agreed_only and differ and not said:
            sieve.left += [LeftOutRow(item, LeftOut.LABELS_DIFFER) for item in _filtered([best.item], chosen)]
        else:
            yield best.item


def _rank(row: LabelledRow) -> tuple[float, str, int]:
    return row.labelled_at.timestamp(), row.item.external_id, row.item.label


def _filtered(items: Iterable[LabelledItem], chosen: SnapshotFilter) -> Iterator[LabelledItem]:
    for item in items:
        dimension = not chosen.dimension_ids or item.dimension_id in chosen.dimension_ids
        origin = not chosen.origins or item.origin in chosen.origins
        if dimension and origin and (not chosen.authors or item.author in chosen.authors):
            yield item


def _pass_known(item: LabelledItem, dimensions: Mapping[str, Dimension], sieve: _Sieve) -> None:
    dimension = dimensions.get(item.dimension_id)
    if dimension is None:
        sieve.left.append(LeftOutRow(item, LeftOut.UNKNOWN_DIMENSION))
    elif item.label not in dimension.labels:
        sieve.left.append(LeftOutRow(item, LeftOut.OFF_SCALE))
    else:
        sieve.passed.append(item)


def _relabelled(item: LabelledItem, frozen: Mapping[str, TrainingRow]) -> bool:
    row = frozen.get(item.content_hash)
    return row is not None and row.label != item.label


def _as_item(row: TrainingRow) -> LabelledItem:
    return LabelledItem(0, row.external_id, row.dimension_id, row.item_prompt, row.text, row.label, row.origin, row.author, row.hash)


def _sides(
    items: Sequence[LabelledItem], families: Sequence[str], kept: Sequence[TrainingRow], choice: SplitChoice
) -> tuple[list[PlannedRow], list[Split | None]]:
    """Return the rows with their sides, and the side of every item: None for kin of what the lineage holds out."""
    if kept:
        barred = set(families[len(items) :])
        sides = [None if family in barred else Split.TRAIN for family in families[: len(items)]]
    else:
        held = held_out_families(items, families, choice)
        sides = [Split.HELD_OUT if family in held else Split.TRAIN for family in families]
    rows = [PlannedRow(item, family, side) for item, family, side in zip(items, families, sides, strict=False) if side is not None]
    return rows, sides


def held_out_families(items: Sequence[LabelledItem], families: Sequence[str], choice: SplitChoice) -> set[str]:
    """Return the families that are held out: drawn in the seed's order, each where it brings its labels nearer to their quota.

    Every label of every dimension has its quota; a family of several labels is taken for their sum.
    """
    strata: dict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    for item, family in zip(items, families, strict=True):
        strata[family][item.dimension_id, item.label] += 1
    missing = _quotas(Counter((item.dimension_id, item.label) for item in items), choice)
    held: set[str] = set()
    for family in sorted(strata, key=lambda name: _draw(choice.seed, "split", name)):
        gain = sum(abs(missing[stratum]) - abs(missing[stratum] - count) for stratum, count in strata[family].items())
        if gain > 0:
            held.add(family)
            for stratum, count in strata[family].items():
                missing[stratum] -= count
    return held


def _quotas(sizes: Mapping[tuple[str, int], int], choice: SplitChoice) -> dict[tuple[str, int], int]:
    """Return how many rows of each label to hold out: whole numbers that sum to a dimension's share (largest remainders)."""
    quotas: dict[tuple[str, int], int] = {}
    for dimension_id in sorted({name for name, _ in sizes}):
        exact = {stratum: choice.held_out_share * size for stratum, size in sizes.items() if stratum[0] == dimension_id}
        quotas |= {stratum: int(share) for stratum, share in exact.items()}
        rest = round(sum(exact.values())) - sum(quotas[stratum] for stratum in exact)
        order = sorted(exact, key=lambda stratum: (-round(exact[stratum] % 1, 9), _draw(choice.seed, "quota", f"{stratum}")))
        for stratum in order[:rest]:
            quotas[stratum] += 1
    return quotas


def _balanced(rows: Sequence[PlannedRow], largest_share: float, seed: int) -> tuple[list[PlannedRow], list[LeftOutRow]]:
    """Return the rows with every label of a dimension's training rows drawn down to the share, and those drawn out."""
    if largest_share >= 1:
        return list(rows), []
    groups: dict[str, dict[int, list[PlannedRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.split is Split.TRAIN:
            groups[row.item.dimension_id][row.item.label].append(row)
    gone: dict[str, PlannedRow] = {}
    for dimension_id, labels in groups.items():
        cap = label_cap([len(found) for found in labels.values()], largest_share, dimension_id)
        for found in labels.values():
            ordered = sorted(found, key=lambda row: _draw(seed, "balance", row.item.content_hash))
            gone |= {row.item.content_hash: row for row in ordered[cap:]}
    left = [LeftOutRow(row.item, LeftOut.BALANCE) for row in gone.values()]
    return [row for row in rows if row.item.content_hash not in gone], left


def label_cap(counts: Sequence[int], largest_share: float, dimension_id: str = "") -> int:
    """Return the most rows that a label may keep so that none has more than the share of all that are kept.

    Raises JobError where there are too few labels for the share.
    """
    if len(counts) * largest_share < 1 - 1e-9:
        raise JobError(
            f"{dimension_id} has rows of {len(counts)} labels, so one of them has at least {1 / len(counts):.0%} of the rows, "
            f"not {largest_share:.0%}; allow more, or add rows of other labels.",
            zh=f"{dimension_id} 的行只有 {len(counts)} 种标签，单个标签占比不可能低于 {1 / len(counts):.0%}（要求 {largest_share:.0%}）；"
            "请放宽上限，或补充其他标签的行。",
        )
    low, high = min(counts), max(counts)  # at the smallest count all labels are equal, which fits
    while low < high:
        cap = (low + high + 1) // 2
        if cap <= largest_share * sum(min(count, cap) for count in counts) + 1e-9:
            low = cap
        else:
            high = cap - 1
    return low


def _draw(seed: int, purpose: str, name: str) -> str:
    return hashlib.sha256(f"{seed}:{purpose}:{name}".encode()).hexdigest()
