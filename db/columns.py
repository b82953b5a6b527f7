"""Column types that hold on every database: aware UTC times, enums as text, small JSON documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import JSON, DateTime, Dialect, Enum, Text
from sqlalchemy.types import TypeDecorator

from core.types import LocalText, one_language


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. SQLite keeps no zone, so it is put back on reading; a naive time is refused on writing."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the time in UTC. Raises ValueError for a naive one: it would silently mean another moment."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; store aware times")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the stored time, aware and in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class LabelMap(TypeDecorator[Mapping[int, float]]):
    """Label -> probability as a compact JSON object; floats keep every digit, labels stand in rising order."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Mapping[int, float] | None, dialect: Dialect) -> dict[str, float] | None:  # noqa: ARG002
        """Return the mapping with text keys, as JSON wants them."""
        return None if value is None else {str(label): float(value[label]) for label in sorted(value)}

    def process_result_value(self, value: Mapping[str, float] | None, dialect: Dialect) -> dict[int, float] | None:  # noqa: ARG002
        """Return the mapping with its integer labels."""
        return None if value is None else {int(label): share for label, share in value.items()}


class LocalWords(TypeDecorator[LocalText]):
    """Words by language as a compact JSON object in a text column, "" for no words."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: LocalText | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the JSON text, languages in rising order."""
        if value is None:
            return None
        return json.dumps(dict(sorted(value.items())), ensure_ascii=False, separators=(",", ":")) if value else ""

    def process_result_value(self, value: str | None, dialect: Dialect) -> LocalText | None:  # noqa: ARG002
        """Return the words. A text that is no JSON object was stored before words had languages."""
        if value is None:
            return None
        loaded: LocalText = json.loads(value) if value.startswith("{") else one_language(value)
        return loaded


def text_enum(kind: type[StrEnum], name: str, *, checked: bool = True) -> Enum:
    """Return a text column of the enum's values, held by a check constraint called `name` (or, not `checked`, by no one)."""
    return Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=checked,
        length=16,
        values_callable=lambda members: [str(member.value) for member in members],
    )
