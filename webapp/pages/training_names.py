"""What jobs, candidates and devices are called on the pages: what the program named itself is told in the page's language."""

from __future__ import annotations

import json
from collections.abc import Mapping

from core.training import Job, JobKind
from core.types import LocalText
from training.specs import Method, QuantizeMethod
from webapp.pages.render import load_renderer
from webapp.pages.translate import Language, Translator

HEAD_NAMES: LocalText = {"zh": "序数头", "en": "Ordinal head"}
AUTO, PROCESSOR = "auto", "cpu"
_QUANTIZED: Mapping[str, str] = {QuantizeMethod.AWQ: "training.offer_awq", QuantizeMethod.W8A8: "training.offer_w8a8"}


def shown_name(t: Translator, name: str) -> str:
    """Return a name that the training page proposed, on a page of whatever language, in this one; any other name stays."""
    method, parting, model = name.partition(" · ")
    for language in Language:
        words = _methods(load_renderer(language).t)
        if parting and method in words:
            return t("training.auto_name", method=_methods(t)[words.index(method)], model=model)
    return name


def _methods(t: Translator) -> list[str]:
    return [t.pick(HEAD_NAMES), *(t.member("training_option", method) for method in Method)]


def job_name(t: Translator, job: Job, judges: Mapping[str, str]) -> str:
    """Return what a job is called; `judges` are the words for "panel/judge", which measurements of a panel's judge are named by."""
    if job.kind is JobKind.EVALUATE and job.name in judges:
        return judges[job.name]
    return shown_name(t, job.name)


def job_words(t: Translator, job: Job) -> str:
    """Return what a job does: its kind, and to how many bits it quantizes."""
    if job.kind is JobKind.QUANTIZE:
        method = json.loads(job.spec).get("method", "")
        if method in _QUANTIZED:
            return t(_QUANTIZED[method])
    return t.member("job_kind", job.kind)


def setting_words(t: Translator, field: str, value: str, dimensions: Mapping[str, str]) -> str:
    """Return a setting's value in words where it has some; `dimensions` are the dimensions' names."""
    if field == "kind":
        return t.member("job_kind", value)
    return dimensions.get(value, value) if field == "dimension" else t.member("training_option", value)


def device_words(t: Translator, device: str) -> str:
    """Return what a device is called."""
    if device == PROCESSOR:
        return t("training.processor")
    return t("training.card_auto") if device == AUTO else device
