"""What agreement is counted from: the database groups rows by their labels, and hands out patterns with counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, and_, func, select
from sqlalchemy.orm import aliased

from core.review import Flag, VoteCount, VoteCounts
from core.types import Run
from db.base import StoreBase
from db.engine import reading
from db.kept import Kept, VerdictKey, verdict_key
from db.models import CorrectionRecord, ItemRecord, PersonLabelRecord, VerdictRecord
from db.runs import get_run

_KEPT = 100


@dataclass(frozen=True, slots=True)
class _Settled:
    """Counts that labels of people do not change, which are those that every row of the run goes into."""

    panel: tuple[VoteCount, ...]
    gold: tuple[VoteCount, ...]


class AgreementStore(StoreBase):
    """Counts labels of judges, verdicts and people. What a finished run's judges and verdicts give is remembered."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._settled: Kept[VerdictKey, _Settled] = Kept(_KEPT)

    def vote_counts(self, run_id: int, *, blind_only: bool = True) -> VoteCounts:
        """Return a run's counts of labels; of people only those given blind, unless `blind_only` is off. Raises NotFound."""
        with reading(self.engine) as connection:
            run = get_run(connection, run_id)
            judges = tuple(spec.id for spec in run.panel.judges)
            settled = self._settled.get(verdict_key(connection, run), lambda: _settled(connection, run))
            return VoteCounts(
                run_id,
                judges,
                blind_only,
                settled.panel,
                _people(connection, run_id, len(judges), blind_only=blind_only),
                _both(connection, run_id, blind_only=blind_only),
                _everyone(connection, run_id, blind_only=blind_only),
                _flags(connection, run_id),
                settled.gold,
            )


def _settled(connection: Connection, run: Run) -> _Settled:
    judges = len(run.panel.judges)
    return _Settled(_panel(connection, run.id, judges), _gold(connection, run.id, run.sheet_id, judges))


def _labels(votes: str, judges: int) -> tuple[int | None, ...]:
    found = [int(vote) if vote else None for vote in votes.split(",")]
    return tuple((found + [None] * judges)[:judges])


def _panel(connection: Connection, run_id: int, judges: int) -> tuple[VoteCount, ...]:
    record = VerdictRecord
    keys = (record.dimension_id, record.votes, record.label)
    query = select(*keys, func.count()).where(record.run_id == run_id).group_by(*keys)
    return tuple(VoteCount(name, (*_labels(votes, judges), label), rows) for name, votes, label, rows in connection.execute(query))


def _people(connection: Connection, run_id: int, judges: int, *, blind_only: bool) -> dict[str, tuple[VoteCount, ...]]:
    record, person = VerdictRecord, PersonLabelRecord
    given = person.blind_label if blind_only else person.label
    keys = (person.author, record.dimension_id, given, record.votes, record.label)
    query = (
        select(*keys, func.count())
        .join(person, person.item_id == record.item_id)
        .where(record.run_id == run_id, record.review != "open", given.is_not(None))
        .group_by(*keys)
    )
    found: dict[str, list[VoteCount]] = defaultdict(list)
    for author, name, own, votes, label, rows in connection.execute(query):
        found[author].append(VoteCount(name, (own, *_labels(votes, judges), label), rows))
    return {author: tuple(counts) for author, counts in found.items()}


def _both(connection: Connection, run_id: int, *, blind_only: bool) -> dict[tuple[str, str], tuple[VoteCount, ...]]:
    record, one, two = VerdictRecord, aliased(PersonLabelRecord), aliased(PersonLabelRecord)
    first, second = (one.blind_label, two.blind_label) if blind_only else (one.label, two.label)
    keys = (one.author, two.author, record.dimension_id, first, second)
    query = (
        select(one.author, two.author, record.dimension_id, first.label("first"), second.label("second"), func.count())
        .join(one, one.item_id == record.item_id)
        .join(two, and_(two.item_id == one.item_id, two.author > one.author))
        .where(record.run_id == run_id, record.people > 1, record.review != "open", first.is_not(None), second.is_not(None))
        .group_by(*keys)
    )
    found: dict[tuple[str, str], list[VoteCount]] = defaultdict(list)
    for author, other, name, label, others, rows in connection.execute(query):
        found[author, other].append(VoteCount(name, (label, others), rows))
    return {pair: tuple(counts) for pair, counts in found.items()}


def _everyone(connection: Connection, run_id: int, *, blind_only: bool) -> tuple[VoteCount, ...]:
    record, person = VerdictRecord, PersonLabelRecord
    given = person.blind_label if blind_only else person.label
    query = (
        select(record.item_id, record.dimension_id, given)
        .join(person, person.item_id == record.item_id)
        .where(record.run_id == run_id, record.people > 1, record.review != "open", given.is_not(None))
    )
    names: dict[int, str] = {}
    labels: dict[int, list[int]] = defaultdict(list)
    for item_id, name, label in connection.execute(query):
        names[item_id] = name
        if label is not None:
            labels[item_id].append(label)
    patterns = Counter((names[item_id], tuple(sorted(values))) for item_id, values in labels.items())
    return tuple(VoteCount(name, values, rows) for (name, values), rows in patterns.items())


def _gold(connection: Connection, run_id: int, sheet_id: int, judges: int) -> tuple[VoteCount, ...]:
    record, item = VerdictRecord, ItemRecord
    keys = (record.dimension_id, item.gold, record.votes, record.label)
    query = (
        select(*keys, func.count())
        .select_from(item)
        .join(record, and_(record.item_id == item.id, record.run_id == run_id))
        .where(item.sheet_id == sheet_id, item.gold.is_not(None))
        .group_by(*keys)
    )
    return tuple(
        VoteCount(name, (gold, *_labels(votes, judges), label), rows) for name, gold, votes, label, rows in connection.execute(query)
    )


def _flags(connection: Connection, run_id: int) -> dict[Flag, int]:
    """Return how often each flag stands on an act of the run that was not taken back."""
    record = CorrectionRecord
    gone = select(record.retracts).where(record.run_id == run_id, record.retracts.is_not(None))
    query = select(record.flags).where(record.run_id == run_id, record.id.not_in(gone))
    return dict(_counted(connection.execute(query).scalars()))


def _counted(flags: Iterable[list[str]]) -> Counter[Flag]:
    return Counter(Flag(flag) for given in flags for flag in given)
