"""Chains of jobs: what is made first fills the specs of what comes after it.

A job of a chain names the job whose product it needs (`Job.after`), and its spec has PRODUCT where the product goes. A
measurement and the next form of a model both come after the same job, so a measurement that fails keeps nothing else waiting.
All jobs of a chain bear its name: what each does is its kind, which pages tell in the reader's language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import JobError
from core.training import Stage
from training.context import Product
from training.heads.spec import HeadSpec
from training.specs import EvaluateSpec, JobSpec, JudgeLine, MergeSpec, QuantizeMethod, QuantizeSpec

PRODUCT = "@product"


@dataclass(frozen=True, slots=True)
class Link:
    """A job of a chain before it is stored; `after` is the place in the chain of the job that it waits for."""

    spec: JobSpec
    after: int | None


@dataclass(frozen=True, slots=True)
class Forms:
    """Which forms are made of what a job trains, and whether each is measured; `device` is for merging and quantizing."""

    measure: bool = True
    merge: bool = False
    quantize: Sequence[QuantizeMethod] = ()
    device: str = "auto"


def plan(first: JobSpec, snapshot: Path, forms: Forms, lmdeploy_python: Path, *, whole: bool = False) -> list[Link]:
    """Return the chain that begins with `first`; `whole`: it makes a model that needs no merging."""
    links = [Link(first, None)]
    if forms.measure:
        links.append(Link(measurement(first.name, snapshot), 0))
    begun = len(links)
    later = further(first.name, snapshot, forms, lmdeploy_python, whole=whole)
    return links + [Link(link.spec, 0 if link.after is None else link.after + begun) for link in later]


def further(name: str, snapshot: Path, forms: Forms, lmdeploy_python: Path, *, whole: bool = False) -> list[Link]:
    """Return the jobs that make further forms of a product that is there; those without `after` come after its job."""
    links: list[Link] = []

    def made(spec: JobSpec, after: int | None) -> int:
        place = len(links)
        links.append(Link(spec, after))
        if forms.measure:
            links.append(Link(measurement(spec.name, snapshot), place))
        return place

    merged = None
    if (forms.merge or forms.quantize) and not whole:
        merged = made(merging(name, forms.device), None)
    for method in forms.quantize:
        made(quantizing(name, snapshot, method, lmdeploy_python, forms.device), merged)
    return links


def measurement(name: str, snapshot: Path, judge: JudgeLine | None = None) -> EvaluateSpec:
    """Return the spec that measures a judge, without one the product before it, on a snapshot's held-out rows."""
    line = judge or JudgeLine(id="candidate", family=PRODUCT)
    return EvaluateSpec.model_validate({"name": _short(name), "judge": line, "snapshot": snapshot})


def merging(name: str, device: str = "auto") -> MergeSpec:
    """Return the spec that merges the adapter before it; the sum is made on the processor unless a card is named."""
    where = "cpu" if device == "auto" else device
    return MergeSpec.model_validate({"name": _short(name), "model": PRODUCT, "adapter": Path(PRODUCT), "device": where})


def quantizing(name: str, snapshot: Path, method: QuantizeMethod, lmdeploy_python: Path, device: str = "auto") -> QuantizeSpec:
    """Return the spec that quantizes the model before it, calibrated on the snapshot's own prompts."""
    fields = {"model": Path(PRODUCT), "method": method, "snapshot": snapshot, "device": device, "lmdeploy_python": lmdeploy_python}
    return QuantizeSpec.model_validate({"name": _short(name), **fields})


def needs_product(spec: JobSpec) -> bool:
    """Return whether a spec has a place for the product before it."""
    if isinstance(spec, EvaluateSpec):
        return spec.judge.family == PRODUCT
    if isinstance(spec, MergeSpec):
        return PRODUCT in {spec.model, str(spec.adapter)}
    if isinstance(spec, HeadSpec):
        return str(spec.reader) == PRODUCT
    return isinstance(spec, QuantizeSpec) and str(spec.model) == PRODUCT


def fill(spec: JobSpec, product: Product | None, output: Path | None = None) -> JobSpec:
    """Return the spec with the product before it in its place; a spec that needs none stays as it is.

    `output` is the output folder of the job before: what a head goes on from, since a fault pretraining makes no judge.

    Raises JobError where the product does not fit: none, a merged model that is to be merged, an adapter to be quantized.
    """
    if not needs_product(spec):
        return spec
    if isinstance(spec, HeadSpec) and output is not None:
        return spec.model_copy(update={"reader": output})
    if product is None:
        raise _unfit(spec, "the job before it made no judge", "前一个任务没有产出评委")
    if isinstance(spec, EvaluateSpec):
        judge = JudgeLine(id=spec.judge.id, family=product.family, options=dict(product.options))
        return spec.model_copy(update={"judge": judge})
    if isinstance(spec, MergeSpec):
        if product.stage is not Stage.ADAPTER:
            raise _unfit(
                spec, f"only an adapter can be merged, not {product.stage.value}", f"只有适配器可以合并，{product.stage.value} 不行"
            )
        revision = product.options.get("revision")
        update = {"model": str(product.options["model"]), "revision": None if revision is None else str(revision), "adapter": product.path}
        return spec.model_copy(update=update)
    if product.stage is not Stage.MERGED:
        raise _unfit(
            spec,
            f"only a merged model can be quantized, not {product.stage.value}",
            f"只有合并后的模型可以量化，{product.stage.value} 不行",
        )
    return spec.model_copy(update={"model": product.path})


def _short(name: str) -> str:
    return name if len(name) <= 120 else name[:58] + "…" + name[-58:]


def _unfit(spec: JobSpec, en: str, zh: str) -> JobError:
    return JobError(f"{spec.name}: this job cannot go on, {en}.", zh=f"{spec.name}：任务无法继续，{zh}。")
