"""Made-up labelled rows whose texts are no near-duplicates of each other unless asked for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.dimensions import load_dimensions
from core.review import ReviewState
from core.settings import ASSETS, Settings
from core.training import LabelledRow
from core.types import LabelledItem, Origin, SheetRow, SourceRef, content_hash
from webapp.workbench import Workbench

DIMENSIONS = load_dimensions(ASSETS / "dimensions")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_LETTERS = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 3000))


def essay(seed: object, length: int = 80) -> str:
    """Return a text of random characters in sentences."""
    draw = random.Random(str(seed))
    letters = draw.choices(_LETTERS, k=length)
    return "".join(letter + ("。" if place % 16 == 15 else "") for place, letter in enumerate(letters))


def row(
    number: int,
    label: int,
    *,
    dimension: str = "fluency",
    prompt: str = "",
    text: str | None = None,
    origin: Origin = Origin.IMPORT,
    author: str = "老师",
    library: int | None = 1,
    review: ReviewState = ReviewState.OPEN,
    hours: int = 0,
) -> LabelledRow:
    """Return a labelled row; library None makes it what people said of an item."""
    body = essay(number) if text is None else text
    item = LabelledItem(number, f"R{number}", dimension, prompt, body, label, origin, author, content_hash(dimension, prompt, body))
    return LabelledRow(item, library, review, NOON + timedelta(hours=hours))


def rows(count: int, labels: Sequence[int] = (1, 2, 3, 4, 5), start: int = 0) -> list[LabelledRow]:
    """Return rows of fluency with these labels in turn."""
    return [row(start + number, labels[number % len(labels)]) for number in range(count)]


def sheet_row(number: int, label: int, dimension: str = "fluency", prompt: str = "", text: str | None = None) -> SheetRow:
    """Return a labelled row of a sheet."""
    return SheetRow(number, f"L{number}", dimension, prompt, essay(number) if text is None else text, label, SourceRef("x", "", number), {})


def library_rows(count: int) -> list[SheetRow]:
    """Return labelled rows of the three shipped dimensions in turn."""
    made = []
    for number in range(count):
        name = ("fluency", "normativity", "choice")[number % 3]
        labels = DIMENSIONS[name].labels
        asked = "" if name == "fluency" else f"请写一写：{essay(f'prompt {number}', 40)}"
        made.append(sheet_row(number, labels[(number // 3) % len(labels)], name, asked))
    return made


def workbench(home: Path) -> Workbench:
    """Return a workbench on an empty home."""
    return Workbench.open(Settings(home=home, port=0, open_browser=False, _env_file=None))  # type: ignore[call-arg]
