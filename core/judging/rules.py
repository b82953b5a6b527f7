"""The judge that follows rules: reads 选择题 rows exactly, and grades by faults that rules can see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from core.judging.choice import read_choice
from core.judging.learned_judge import LearnedJudge, Note, Reading, Row
from core.judging.panel_judge import CHOICE, Abstention, Answer, distribution, spread
from core.judging.priors import has_prior, prior_answer
from core.judging.profile import Profile, profile, style_matrix
from core.ports import JudgeContext
from core.types import DimensionKind, JudgeRequest, JudgeSpec

_SHOWN = 6
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
            return Abstention(f"规则评委没有读「{dimension.name('zh')}」这种无序标签的规则。")
        if item.text.strip():
            return None
        if dimension.empty_text_label is None:
            return Abstention(f"文本为空，而「{dimension.name('zh')}」没有约定空文本的分数。")
        given = _certain(dimension.labels, dimension.empty_text_label, _EMPTY_CONFIDENCE)
        return Answer(given, f"empty text | {spread(given)}", f"文本为空，按约定给 {dimension.empty_text_label} 分。")

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
        per = "百" if dimension.id == "fluency" else "千"
        rationale = f"{note.rationale}示例库不足以学习，按经验估计每{per}字约 {expected:.1f} 处错误。"
        return Answer(given, f"{note.raw} | no examples, hand-set expectation | {spread(given)}", rationale)


def _choice(request: JudgeRequest) -> Answer | Abstention:
    reading = read_choice(request.item.prompt, request.item.text)
    explanation = reading.explanation.get("zh", "")
    if reading.label is None or reading.label not in request.dimension.labels:
        return Abstention(explanation or "这一行没有写明正确选项，无法判断。")
    given = _certain(request.dimension.labels, reading.label, reading.confidence)
    correct, picked = ("".join(sorted(letters)) or "-" for letters in (reading.correct, reading.picked))
    return Answer(given, f"{reading.kind}: correct {correct}, picked {picked}: {reading.evidence} | {spread(given)}", explanation)


def _certain(labels: Sequence[int], label: int, confidence: float) -> dict[int, float]:
    """Return a distribution with `confidence` on `label`; the vote is `label` however low the confidence."""
    kept = min(max(confidence, _LEAST_CONFIDENCE), _MOST_CONFIDENCE)
    rest = (1.0 - kept) / max(len(labels) - 1, 1)
    return distribution(labels, [kept if one == label else rest for one in labels])


def _note(text: Profile) -> Note:
    counts = Counter(fault.kind for fault in text.faults)
    shown = " ".join(f"{fault.kind}「{fault.excerpt[:12]}」@{fault.position}" for fault in text.faults[:_SHOWN]).replace("\n", "⏎")
    more = f" +{len(text.faults) - _SHOWN}" if len(text.faults) > _SHOWN else ""
    density = 100.0 * len(text.faults) / max(text.characters, 1)
    raw = f"{len(text.faults)} faults in {text.characters} characters = {density:.2f} per 100: {shown or '-'}{more}"
    if text.fit.present:
        raw += f"; covers {text.fit.coverage:.0%} of the prompt"
    if not text.faults:
        return Note(raw, f"{text.characters} 字里没有发现规则可见的错误。")
    kinds = "、".join(f"{kind} {count}" for kind, count in counts.most_common(3))
    return Note(raw, f"{text.characters} 字里发现 {len(text.faults)} 处可见错误（{kinds}），每百字 {density:.1f} 处。")


def make_rules(spec: JudgeSpec, context: JudgeContext) -> RulesJudge:
    """Return the `rules` judge, learned from the library or read from its cache."""
    return RulesJudge(spec, context)
