"""From a cell's value to clean text, label or id."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from core.ingest.model import CELL_LIMIT, CellValue

# One search per text: everything that is not wanted in it. Tab, line feed and carriage return are ordinary.
_SUSPECT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffd-\uffff]|锟斤拷|烫烫烫")
_BREAK = re.compile("[\x0b\x0c]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
INVISIBLE = "\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
"""What cannot be seen, as a range for patterns: soft hyphens, zero-width and direction marks."""
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_GARBLED = re.compile("\ufffd|锟斤拷|烫烫烫")
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_DECIMAL_ZERO = re.compile(r"([+-]?\d{1,18})\.0+")
_SCIENTIFIC = re.compile(r"\d(\.\d+)?E\+\d{2,}")
_EXACT_FLOAT = 1e15


@dataclass(frozen=True, slots=True)
class CleanText:
    """A text without what must not be in it, and what was found: names such as U+0008, or nothing."""

    text: str
    control: str = ""
    surrogates: str = ""
    garbled: str = ""


def clean_text(text: str) -> CleanText:
    """Return the text with control characters removed, page and line tabs as line breaks, lone surrogates as U+FFFD."""
    if _SUSPECT.search(text) is None:
        return CleanText(text)
    control, surrogates = _named(_CONTROL, text), _named(_SURROGATE, text)
    garbled = ", ".join(sorted(set(_GARBLED.findall(text))))
    text = _SURROGATE.sub("\ufffd", _CONTROL.sub("", _BREAK.sub("\n", text)))
    return CleanText(text, control, surrogates, garbled)


def invisible_characters(text: str) -> tuple[str, str]:
    """Return the text without characters that cannot be seen, and their names."""
    names = _named(_INVISIBLE, text)
    return (_INVISIBLE.sub("", text).strip(), names) if names else (text, "")


def whole_characters(text: str) -> str:
    """Return the text with U+FFFD for halves of characters, which no page, terminal or database takes."""
    return _SURROGATE.sub("\ufffd", text)


def readable_name(name: str) -> str:
    """Return a file's name as text: one in GBK, as archives made on Windows leave it on other systems, is read as that."""
    try:
        written = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return whole_characters(name)
    try:
        return written.decode("utf-8")
    except UnicodeDecodeError:
        return written.decode("gb18030", "replace")


def _named(pattern: re.Pattern[str], text: str) -> str:
    return ", ".join(f"U+{ord(character):04X}" for character in sorted(set(pattern.findall(text))))


def cell_text(value: CellValue) -> str:
    """Return what a person sees in the cell: whole numbers without .0, dates in ISO form, TRUE and FALSE."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    return str(value)


def is_blank(value: CellValue) -> bool:
    """Return whether a cell is empty or holds only white space."""
    return isinstance(value, str) and (not value or value.isspace())


def at_cell_limit(text: str) -> int:
    """Return the text's length in UTF-16 units when it is as long as a cell can be, else 0."""
    if len(text) * 2 < CELL_LIMIT:
        return 0
    units = len(text.encode("utf-16-le", errors="surrogatepass")) // 2
    return units if units >= CELL_LIMIT else 0


def digits_lost(value: CellValue) -> bool:
    """Return whether a number is so large that a spreadsheet has not kept all its digits, or was saved as 1.23E+11."""
    if isinstance(value, str):
        return _SCIENTIFIC.fullmatch(value.strip()) is not None
    return isinstance(value, float) and abs(value) >= _EXACT_FLOAT


def whole_number(text: str) -> str:
    """Return the digits before the point of a text such as 17.0, else an empty string."""
    found = _DECIMAL_ZERO.fullmatch(text)
    return found[1] if found else ""


def label_number(text: str) -> int | float | None:
    """Return the number that a label cell holds (full-width digits and marks that cannot be seen too), or None where it is none."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).strip()
    if _INTEGER.fullmatch(plain):
        return int(plain)
    if "_" in plain:  # Python reads 1_0 as ten
        return None
    try:
        number = float(plain)
    except ValueError:
        return None
    if number != number or number in {float("inf"), float("-inf")}:
        return None
    return int(number) if number.is_integer() else number


NO_EXTRA: Mapping[str, str] = {}
"""The extra columns of rows that have none; one object for all of them."""
