"""The judge that follows rules: reads 选择题 rows exactly, and grades by faults that rules can see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from core.judging.choice import read_choice
from core.judging.faults import FAULT_NAMES, Fault
from core.judging.learned_judge import LearnedJudge, Note, Reading, Row
from core.judging.panel_judge import CHOICE, Abstention, Answer, distribution, quoted
from core.judging.priors import has_prior, prior_answer
from core.judging.profile import Profile, profile, style_matrix
from core.ports import JudgeContext
from core.types import DimensionKind, JudgeRequest, JudgeSpec

# A text with more faults than these is bad without the rest.
_SHOWN = 40
_LEAST_CONFIDENCE, _MOST_CONFIDENCE = 0.501, 0.995
_EMPTY_CONFIDENCE = 0.96


class RulesJudge(LearnedJudge[None]):
    """Counts visible faults; what a count means is learned from the library, or else set by hand."""

    family = "rules"

    def refusal(self, request: JudgeRequest) -> Answer | Abstention | None:
        """Answer 选择题 rows and empty texts, abstain from other nominal labels, let the rest through."""
        dimension, item = request.dimension, request.item
        if dimension.kind is DimensionKind.NOMINAL:
            if dimension.id == CHOICE:
                return _choice(request)
            zh = f"规则评委没有读「{dimension.name('zh')}」这种无序标签的规则。"
            en = f"The rule judge has no rules for the unordered labels of {dimension.name('en')}."
            return Abstention({"zh": zh, "en": en})
        if item.text.strip():
            return None
        if dimension.empty_text_label is None:
            zh = f"文本为空，而「{dimension.name('zh')}」没有约定空文本的分数。"
            en = f"The text is empty, and {dimension.name('en')} has no label agreed on for empty texts."
            return Abstention({"zh": zh, "en": en})
        label = dimension.empty_text_label
        given = _certain(dimension.labels, label, _EMPTY_CONFIDENCE)
        agreed = {"zh": f"文本为空，按约定给 {label} 分。", "en": f"The text is empty; the label agreed on is {label}."}
        return Answer(given, {"characters": len(item.text)}, agreed)

    def acquire(self) -> None:
        """Learn nothing of the language: the rules are written down."""

    def prepare(self, knowledge: None) -> None:
        """Need nothing."""

    def read(self, rows: Sequence[Row]) -> Reading:
        """Return the style of each row and the faults found in it."""
        profiles = [profile(row.text, row.prompt) for row in rows]
        return Reading(style_matrix(profiles), [_note(one) for one in profiles])

    def unlearned(self, request: JudgeRequest) -> Answer | Abstention:
        """Answer from hand-set expectations where there are any."""
        dimension, item = request.dimension, request.item
        if not has_prior(dimension.id, dimension.labels):
            return super().unlearned(request)
        text = profile(item.text, item.prompt)
        note = _note(text)
        grades, expected = prior_answer(dimension.id, text)
        given = distribution(list(grades), list(grades.values()))
        per, hundreds = ("百", 100) if dimension.id == "fluency" else ("千", 1000)
        rationale = {
            "zh": f"{note.rationale['zh']}示例库不足以学习，按经验估计每{per}字约 {expected:.1f} 处错误。",
            "en": f"{note.rationale['en']} The library has too few examples to learn from; by experience about {expected:.1f} errors per "
            f"{hundreds:,} characters are expected.",
        }
        return Answer(given, {**note.facts, "expected": round(expected, 2)}, rationale)


def _choice(request: JudgeRequest) -> Answer | Abstention:
    reading = read_choice(request.item.prompt, request.item.text)
    explanation = reading.explanation
    if reading.label is None or reading.label not in request.dimension.labels:
        unclear = {"zh": "这一行没有写明正确选项，无法判断。", "en": "The row does not name its correct option."}
        return Abstention(explanation or unclear)
    given = _certain(request.dimension.labels, reading.label, reading.confidence)
    correct, picked = ("".join(sorted(letters)) or "-" for letters in (reading.correct, reading.picked))
    facts = {"kind": reading.kind.value, "correct": correct, "picked": picked, "evidence": quoted(reading.evidence)}
    return Answer(given, facts, explanation)


def _certain(labels: Sequence[int], label: int, confidence: float) -> dict[int, float]:
    """Return a distribution with `confidence` on `label`; the vote is `label` however low the confidence."""
    kept = min(max(confidence, _LEAST_CONFIDENCE), _MOST_CONFIDENCE)
    rest = (1.0 - kept) / max(len(labels) - 1, 1)
    return distribution(labels, [kept if one == label else rest for one in labels])


def _note(text: Profile) -> Note:
    counts = Counter(fault.kind for fault in text.faults)
    shown = [_place(fault) for fault in text.faults[:_SHOWN]]
    number, length = len(text.faults), text.characters
    density = 100.0 * number / max(length, 1)
    facts: dict[str, object] = {"faults": number, "characters": length, "per_100": round(density, 2), "places": shown}
    if text.fit.present:
        facts["coverage"] = round(text.fit.coverage, 2)
    if not number:
        return Note(facts, {"zh": f"{length} 字里没有发现规则可见的错误。", "en": f"No fault that rules can see in {length} characters."})
    kinds = [(FAULT_NAMES[kind], count) for kind, count in counts.most_common(3)]
    zh, en = "、".join(f"{name['zh']} {count}" for name, count in kinds), ", ".join(f"{name['en']} {count}" for name, count in kinds)
    words = {
        "zh": f"{length} 字里发现 {number} 处可见错误（{zh}），每百字 {density:.1f} 处。",
        "en": f"Visible faults: {number} in {length} characters ({en}), {density:.1f} per 100.",
    }
    return Note(facts, words)


def _place(fault: Fault) -> dict[str, object]:
    """Return where a fault is, in characters of the text; the excerpt of a long one is cut."""
    end = fault.position + len(fault.excerpt)
    return {"fault": fault.kind.value, "excerpt": quoted(fault.excerpt[:12]), "at": fault.position, "end": end}


def make_rules(spec: JudgeSpec, context: JudgeContext) -> RulesJudge:
    """Return the `rules` judge, learned from the library or read from its cache."""
    return RulesJudge(spec, context)
