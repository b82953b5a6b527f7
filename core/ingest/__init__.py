"""Bringing sheets in (xlsx, xls, csv, tsv, jsonl, json) and results out (csv, xlsx, jsonl); see docs/DATA.md."""

from __future__ import annotations

from core.ingest.columns import HEADER_ALIASES
from core.ingest.export import ExportSummary
from core.ingest.export_csv import RESULT_COLUMNS, RESULT_ENCODINGS, write_result_csv
from core.ingest.export_jsonl import write_jsonl
from core.ingest.export_xlsx import write_full_xlsx
from core.ingest.model import Limits, ParsedSheet, SheetField, SheetFormat
from core.ingest.problems import Code
from core.ingest.sheet import read_sheet

__all__ = [
    "HEADER_ALIASES",
    "RESULT_COLUMNS",
    "RESULT_ENCODINGS",
    "Code",
    "ExportSummary",
    "Limits",
    "ParsedSheet",
    "SheetField",
    "SheetFormat",
    "read_sheet",
    "write_full_xlsx",
    "write_jsonl",
    "write_result_csv",
]
