"""Telling what a file is by what it holds, and a text file's encoding by strict decoding."""

from __future__ import annotations

import codecs
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath

from core.errors import SheetError
from core.ingest.columns import known_field
from core.ingest.model import Limits, SheetFormat
from core.ingest.problems import Code, problem
from core.types import RowProblem

_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_FOREIGN = (
    (b"%PDF", "PDF"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf", "7z"),
    (b"Rar!", "RAR"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "Parquet"),
    (b"SQLite format 3", "SQLite"),
    (b"\x7fELF", "ELF"),
    (b"MZ", "EXE"),
)
_SEPARATORS = b'\t\n\r,;{"'
# What most characters of any readable table are: ASCII, other alphabets, Chinese and Japanese with their punctuation.
_ORDINARY = re.compile("[\t\n\r -~\u00a0-\u06ff\u2010-\u2030\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]")
_CHUNK = 1 << 20
_SAMPLE = 1 << 18
_TEXT_FORMATS = {SheetFormat.CSV, SheetFormat.TSV, SheetFormat.JSONL, SheetFormat.JSON}
_EXTENSIONS = {
    ".xlsx": {SheetFormat.XLSX},
    ".xlsm": {SheetFormat.XLSX},
    ".xls": {SheetFormat.XLS},
    ".et": {SheetFormat.XLS},
    ".csv": {SheetFormat.CSV, SheetFormat.TSV},
    ".tsv": {SheetFormat.CSV, SheetFormat.TSV},
    ".tab": {SheetFormat.CSV, SheetFormat.TSV},
    ".jsonl": {SheetFormat.JSONL, SheetFormat.JSON},
    ".ndjson": {SheetFormat.JSONL, SheetFormat.JSON},
    ".json": {SheetFormat.JSON, SheetFormat.JSONL},
}
_HOW = "Save the table as .xlsx, or as .csv in UTF-8, and bring that in"
_HOW_ZH = "请把表格另存为 .xlsx 或 UTF-8 编码的 .csv 再导入"


@dataclass(frozen=True, slots=True)
class Detected:
    """What a file is. `encoding` is empty for binary formats, `lossy` says that some bytes do not fit the encoding."""

    format: SheetFormat
    encoding: str = ""
    lossy: bool = False
    notes: tuple[RowProblem, ...] = ()


def detect(path: Path, name: str, limits: Limits) -> Detected:
    """Return what the file is, by its content.

    Raises SheetError for a file that is missing, empty, too big, encrypted, truncated, or no table at all.
    """
    size, head = _checked_size(path, name, limits)
    if head.startswith(_ZIP):
        found = Detected(_zip_format(path, name))
    elif head.startswith(_OLE2):
        found = Detected(_ole2_format(path, name, size), notes=(problem(Code.LEGACY_FORMAT),))
    else:
        _refuse_foreign(head, name)
        found = _text(path, name, head)
    expected = _EXTENSIONS.get(PurePath(name).suffix.lower())
    if expected is not None and found.format not in expected:
        note = problem(Code.RENAMED_FILE, value=PurePath(name).name, format=found.format.value)
        return Detected(found.format, found.encoding, found.lossy, (*found.notes, note))
    return found


def _checked_size(path: Path, name: str, limits: Limits) -> tuple[int, bytes]:
    """Return the file's size and its first bytes."""
    try:
        if path.is_dir():
            raise SheetError(f"{name} is a folder: name one file.", zh=f"{name} 是文件夹：请指定一个文件。")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_SAMPLE)
    except OSError as error:
        raise SheetError(
            f"{name} cannot be opened ({error.strerror}): check the path and its permissions.",
            zh=f"无法打开 {name}（{error.strerror}）：请检查路径和权限。",
        ) from error
    if size == 0:
        raise SheetError(
            f"{name} is empty (0 bytes): it may not have been saved or uploaded completely. Save it again.",
            zh=f"{name} 是空文件（0 字节）：可能没有保存或上传完整。请重新保存后再导入。",
        )
    if size > limits.max_bytes:
        have, most = size / 2**20, limits.max_bytes / 2**20
        raise SheetError(
            f"{name} has {have:,.1f} MiB; at most {most:,.1f} MiB are accepted. Split it, or raise PINGPAN_MAX_UPLOAD_MB.",
            zh=f"{name} 有 {have:,.1f} MiB，最多接受 {most:,.1f} MiB。请拆分文件，或调大 PINGPAN_MAX_UPLOAD_MB。",
        )
    return size, head


def _zip_format(path: Path, name: str) -> SheetFormat:
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
            mimetype = archive.read("mimetype")[:80] if "mimetype" in members else b""
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise SheetError(
            f"{name} is a truncated or damaged xlsx file ({error}). Download or save it again; opening and saving it in a "
            "spreadsheet program may mend it.",
            zh=f"{name} 是被截断或损坏的 xlsx 文件（{error}）。请重新下载或保存；用表格软件打开并另存也许能修复。",
        ) from error
    if any(member.startswith("xl/") and member.endswith("workbook.xml") for member in members):
        return SheetFormat.XLSX
    kinds = (
        ("xl/workbook.bin" in members, "an .xlsb workbook", "xlsb 工作簿"),
        (b"opendocument" in mimetype, "an OpenDocument file", "OpenDocument 文件"),
        (any(m.startswith("word/") for m in members), "a Word document", "Word 文档"),
        (any(m.startswith("ppt/") for m in members), "a presentation", "演示文稿"),
        (any(m.startswith("Index/") for m in members), "a Numbers or Pages file", "Numbers 或 Pages 文件"),
        (True, "a zip archive without a workbook in it", "不含工作簿的 zip 压缩包"),
    )
    what, what_zh = next((en, zh) for hit, en, zh in kinds if hit)
    raise SheetError(f"{name} is {what}. {_HOW}.", zh=f"{name} 是{what_zh}。{_HOW_ZH}。")


def _ole2_format(path: Path, name: str, size: int) -> SheetFormat:
    if size < 1536:
        raise SheetError(
            f"{name} is a truncated .xls file ({size} bytes). Download or save it again.",
            zh=f"{name} 是被截断的 .xls 文件（{size} 字节）。请重新下载或保存。",
        )
    content = path.read_bytes()
    if "EncryptedPackage".encode("utf-16-le") in content:
        raise SheetError(
            f"{name} is protected by a password and cannot be read. Open it, remove the password (File > Info > Protect Workbook), save it "
            "and bring it in again.",
            zh=f"{name} 有打开密码，无法读取。请打开它，去掉密码（文件 > 信息 > 保护工作簿），保存后再导入。",
        )
    if any(stream.encode("utf-16-le") + b"\0\0" in content for stream in ("Workbook", "Book")):
        return SheetFormat.XLS
    raise SheetError(
        f"{name} is an old Office file without a workbook in it (a .doc or .ppt?). {_HOW}.",
        zh=f"{name} 是旧版 Office 文件，但其中没有工作簿（可能是 .doc 或 .ppt）。{_HOW_ZH}。",
    )


def _refuse_foreign(head: bytes, name: str) -> None:
    for magic, what in _FOREIGN:
        if head.startswith(magic) and (what != "EXE" or b"\0" in head[:64]):
            raise SheetError(f"{name} is a {what} file, not a table. {_HOW}.", zh=f"{name} 是 {what} 文件，不是表格。{_HOW_ZH}。")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<table", b"<meta")):
        raise SheetError(
            f"{name} is a web page or XML file, as some systems export under the name .xls. Open it in a spreadsheet program and "
            "save it as .xlsx.",
            zh=f"{name} 是网页或 XML 文件（有些系统导出的 .xls 其实是这种）。请用表格软件打开并另存为 .xlsx。",
        )


def _text(path: Path, name: str, head: bytes) -> Detected:
    encoding, lossy, notes = _encoding(path, name, head)
    sample = head.decode(encoding, errors="replace").lstrip("\ufeff").lstrip()
    if not sample:
        raise SheetError(f"{name} holds only blank characters. Save the table again.", zh=f"{name} 只有空白字符。请重新保存表格。")
    return Detected(_text_format(sample, name), encoding, lossy, notes)


def _text_format(sample: str, name: str) -> SheetFormat:
    suffix = PurePath(name).suffix.lower()
    lines = [line.strip() for line in sample[:_CHUNK].split("\n") if line.strip()]
    objects = sum(line.startswith("{") and line.endswith("}") for line in lines)
    if sample.startswith("[") and (suffix in {".json", ".jsonl", ".ndjson"} or sample[1:].lstrip()[:1] in {"{", "]", "["}):
        return SheetFormat.JSON
    if sample.startswith("{"):
        lone = len(lines) == 1 and (objects == 0 or suffix == ".json")
        return SheetFormat.JSON if suffix not in {".jsonl", ".ndjson"} and (lone or objects == 0) else SheetFormat.JSONL
    if suffix in {".jsonl", ".ndjson"} and objects * 2 >= len(lines):
        return SheetFormat.JSONL
    return SheetFormat.TSV if suffix in {".tsv", ".tab"} else SheetFormat.CSV


def _encoding(path: Path, name: str, head: bytes) -> tuple[str, bool, tuple[RowProblem, ...]]:
    """Return the encoding, whether bytes are lost in it, and a note where it was guessed."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # before UTF-16, whose mark begins alike
        return "utf-32", _first_bad_byte(path, "utf-32") is not None, (problem(Code.ENCODING_GUESSED, value="utf-32"),)
    for mark, encoding in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(mark):
            return encoding, _first_bad_byte(path, encoding) is not None, ()
    wide = _utf16_without_mark(path, head)
    if wide:
        return wide, _first_bad_byte(path, wide) is not None, ()
    bad = _first_bad_byte(path, "utf-8")
    if bad is None:
        return "utf-8", False, ()
    if _first_bad_byte(path, "gb18030") is None and (_reads_as_chinese(head) or _names_in_chinese(head)):
        return "gb18030", False, ()
    if _mostly(path, "utf-8"):
        return "utf-8", True, ()
    if _reads_as_chinese(head) and _mostly(path, "gb18030"):
        return "gb18030", True, ()
    guess = _guessed(path, head)
    if guess:
        return guess, False, (problem(Code.ENCODING_GUESSED, value=guess),)
    raise SheetError(
        f"{name} is no text in UTF-8, UTF-16 or GB18030 (byte {bad + 1:,} fits none). Open it in the program that made it and save it as "
        "CSV UTF-8.",
        zh=f"{name} 不是 UTF-8、UTF-16 或 GB18030 文本（第 {bad + 1:,} 个字节都不符合）。请用生成它的程序另存为 CSV UTF-8。",
    )


def _utf16_without_mark(path: Path, head: bytes) -> str:
    """Return utf-16-le or utf-16-be where line breaks and commas are seen as two bytes and the text reads as text, else ""."""
    zeros = head.count(0)
    if len(head) < 4 or not zeros:
        return ""
    even, odd = head[0::2], head[1::2]
    little = sum(odd[i] == 0 for i, byte in enumerate(even[: len(odd)]) if byte in _SEPARATORS)
    big = sum(even[i] == 0 for i, byte in enumerate(odd[: len(even)]) if byte in _SEPARATORS)
    encoding = "utf-16-le" if little >= big else "utf-16-be"
    text = head[: len(head) // 2 * 2].decode(encoding, errors="replace")
    readable = len(_ORDINARY.findall(text)) * 4 >= len(text) * 3 or _names_columns(text)
    if not max(little, big) or not readable:
        return ""
    # Text in UTF-8 may hold a stray zero byte; text in UTF-16 that is UTF-8 too is plain ASCII, half of it zeros.
    return encoding if zeros * 4 > len(head) or _first_bad_byte(path, "utf-8") is not None else ""


def _first_bad_byte(path: Path, encoding: str) -> int | None:
    """Return the offset of the first bytes that are not `encoding`, or None. Reads the whole file, a chunk at a time."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    offset = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return max(0, offset + error.start)
            if not chunk:
                return None
            offset += len(chunk)


def _mostly(path: Path, encoding: str) -> bool:
    """Return whether at most one byte in 200 of a file's first MiB is not `encoding`: damage, not another encoding."""
    with path.open("rb") as file:
        sample = file.read(_CHUNK)
    text = sample.decode(encoding, errors="replace")
    beyond_ascii = sum(1 for character in text if ord(character) > 127)
    damaged = text.count("\ufffd")
    return damaged * 200 <= len(text) and damaged * 4 <= beyond_ascii


def _reads_as_chinese(head: bytes) -> bool:
    """Return whether text read as GB18030 is mostly the common Chinese characters and punctuation of GB 2312.

    Other East Asian encodings often decode as GB18030 too, into rare characters.
    """
    text = head.decode("gb18030", errors="ignore")
    wide = [character for character in text if ord(character) > 127]
    if not wide:
        return True
    common = 0
    for character in wide:
        code = character.encode("gb18030")
        frequent = 0xB0 <= code[0] <= 0xD7 and code[1] >= 0xA1
        common += len(code) == 2 and (frequent or code[0] in {0xA1, 0xA3})
    return common * 10 >= len(wide) * 7


def _names_columns(text: str) -> bool:
    """Return whether the first line names a column in Chinese, or two in any language: no wrong encoding does so by chance."""
    names = [cell for cell in re.split(r'[,;\t|"]', text.split("\n", 1)[0]) if known_field(cell)]
    return len(names) > 1 or not "".join(names).isascii()


def _names_in_chinese(head: bytes) -> bool:
    """Return whether the first line, read as GB18030, names a column in Chinese."""
    line = head.split(b"\n", 1)[0].decode("gb18030", errors="ignore")
    return any(not cell.isascii() and known_field(cell) for cell in re.split(r'[,;\t|"]', line))


def _guessed(path: Path, head: bytes) -> str:
    """Return the encoding that charset-normalizer sees, when the whole file decodes in it."""
    from charset_normalizer import from_bytes

    best = from_bytes(head).best()
    if best is None or best.encoding in {"ascii", "utf_8"}:
        return ""
    return best.encoding if _first_bad_byte(path, best.encoding) is None else ""
