"""The judge of the `ordinal_head` family: grades a text by one pass and tells where it suspects faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.errors import JudgeError
from core.faultmarks import FAULTS_KEY, MARK_NAMES, SuspectedFault, fault_facts
from core.judging.head.files import HeadFile
from core.judging.head.layout import Window, read_windows
from core.judging.head.options import read_options
from core.judging.head.reader import RowReader, RowReading
from core.judging.head.spans import character_chances, mark_faults
from core.judging.panel_judge import Abstention, Answer, PanelJudge, distribution, quoted
from core.ports import JudgeContext
from core.types import DimensionKind, JudgeRequest, JudgeSpec, LocalText

_SHOWN = 3
_EXCERPT = 12


class HeadJudge(PanelJudge):
    """Grades the one dimension that its head was trained for."""

    def __init__(self, spec: JudgeSpec, head: HeadFile, tokenizer: Any, reader: RowReader, mark_from: float) -> None:
        super().__init__(spec)
        self._head = head
        self._tokenizer = tokenizer
        self._reader = reader
        self._mark_from = mark_from

    def refusal(self, request: JudgeRequest) -> Answer | Abstention | None:
        """Abstain from other dimensions and scales than the head's, and from empty texts."""
        dimension, head = request.dimension, self._head
        if dimension.id != head.dimension or dimension.labels != head.labels or dimension.kind is not DimensionKind.ORDINAL:
            scale = "/".join(map(str, head.labels))
            zh = f"本评委只学过维度 {head.dimension}（{scale}），不评「{dimension.name('zh')}」。"
            en = f"This judge has learned the dimension {head.dimension} ({scale}) alone; it does not judge {dimension.name('en')}."
            return Abstention({"zh": zh, "en": en})
        return super().refusal(request)

    def answer(self, requests: Sequence[JudgeRequest]) -> list[Answer | Abstention]:
        """Return the grade of each text with its suspected faults."""
        if not hasattr(self, "_reader"):
            raise JudgeError(f"Judge {self.id!r} is closed.", zh=f"评委 {self.id!r} 已关闭。")
        texts = [request.item.text for request in requests]
        prompts = [request.item.prompt for request in requests] if self._head.reads_prompt else None
        rows = read_windows(self._tokenizer, texts, self._head.max_length, prompts)
        readable = [place for place, windows in enumerate(rows) if windows]
        readings = dict(zip(readable, self._reader.read([rows[place] for place in readable]), strict=True))
        return [
            self._answer(request.item.text, rows[place], readings[place]) if place in readings else _unreadable()
            for place, request in enumerate(requests)
        ]

    def _answer(self, text: str, windows: Sequence[Window], reading: RowReading) -> Answer:
        spans = [span for window in windows for span in window.spans]
        faults: list[SuspectedFault] = []
        if self._head.marks:
            faults = mark_faults(text, character_chances(len(text), spans, reading.chances), self._head.kinds, self._mark_from)
        per = self._head.rate_per
        facts: dict[str, object] = {"characters": len(text), f"per_{per}": round(reading.rate, 2), FAULTS_KEY: fault_facts(faults)}
        return Answer(distribution(self._head.labels, reading.probabilities.tolist()), facts, _rationale(text, faults, reading.rate, per))


def _unreadable() -> Abstention:
    return Abstention({"zh": "文本里没有模型认识的字符。", "en": "The text has no character that the model knows."})


def _rationale(text: str, faults: Sequence[SuspectedFault], told: float, per: int) -> LocalText:
    if not faults:
        return {
            "zh": f"{len(text)} 字里没有疑似错误。",
            "en": f"No suspected fault in {len(text)} characters.",
        }
    kinds = Counter(fault.kind for fault in faults if fault.kind).most_common(3)
    surest = sorted(faults, key=lambda fault: (-fault.probability, fault.start))[:_SHOWN]
    places = [quoted(text[fault.start : fault.end][:_EXCERPT]) for fault in surest]
    zh_kinds = "、".join(f"{MARK_NAMES[kind]['zh']} {count}" for kind, count in kinds)
    en_kinds = ", ".join(f"{MARK_NAMES[kind]['en']} {count}" for kind, count in kinds)
    rate, zh_per = max(0.0, told), {100: "每百字", 1000: "每千字"}.get(per, f"每 {per} 字")
    return {
        "zh": f"{len(text)} 字里有 {len(faults)} 处疑似错误（{zh_kinds}），估计{zh_per} {rate:.1f} 处；最可疑："
        + "、".join(f"「{place}」" for place in places)
        + "。",
        "en": f"Suspected faults: {len(faults)} in {len(text)} characters ({en_kinds}), about {rate:.1f} per {per}; most suspect: "
        + ", ".join(f"“{place}”" for place in places)
        + ".",
    }


def make_head_judge(spec: JudgeSpec, context: JudgeContext) -> HeadJudge:
    """Return the judge of a panel's line, its model loaded; see HeadOptions for what the line may say.

    Raises PanelError for wrong options, and JudgeError with what is missing: the head's folder, the base model, a device
    or a library.
    """
    from core.judging.head.load import load_head

    options = read_options(spec.id, spec.options)
    loaded = load_head(spec.id, options, context.cache_dir, context.panel_id)
    mark_from = loaded.head.mark_from if options.mark_from is None else options.mark_from
    return HeadJudge(spec, loaded.head, loaded.tokenizer, loaded.reader, mark_from)
