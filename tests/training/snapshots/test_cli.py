"""`./run.sh snapshots …` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from core.errors import BadRowsError, ExportError
from core.types import Origin
from tests.training.snapshots.made import library_rows, workbench
from webapp.cli.app import app


def type_in(*words: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "220"}).invoke(app, ["snapshots", *map(str, words)])


def printed(*words: str | Path) -> str:
    result = type_in(*words)
    assert result.exit_code == 0, result.output
    return result.output


def test_make_list_show_export_and_import(home: Path, tmp_path: Path) -> None:
    workbench(home).store.save_library("作文", library_rows(90), Origin.IMPORT, "老师")
    chosen = ("--library", "作文", "--dimension", "fluency", "--dimension", "choice", "--balance", "0.6")
    assert "would hold 48 training and 12 held-out rows in 60 families" in printed("make", "first", *chosen, "--dry-run")
    assert "first" not in printed("list")
    made = printed("make", "first", *chosen)
    assert "snapshot 1:" in made
    assert "first (lineage main): 48 training and 12 held-out rows" in made
    assert "first" in printed("list")
    shown = printed("show", "1", "--rows", "1", "--split", "held_out")
    assert "按下表取" in shown
    out = tmp_path / "there" / "train.json"
    assert str(out) in printed("export", "1", "xtuner", "--out", out)
    assert len(json.loads(out.read_text(encoding="utf-8"))) == 48
    assert "back: 48 rows (xtuner; 48 with Pingpan's own prompts)" in printed("import", out, "--library", "back")
    strange = [{"instruction": "给分：甲", "output": "3"}, {"instruction": "给分：乙", "output": "三"}]
    out.write_text(json.dumps(strange), encoding="utf-8")
    refused = type_in("import", out, "--dimension", "fluency").exception
    assert isinstance(refused, BadRowsError)
    assert refused.rows == (2,)
    assert "record 2 answers '三'" in printed("import", out, "--dimension", "fluency", "--skip-bad-rows")
    with pytest.raises(ExportError, match="xtuner, trl, alpaca, sharegpt"):
        raise type_in("export", "1", "csv").exception or AssertionError
