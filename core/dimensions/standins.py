"""Stand-ins for the values of a dimension file that have the wrong form, so that the rest of the file is checked in the same go."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from pydantic_core import ErrorDetails

# Keys whose sense hangs on another key: with that one wrong, nothing can be said of them.
_HANG_ON: Mapping[str, frozenset[str]] = {
    "labels": frozenset({"levels", "marks", "empty_text_label", "fault_rates"}),
    "kind": frozenset({"fault_rates"}),
}
_LANGUAGES = ("zh", "en")


def with_stand_ins(
    document: Mapping[object, object], label: str, errors: Sequence[ErrorDetails]
) -> tuple[dict[object, object], frozenset[str]]:
    """Return `document` with `label` or neutral values where `errors` say that the form is wrong, and the keys to say no more of.

    `label`, the file's name, is unlike any word that a dimension or its prompt is called.
    """
    filled = copy.deepcopy(dict(document))
    unsure: set[str] = set()
    for error in errors:
        path = [part for part in error["loc"] if part != "[key]"]
        if error["type"] == "extra_forbidden":
            _holder(filled, path).pop(path[-1], None)
            continue
        unsure.add(str(path[0]))
        holder = _holder(filled, path)
        if len(path) > 1 and path[-1] in _LANGUAGES and holder:
            holder[path[-1]] = label
        else:
            filled[path[0]] = None
    _fill(filled, label)
    return filled, frozenset(unsure).union(*(_HANG_ON.get(key, frozenset()) for key in unsure))


def _holder(document: dict[object, object], path: Sequence[int | str]) -> dict[object, object]:
    """Return the mapping inside `document` that holds the last step of `path`, or an empty one."""
    found: object = document
    for part in path[:-1]:
        found = found.get(part) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _fill(document: dict[object, object], label: str) -> None:
    """Put neutral values where there is None."""
    words = {"zh": label, "en": label}
    if document.get("labels") is None:
        document["labels"] = [0, 1]
    labels = document["labels"]
    stand_ins: dict[object, object] = {
        "id": label,
        "kind": "ordinal",
        "names": words,
        "description": words,
        "levels": dict.fromkeys(labels, words) if isinstance(labels, list) else {},
        "needs_prompt": False,
        "prompt": {"file": label, "version": 1},
    }
    for key, value in stand_ins.items():
        if document.get(key) is None:
            document[key] = value
    for key in [key for key, value in document.items() if value is None]:
        del document[key]  # the others may be left out
