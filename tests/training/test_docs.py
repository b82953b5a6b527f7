"""Every field of a job's spec stands in the docs with its default, and every preset is named."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from tests.conftest import ROOT
from training.faults.spec import FaultPretrainSpec
from training.heads.spec import HeadSpec
from training.presets import PRESETS
from training.specs import EvaluateSpec, FineTuneSpec, MergeSpec, QuantizeSpec

TEXT = (ROOT / "docs" / "TRAINING.md").read_text(encoding="utf-8")
FAULTS = (ROOT / "docs" / "FAULTS.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [FineTuneSpec, EvaluateSpec, MergeSpec, QuantizeSpec])
def test_every_field_stands_in_its_table_with_its_default(model: type[BaseModel]) -> None:
    heading = "## Quantizing" if model is QuantizeSpec else f"### `{model.model_fields['kind'].default.value}`"
    holds_its_table(model, TEXT.split(heading + "\n")[1].strip().split("\n\n")[0])


@pytest.mark.parametrize("model", [FaultPretrainSpec, HeadSpec])
def test_every_field_of_a_job_on_faults_stands_in_its_table_with_its_default(model: type[BaseModel]) -> None:
    kind = model.model_fields["kind"].default.value
    holds_its_table(model, FAULTS.split(f"The job's kind is `{kind}`")[1].split("\n\n")[1])


def holds_its_table(model: type[BaseModel], table: str) -> None:
    """Check the table of a spec: every field, with its default and its own words."""
    rows = {name: (default, words) for name, default, words in re.findall(r"^\| `(\w+)` \| ([^|]*) \| (.*) \|$", table, re.MULTILINE)}
    assert set(rows) == set(model.model_fields) - {"kind"}
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        default, words = rows[name]
        said = "required" if field.is_required() else shown(field.get_default())
        assert default.strip("`") == said, name
        assert words == field.description, name


def shown(value: object) -> str:
    """Return a default as the tables write it."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(getattr(value, "value", value)) or '""'


def test_every_preset_is_named_and_can_be_used() -> None:
    for preset in PRESETS:
        assert f"| `{preset.id}` |" in TEXT
        spec = preset.apply({"name": "x", "model": "m", "snapshot": ROOT})
        assert all(getattr(spec, name) == value for name, value in preset.values.items())
