"""The smallest OLE2 containers: an old .xls workbook, and the envelope of an encrypted xlsx."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

_SECTOR = 512
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def write_ole2(path: Path, stream_name: str, content: bytes) -> Path:
    """Write a container with one stream, long enough to need no mini stream."""
    content = content.ljust(4096, b"\0")
    content = content.ljust(-(-len(content) // _SECTOR) * _SECTOR, b"\0")
    sectors = len(content) // _SECTOR
    fat = [_FAT, _END, *range(3, 2 + sectors), _END]
    fat += [_FREE] * (128 - len(fat))
    header = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(16)
        + struct.pack("<HHHHH6xIIIIIIIIII", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, _END, 0, _END, 0, 0)
    )
    header = header[:76] + struct.pack("<109I", 0, *[_FREE] * 108)
    directory = _entry("Root Entry", 5, child=1, start=_END, size=0) + _entry(stream_name, 2, child=_FREE, start=2, size=len(content))
    path.write_bytes(header + struct.pack("<128I", *fat) + directory.ljust(_SECTOR, b"\0") + content)
    return path


def _entry(name: str, kind: int, *, child: int, start: int, size: int) -> bytes:
    encoded = name.encode("utf-16-le") + b"\0\0"
    return encoded.ljust(64, b"\0") + struct.pack("<HBBIII36xIQ", len(encoded), kind, 1, _FREE, _FREE, child, start, size)


def write_xls(path: Path, rows: Sequence[Sequence[str | float]]) -> Path:
    """Write a BIFF8 workbook with one worksheet."""
    begin = struct.pack("<HHHHII", 0x0600, 0x0005, 0, 0, 0, 0)
    name = "表一".encode("utf-16-le")
    globals_size = (4 + len(begin)) + (4 + 8 + len(name)) + 4
    book = _record(0x0809, begin) + _record(0x0085, struct.pack("<IHBB", globals_size, 0, 2, 1) + name) + _record(0x000A, b"")
    cells = b""
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            place = struct.pack("<HHH", row, column, 0)
            if isinstance(value, str):
                text = value.encode("utf-16-le")
                cells += _record(0x0204, place + struct.pack("<HB", len(value), 1) + text) if value else b""
            else:
                cells += _record(0x0203, place + struct.pack("<d", value))
    sheet = _record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0010, 0, 0, 0, 0)) + cells + _record(0x000A, b"")
    return write_ole2(path, "Workbook", book + sheet)


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<HH", kind, len(body)) + body
