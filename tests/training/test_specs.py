"""Specs as people write them: every limit holds, every fault is told with its field, and what was written is read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from core.errors import JobError
from core.training import JobKind
from training.faults.spec import FaultPretrainSpec
from training.heads.spec import HeadSpec
from training.presets import MODERN, PRESETS, PUBLISHED
from training.registry import job_function, kinds
from training.specs import EvaluateSpec, FineTuneSpec, JobSpec, MergeSpec, QuantizeSpec, read_spec

REQUIRED: dict[type[BaseModel], dict[str, Any]] = {
    FineTuneSpec: {"model": "m", "snapshot": "/s"},
    EvaluateSpec: {"judge": {"id": "j", "family": "rules"}, "snapshot": "/s"},
    MergeSpec: {"model": "m", "adapter": "/a"},
    QuantizeSpec: {"model": "/m", "snapshot": "/s", "lmdeploy_python": "/p"},
    FaultPretrainSpec: {"model": "m", "texts": ["/t.txt"]},
    HeadSpec: {"model": "m", "snapshot": "/s", "dimension": "fluency"},
}
STEP = {int: 1, float: 1e-6}


def written(model: type[BaseModel], **changes: Any) -> str:
    kind = model.model_fields["kind"].default
    return json.dumps({"kind": kind, "name": "任务", **REQUIRED[model], **changes})


def bounds() -> Iterator[tuple[type[BaseModel], str, float, float]]:
    """Yield each bounded field with a value at its bound that is allowed, and the nearest one that is not."""
    for model in REQUIRED:
        for name, field in model.model_fields.items():
            step = STEP.get(int if int in (field.annotation, *get_args(field.annotation)) else float, 0)
            for part in field.metadata:
                if isinstance(part, Ge):
                    yield model, name, part.ge, part.ge - step  # type: ignore[operator]
                elif isinstance(part, Gt):
                    yield model, name, part.gt + step, part.gt  # type: ignore[operator]
                elif isinstance(part, Le):
                    yield model, name, part.le, part.le + step  # type: ignore[operator]
                elif isinstance(part, Lt):
                    yield model, name, part.lt - step, part.lt  # type: ignore[operator]
                else:
                    assert not isinstance(part, Interval)


def test_every_bound_is_allowed_and_one_step_beyond_is_told_with_its_field() -> None:
    seen = 0
    for model, name, allowed, beyond in bounds():
        spec = read_spec(written(model, **{name: allowed}), "spec.json")
        assert getattr(spec, name) == allowed
        with pytest.raises(JobError, match=rf"spec\.json: this job cannot be run(.|\n)*{name}: ") as caught:
            read_spec(written(model, **{name: beyond}), "spec.json")
        assert "请改正以下字段" in caught.value.messages["zh"]
        assert f"{name}: " in caught.value.messages["zh"]
        seen += 1
    assert seen > 80


@pytest.mark.parametrize("model", list(REQUIRED))
def test_what_is_written_is_read_back_and_what_is_not_known_or_missing_is_told(model: type[BaseModel]) -> None:
    spec = read_spec(written(model), "x")
    assert type(spec) is model
    assert read_spec(spec.model_dump_json(), "x") == spec
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    assert set(required) == {"name", *REQUIRED[model]}
    bare = json.dumps({"kind": model.model_fields["kind"].default, "batchsize": 3})
    with pytest.raises(JobError) as caught:
        read_spec(bare, "x")
    for name in (*required, "batchsize"):  # all at once, not one after the other
        assert f"{name}: " in caught.value.messages["en"]
    with pytest.raises(JobError, match="name: "):
        read_spec(written(model, name=""), "x")
    with pytest.raises(JobError, match="name: "):
        read_spec(written(model, name="长" * 121), "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([*JobKind]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["kind", "name", "judge", "seed", "snapshot"]), inner),
    max_leaves=5,
)


@settings(max_examples=25)
@given(text=JSON.map(lambda value: json.dumps(value)) | st.text(max_size=8))
@example(text='{"kind": ["evaluate"]}')
@example(text='{"kind": "train"}')
@example(text='{"kind": "merge", "name": "\\ud800"}')
@example(text="[" * 5000)
@example(text='{"kind": "merge", "seed": ' + "9" * 5000 + "}")
def test_whatever_a_spec_file_holds_its_faults_are_told(text: str) -> None:
    try:
        spec = read_spec(text, "here")
    except JobError as error:
        assert error.messages["en"].startswith("here: ")
        assert error.messages["zh"].startswith("here：")
    else:
        assert spec.name


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(JobError) as caught:
        read_spec('{"kind": "train", "name": "x"}', "x")
    for kind in JobKind:
        assert f"'{kind}'" in caught.value.messages["en"]


def test_every_kind_of_spec_has_a_function_that_does_it() -> None:
    specs = get_args(get_args(JobSpec)[0])
    assert set(specs) == set(REQUIRED)
    assert {model.model_fields["kind"].default for model in specs} == set(kinds()) == set(JobKind)
    for kind in JobKind:
        function: Any = job_function(kind)
        assert getattr(import_module(function.__module__), function.__name__) is function


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_user_sets_goes_before_the_preset_and_the_rest_is_the_presets(preset: Any) -> None:
    needed = {"name": "x", "model": "m", "snapshot": Path("/s")}
    plain = preset.apply(needed)
    own = preset.apply({**needed, "rank": 3, "batch_size": 7})
    assert (own.rank, own.batch_size) == (3, 7)
    assert own.model_dump(exclude={"rank", "batch_size"}) == plain.model_dump(exclude={"rank", "batch_size"})
    assert plain.batch_size * plain.accumulation == 16
    assert set(preset.names) == set(preset.words) == {"zh", "en"}
    with pytest.raises(ValidationError, match="rank"):
        preset.apply({**needed, "rank": 0})
    with pytest.raises(TypeError):
        preset.values["rank"] = 1  # shared by everybody


def test_presets_differ_and_the_one_shown_first_is_the_defaults() -> None:
    needed = {"name": "x", "model": "m", "snapshot": Path("/s")}
    made = [preset.apply(needed) for preset in PRESETS]
    assert all(one != other for one, other in combinations(made, 2))
    assert PRESETS[0] is MODERN
    assert made[0] == FineTuneSpec.model_validate(needed)
    published = PUBLISHED.apply(needed)
    for words in PUBLISHED.words.values():  # what the words promise
        for number in (published.rank, published.alpha, published.dropout, published.batch_size * published.accumulation):
            assert f"{number:g}" in words
