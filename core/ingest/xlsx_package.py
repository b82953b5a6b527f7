"""The guard before an xlsx file is read: true sizes, worksheets, and what cells hold beside their values.

python-calamine reads values fast, but it says nothing of formulas, turns error cells into empty ones, and allocates the
whole rectangle between the first and the last cell. So the raw XML is scanned once, as bytes, before it is trusted.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from core.errors import SheetError
from core.ingest.model import CellMark, Limits, MarkKind

_CHUNK = 1 << 20
_RATIO_FROM = 16 * 2**20
_FORMULA_SHOWN = 80
_LONGEST_CELL = 8 * 2**20

# Text never holds a raw "<", so these see tags only. A chunk is cut before its last "<" so that no tag is split. No pattern
# reaches beyond the next "<", and where one must look back it is bounded, so that no file can make them slow.
_CELL = re.compile(rb"<(?:\w+:)?c(?:\s[^<>]*)?(?<!/)>")
_CELL_REF = re.compile(rb'<(?:\w+:)?c\s(?:[^<>]{0,200}?\s)?r\s*=\s*["\']([A-Za-z]{1,3})(\d{1,7})["\'][^<>]{0,200}(?<!/)>')
_SPECIAL = re.compile(rb'<(?:\w+:)?f[\s/>]|<(?:\w+:)?c\s[^<>]*\bt\s*=\s*["\']e["\']|<!\[CDATA\[')
_HIDDEN_ROW = re.compile(rb'<(?:\w+:)?row\s[^<>]{0,400}?\bhidden\s*=\s*["\'](?:1|true)["\'][^<>]{0,400}>')
_ROW_NUMBER = re.compile(rb'\br\s*=\s*["\'](\d{1,7})["\']')
_FILLED = re.compile(rb"<(?:\w+:)?(?:v|t)(?:\s[^<>]*)?>[^<]|<(?:\w+:)?f[\s>]|<!\[CDATA\[")


@dataclass(frozen=True, slots=True)
class WorksheetPart:
    """A worksheet of the workbook: its name, its part in the package, and whether it is hidden."""

    name: str
    part: str
    hidden: bool


@dataclass(slots=True)
class SheetScan:
    """What the raw XML of a worksheet says: the used rectangle, formulas and errors by row then column, hidden rows."""

    last_row: int = 0
    last_column: int = 0
    hidden_rows: int = 0
    first_hidden: int = 0
    marks: dict[int, dict[int, CellMark]] = field(default_factory=dict)


class Package:
    """An open xlsx file whose sizes are checked as it is read.

    Raises SheetError for a zip bomb, an encrypted member, a damaged part or a missing one.
    """

    def __init__(self, path: Path, name: str, limits: Limits) -> None:
        self._name, self._limits = name, limits
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            self._damaged(str(error))
        self._members = {info.filename: info for info in self._archive.infolist()}
        self._check_directory()

    def __enter__(self) -> Package:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._archive.close()

    def _check_directory(self) -> None:
        infos = self._archive.infolist()
        if len(infos) > self._limits.max_zip_entries:
            self._bomb(f"{len(infos):,} members", f"{len(infos):,} 个成员")
        if any(info.flag_bits & 1 for info in infos):
            raise SheetError(
                f"{self._name} is encrypted: remove the password and bring it in again.", zh=f"{self._name} 已加密：请去掉密码后再导入。"
            )
        total = sum(info.file_size for info in infos)
        if total > self._limits.max_unpacked_bytes:
            self._bomb(f"{total / 2**20:,.0f} MiB unpacked", f"解压后 {total / 2**20:,.0f} MiB")
        for info in infos:
            self._check_ratio(info, info.file_size)

    def _check_ratio(self, info: zipfile.ZipInfo, size: int) -> None:
        if size > _RATIO_FROM and size > self._limits.max_ratio * max(1, info.compress_size):
            ratio = size // max(1, info.compress_size)
            self._bomb(f"{info.filename} unpacks to {ratio:,} times its size", f"{info.filename} 解压后是原来的 {ratio:,} 倍")

    def _bomb(self, what: str, what_zh: str) -> NoReturn:
        raise SheetError(
            f"{self._name} looks like a zip bomb and was not unpacked ({what}). If it is a real sheet, save it as CSV UTF-8 and bring "
            "that in.",
            zh=f"{self._name} 疑似压缩炸弹，没有解压（{what_zh}）。如果确是正常表格，请另存为 UTF-8 编码的 CSV 再导入。",
        )

    def _damaged(self, what: str) -> NoReturn:
        raise SheetError(
            f"{self._name} is truncated or damaged ({what}). Download or save it again; opening and saving it in a spreadsheet program "
            "may mend it.",
            zh=f"{self._name} 被截断或已损坏（{what}）。请重新下载或保存；用表格软件打开并另存也许能修复。",
        )

    def chunks(self, part: str) -> Iterator[bytes]:
        """Yield the part's bytes, counting what truly comes out, whatever the zip's directory says of it."""
        info = self._members.get(part)
        if info is None:
            self._damaged(f"{part} is missing")
        declared = info.file_size
        size = 0
        try:
            # A directory that understates the size would hide the rest from us, but not from the reader after us.
            info.file_size = self._limits.max_unpacked_bytes + 1
            with self._archive.open(info) as stream:
                while chunk := stream.read(_CHUNK):
                    size += len(chunk)
                    self._check_ratio(info, size)
                    if size > max(declared, 1):
                        self._bomb(f"{part} is larger than its directory says", f"{part} 比目录所写的更大")
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            self._damaged(f"{part}: {error}")
        finally:
            info.file_size = declared
        if size < declared:
            self._damaged(f"{part} ends early")

    def verify_shared(self) -> None:
        """Read the parts that every worksheet needs to their end, so that their sizes and checksums are known to be true."""
        for part in self._members:
            if part.lower().endswith(("sharedstrings.xml", "styles.xml", ".rels", "[content_types].xml")):
                for _ in self.chunks(part):
                    pass

    def worksheets(self) -> tuple[WorksheetPart, ...]:
        """Return the worksheets in the workbook's order; chart sheets and macro sheets are left out."""
        candidates = (name for name in ("xl/workbook.xml", *self._members) if name in self._members)
        workbook = next((name for name in candidates if name.endswith("workbook.xml")), "xl/workbook.xml")
        folder = posixpath.dirname(workbook)
        targets = {
            str(node.get("Id")): (str(node.get("Type")), str(node.get("Target")))
            for node in self._tree(f"{folder}/_rels/{posixpath.basename(workbook)}.rels").iter()
            if _local(node.tag) == "Relationship"
        }
        found = []
        for node in self._tree(workbook).iter():
            if _local(node.tag) != "sheet":
                continue
            relation = next((value for key, value in node.attrib.items() if _local(key) == "id"), "")
            kind, target = targets.get(relation, ("", ""))
            part = target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
            if kind.endswith("/worksheet") and part in self._members:
                found.append(WorksheetPart(str(node.get("name")), part, str(node.get("state", "visible")) != "visible"))
        return tuple(found)

    def _tree(self, part: str) -> ElementTree.Element:
        content = b"".join(self.chunks(part))
        if b"<!DOCTYPE" in content:
            self._damaged(f"{part} holds a DOCTYPE")
        try:
            return ElementTree.fromstring(content)
        except ElementTree.ParseError as error:
            self._damaged(f"{part}: {error}")

    def holds_something(self, part: str) -> bool:
        """Return whether some cell of the worksheet has content; reads no further than that cell."""
        tail = b""
        for chunk in self.chunks(part):
            if _FILLED.search(tail + chunk):
                return True
            tail = chunk[-256:]
        return False

    def scan(self, part: str) -> SheetScan:
        """Return the used rectangle of a worksheet, its formulas, error cells and hidden rows.

        Raises SheetError where the rectangle is too large to be held.
        """
        found = SheetScan()
        special = False
        rest = b""
        for chunk in self.chunks(part):
            piece = rest + chunk
            cut = piece.rfind(b"<")
            piece, rest = (piece[:cut], piece[cut:]) if cut >= 0 else (b"", piece)
            if len(rest) > _LONGEST_CELL:
                self._damaged(f"{part} holds a cell of more than {_LONGEST_CELL // 2**20} MiB")
            special = self._scan_piece(piece, found) or special
        special = self._scan_piece(rest, found) or special
        if special or found.last_row == 0:
            self._scan_closely(part, found)
        if found.last_row * found.last_column > self._limits.max_cells:
            raise SheetError(
                f"The used area of the worksheet in {self._name} is {found.last_row:,} rows by {found.last_column:,} columns, too large "
                "to be read. A stray cell far away is the usual cause: select the empty rows and columns behind the table, delete them, "
                "and save.",
                zh=f"{self._name} 中工作表的已用区域是 {found.last_row:,} 行 × {found.last_column:,} 列，过大而无法读取。"
                "通常是远处有一个多余的单元格：选中表格之后的空行和空列，删除并保存。",
            )
        return found

    def _scan_piece(self, piece: bytes, found: SheetScan) -> bool:
        """Add what a piece of XML says to `found`; return whether it needs the slower, exact pass."""
        references = _CELL_REF.findall(piece)
        if references:
            found.last_row = max(found.last_row, max(int(row) for _, row in references))
            found.last_column = max(found.last_column, max(_column_number(letters) for letters in {letters for letters, _ in references}))
        for row in _HIDDEN_ROW.finditer(piece):
            found.hidden_rows += 1
            number = _ROW_NUMBER.search(row.group())
            found.first_hidden = found.first_hidden or (int(number[1]) if number else 0)
        return len(_CELL.findall(piece)) != len(references) or _SPECIAL.search(piece) is not None

    def _scan_closely(self, part: str, found: SheetScan) -> None:
        parser = _CellParser(found)
        try:
            for chunk in self.chunks(part):
                parser.feed(chunk)
            parser.feed(b"", final=True)
        except expat.ExpatError as error:
            self._damaged(f"{part}: {error}")


class _CellParser:
    """Follows the cells of a worksheet with expat, for the formulas and errors among them."""

    def __init__(self, found: SheetScan) -> None:
        self._found = found
        self._row = self._column = 0
        self._type = ""
        self._formula: list[str] | None = None
        self._value: list[str] | None = None
        self._into: list[str] | None = None
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        """Parse the next bytes."""
        self._parser.Parse(chunk, final)

    def _doctype(self, *_: object) -> None:
        raise expat.ExpatError("a DOCTYPE has no place in a worksheet")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = _local(tag)
        if name == "row":
            self._row = int(attributes.get("r") or self._row + 1)
            self._column = 0
        elif name == "c":
            reference = attributes.get("r")
            letters = (reference or "").rstrip("0123456789")
            self._column = _column_number(letters.encode()) if letters else self._column + 1
            self._type = attributes.get("t", "n")
            self._formula = self._value = None
        elif name == "f":
            self._formula = self._into = []
        elif name == "v":
            self._value = self._into = []
        elif name == "t":
            self._into = self._value = self._value or []

    def _text(self, text: str) -> None:
        if self._into is not None:
            self._into.append(text)

    def _end(self, tag: str) -> None:
        name = _local(tag)
        if name in {"f", "v", "t"}:
            self._into = None
        elif name == "c":
            self._close_cell()

    def _close_cell(self) -> None:
        value = "".join(self._value or ())
        if not value and self._formula is None:
            return
        self._found.last_row = max(self._found.last_row, self._row)
        self._found.last_column = max(self._found.last_column, self._column)
        mark = None
        if self._type == "e":
            mark = CellMark(MarkKind.ERROR, value)
        elif self._formula is not None:
            cached = value or (self._type == "str" and self._value is not None)
            kind = MarkKind.FORMULA if cached else MarkKind.FORMULA_UNCACHED
            mark = CellMark(kind, "".join(self._formula)[:_FORMULA_SHOWN])
        if mark is not None:
            self._found.marks.setdefault(self._row, {})[self._column - 1] = mark


def _local(tag: str) -> str:
    return tag.rpartition("}")[2].rpartition(":")[2]


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number
