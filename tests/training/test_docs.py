"""Every field of a job's spec stands in the docs with its default, and every preset is named."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from tests.conftest import ROOT
from training.presets import PRESETS
from training.specs import EvaluateSpec, FineTuneSpec, MergeSpec, QuantizeSpec

TEXT = (ROOT / "docs" / "TRAINING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [FineTuneSpec, EvaluateSpec, MergeSpec, QuantizeSpec])
def test_every_field_stands_in_its_table_with_its_default(model: type[BaseModel]) -> None:
    heading = "## Quantizing" if model is QuantizeSpec else f"### `{model.model_fields['kind'].default.value}`"
    table = TEXT.split(heading + "\n")[1].strip().split("\n\n")[0]
    rows = {name: (default, words) for name, default, words in re.findall(r"^\| `(\w+)` \| ([^|]*) \| (.*) \|$", table, re.MULTILINE)}
    assert set(rows) == set(model.model_fields) - {"kind"}
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        default, words = rows[name]
        value = "required" if field.is_required() else field.get_default()
        said = str(value).lower() if isinstance(value, bool) else "none" if value in (None, ()) else str(getattr(value, "value", value))
        assert default == said, name
        assert words == field.description, name


def test_every_preset_is_named_and_can_be_used() -> None:
    for preset in PRESETS:
        assert f"| `{preset.id}` |" in TEXT
        spec = preset.apply({"name": "x", "model": "m", "snapshot": ROOT})
        assert all(getattr(spec, name) == value for name, value in preset.values.items())
