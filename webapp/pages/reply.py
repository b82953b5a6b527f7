"""A judge's raw reply as a page shows it: facts get their names in the page's language, prose stays as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping

from core.faultmarks import FAULTS_KEY, fault_of
from core.judging.faults import FAULT_NAMES, FaultKind
from webapp.pages.translate import Translator

_FAULTS = frozenset(FaultKind)
# Parts of an entry that need no name.
_PLAIN = frozenset({"fault", "chance", "id"})


def readable_reply(t: Translator, raw: str) -> str:
    """Return a raw reply in lines for people.

    A JSON object becomes a line for each fact, "name: value", and a line for each entry of a list; whatever has no
    name in the translations keeps its own. Anything else is returned unchanged.
    """
    try:
        facts = json.loads(raw) if raw.startswith("{") else None
    except (ValueError, RecursionError):
        return raw
    if not isinstance(facts, dict):
        return raw
    return "\n".join(_fact(t, str(name), value) for name, value in facts.items())


def _fact(t: Translator, name: str, value: object) -> str:
    title = t.member("reply", name)
    colon = t("punctuation.colon")
    if name == FAULTS_KEY and isinstance(value, list):
        return "\n".join([f"{t('faults.toggle')}{colon}{'' if value else '—'}".rstrip(), *(f"  {_suspected(t, entry)}" for entry in value)])
    if isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
        return "\n".join([f"{title}{colon}".rstrip(), *(f"  {_entry(t, entry)}" for entry in value)])
    return f"{title}{colon}{_value(t, name, value)}"


def _suspected(t: Translator, entry: object) -> str:
    """Return a suspected fault as [start, end, probability, kind] in a line; what has another form stays as it is."""
    fault = fault_of(entry)
    return f"{fault.start}–{fault.end} · {fault.probability:.0%} · {t.pick(fault.names)}" if fault else _value(t, "", entry)


def _entry(t: Translator, entry: object) -> str:
    if not isinstance(entry, Mapping):
        return _value(t, "", entry)
    return " ".join(_part(t, str(name), value) for name, value in entry.items())


def _part(t: Translator, name: str, value: object) -> str:
    key = f"reply_part.{name}"
    shown = _value(t, name, value)
    if name in _PLAIN:
        return shown
    return t(key, value=shown) if key in t.table else f"{t.member('reply', name)} {shown}"


def _value(t: Translator, name: str, value: object) -> str:
    if isinstance(value, Mapping):
        return t("punctuation.list").join(f"{one} {_value(t, '', number)}" for one, number in value.items())
    if isinstance(value, list):
        return t("punctuation.list").join(_value(t, name, one) for one in value) or "—"
    if name == "fault" and value in _FAULTS:
        return t.pick(FAULT_NAMES[FaultKind(str(value))])
    if name in {"chance", "coverage"} and isinstance(value, float):
        return f"{value:.0%}"
    return t.member("choice", value) if name == "kind" and isinstance(value, str) else str(value)
