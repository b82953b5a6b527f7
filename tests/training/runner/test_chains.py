"""A chain says what comes after what, and a product goes exactly where it fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import JobError
from core.training import JobKind, Stage
from training.context import Product
from training.heads.spec import HeadSpec
from training.specs import EvaluateSpec, FineTuneSpec, MergeSpec, QuantizeMethod, QuantizeSpec, read_spec
from webapp.services.training.chains import PRODUCT, Forms, fill, needs_product, plan

SNAPSHOT, PYTHON = Path("/data/snapshots/1"), Path("/venv/bin/python")
FIRST = FineTuneSpec(name="fluency", model="/models/base", snapshot=SNAPSHOT)
ADAPTER = Product(
    Stage.ADAPTER,
    "transformers",
    {"model": "/models/base", "revision": "abc", "adapter": "/jobs/1/output/adapter"},
    Path("/jobs/1/output/adapter"),
)
MERGED = Product(Stage.MERGED, "transformers", {"model": "/jobs/3/output/model"}, Path("/jobs/3/output/model"))


def test_every_form_is_measured_and_each_job_waits_for_what_it_needs() -> None:
    links = plan(FIRST, SNAPSHOT, Forms(merge=True, quantize=list(QuantizeMethod)), PYTHON)
    kinds = [(link.spec.kind, link.after) for link in links]
    assert kinds == [
        (JobKind.FINE_TUNE, None),
        (JobKind.EVALUATE, 0),
        (JobKind.MERGE, 0),
        (JobKind.EVALUATE, 2),
        (JobKind.QUANTIZE, 2),
        (JobKind.EVALUATE, 4),
        (JobKind.QUANTIZE, 2),
        (JobKind.EVALUATE, 6),
    ]
    assert [(link.spec.kind, link.after) for link in plan(FIRST, SNAPSHOT, Forms(), PYTHON)] == kinds[:2]
    whole = plan(FIRST, SNAPSHOT, Forms(merge=True, quantize=[QuantizeMethod.AWQ]), PYTHON, whole=True)
    assert [(link.spec.kind, link.after) for link in whole][2:] == [(JobKind.QUANTIZE, 0), (JobKind.EVALUATE, 2)]
    for link in links:
        assert read_spec(link.spec.model_dump_json(), "spec") == link.spec


def test_products_fill_what_comes_after_them() -> None:
    links = plan(FIRST, SNAPSHOT, Forms(merge=True, quantize=[QuantizeMethod.W8A8]), PYTHON)
    measured, merge, quantize = (fill(links[place].spec, product) for place, product in ((1, ADAPTER), (2, ADAPTER), (4, MERGED)))
    assert isinstance(measured, EvaluateSpec)
    assert (measured.judge.family, measured.judge.options) == ("transformers", ADAPTER.options)
    assert isinstance(merge, MergeSpec)
    assert (merge.model, merge.revision, merge.adapter) == ("/models/base", "abc", ADAPTER.path)
    assert isinstance(quantize, QuantizeSpec)
    assert quantize.model == MERGED.path
    assert PRODUCT not in measured.model_dump_json() + merge.model_dump_json() + quantize.model_dump_json()
    assert fill(FIRST, None) is FIRST


@pytest.mark.parametrize(("place", "product"), [(1, None), (2, MERGED), (4, ADAPTER)])
def test_what_does_not_fit_is_told(place: int, product: Product | None) -> None:
    links = plan(FIRST, SNAPSHOT, Forms(merge=True, quantize=[QuantizeMethod.AWQ]), PYTHON)
    with pytest.raises(JobError, match="cannot go on") as caught:
        fill(links[place].spec, product)
    assert "任务无法继续" in caught.value.messages["zh"]


def test_a_head_goes_on_from_the_output_of_a_fault_pretraining() -> None:
    fields = {"name": "head", "model": "/models/base", "snapshot": SNAPSHOT, "dimension": "fluency", "reader": PRODUCT}
    head = HeadSpec.model_validate(fields)
    assert needs_product(head)
    filled = fill(head, None, Path("/jobs/1/output"))
    assert isinstance(filled, HeadSpec)
    assert filled.reader == Path("/jobs/1/output")
    assert not needs_product(filled)
