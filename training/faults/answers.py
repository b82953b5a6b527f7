"""What people answered to suspected faults, as rows to learn from: an export's texts, tagged where somebody answered.

Whoever confirmed a place or marked a missed one says that its characters are faulty, whoever rejected it that they are sound. Of
the other characters nothing is known. On each character everybody has one voice: that of their shortest answer there (two as
short that differ are none). The majority decides; where it is a draw, nothing is known either. A faulty character has the kind
that most of those voices name, or any kind where none is named most.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from core.errors import JobError
from core.faultmarks import MarkKind, kinds_marked
from core.faultplaces import AnswerKind
from core.retrieval.families import FamilyIndex, family_groups
from core.retrieval.select import passages_of
from core.training import TrainingRow
from core.types import Dimension, LocalText
from training.faults.pretrain import ANY_FAULT, UNTAGGED, TaggedRow


@dataclass(frozen=True, slots=True)
class Say:
    """One person's answer on characters `start` to `end`; `kind` is what was suspected or named, as the file writes it."""

    start: int
    end: int
    kind: str | None
    answer: AnswerKind
    author: str


@dataclass(frozen=True, slots=True)
class AnsweredText:
    """A text of a dimension with people's standing answers; `prompt` is what it was written for, "" where nothing is told."""

    text: str
    dimension: str
    prompt: str
    says: tuple[Say, ...]


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """A text whose characters have a class, `ANY_FAULT` or `UNTAGGED`; its rate of faults is not known."""

    prompt: str
    text: str
    tags: tuple[int, ...]
    rate: None = None


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """What became of the answers of a file; `outvoted` are those that decide no character, since others contradict them."""

    texts: int = 0
    confirmed: int = 0
    rejected: int = 0
    missed: int = 0
    held_out: int = 0
    other_kinds: int = 0
    outvoted: int = 0

    def figures(self) -> dict[str, float]:
        """Return it as the figures of an event."""
        return {name: float(value) for name, value in asdict(self).items()}

    def words(self) -> LocalText:
        """Return it as a sentence in both languages."""
        learned = self.confirmed + self.rejected + self.missed
        return {
            "en": f"People's answers: {learned} on {self.texts} texts are learned from ({self.confirmed} confirmed, {self.rejected} rejected, "
            f"{self.missed} missed). Left out: {self.held_out} on rows that are held out or near-duplicates of them, {self.other_kinds} of "
            f"kinds that are not learned here, {self.outvoted} that others contradict.",
            "zh": f"人工回答：学习 {self.texts} 篇文本上的 {learned} 条（确认 {self.confirmed}，否认 {self.rejected}，补标 {self.missed}）。"
            f"略去：留出行及其近似文本上的 {self.held_out} 条，不在此次所学类型之内的 {self.other_kinds} 条，与他人意见相抵的 {self.outvoted} 条。",
        }


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    text: str
    dimension: str
    prompt: str = ""
    faults: list[tuple[int, int, str | None, AnswerKind, str]]

    @model_validator(mode="after")
    def _in_text(self) -> _Line:
        for start, end, _, answer, _ in self.faults:
            if not 0 <= start < end <= len(self.text) or answer is AnswerKind.UNDO:
                raise ValueError(f"[{start}, {end}, {answer}] is no answer on a text of {len(self.text)} characters")
        return self


def read_answers(path: Path, sha256: str = "") -> list[AnsweredText]:
    """Return the texts of a file that `./run.sh faults export` wrote.

    Raises JobError for a file that cannot be read, with the line that is wrong, and for one that is not the frozen one (`sha256`).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise JobError(
            f"{path} cannot be read ({error.strerror}); name a file that ./run.sh faults export wrote, or none.",
            zh=f"无法读取 {path}（{error.strerror}）；请填写 ./run.sh faults export 写出的文件，或留空。",
        ) from error
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise JobError(
            f"{path} was changed after it was frozen (its sha256 differs); start the pretraining anew.",
            zh=f"{path} 在冻结之后被改动（sha256 不符）；请重新发起预训练。",
        )
    return [_text(line, path, number) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]


def answered_rows(
    texts: Sequence[AnsweredText],
    kinds: Sequence[MarkKind],
    dimensions: Mapping[str, Dimension],
    held_out: Sequence[TrainingRow],
    *,
    with_prompts: bool = False,
) -> tuple[list[AnsweredRow], AnswerCounts]:
    """Return rows tagged with the classes of `kinds`, and what was left out.

    Texts of the held-out rows' near-duplicate families are no rows. An answer without a kind counts where everything that can be
    wrong in its dimension is one of `kinds`. Answers on one text come together, `with_prompts` only where the prompt is the same.
    """
    told: dict[tuple[str, str], list[Say]] = {}
    kept_away = other_kinds = 0
    for one, barred in zip(texts, _barred(texts, held_out, dimensions), strict=True):
        if barred:
            kept_away += len(one.says)
            continue
        about = [say for say in one.says if _is_told(say, one.dimension, kinds, dimensions)]
        other_kinds += len(one.says) - len(about)
        told.setdefault((one.prompt if with_prompts else "", one.text), []).extend(about)
    rows: list[AnsweredRow] = []
    learned: Counter[AnswerKind] = Counter()
    outvoted = 0
    for (prompt, text), says in told.items():
        tags = _tags(len(text), says, kinds)
        deciding = [say for say in says if any(_agrees(tags[place], say) for place in range(say.start, say.end))]
        outvoted += len(says) - len(deciding)
        if deciding:
            rows.append(AnsweredRow(prompt, text, tuple(tags)))
            learned.update(say.answer for say in deciding)
    by_answer = (learned[AnswerKind.CONFIRM], learned[AnswerKind.REJECT], learned[AnswerKind.MISSED])
    return rows, AnswerCounts(len(rows), *by_answer, kept_away, other_kinds, outvoted)


def seen_as_often(rows: Sequence[TaggedRow], weight: float, seed: int) -> list[TaggedRow]:
    """Return every row `weight` times; of the part of a time that is left over, as many rows as it says, drawn by the seed."""
    whole = math.floor(weight)
    drawn = random.Random(seed).sample(range(len(rows)), round((weight - whole) * len(rows)))
    return [*rows] * whole + [rows[place] for place in sorted(drawn)]


def _text(line: bytes, path: Path, number: int) -> AnsweredText:
    try:
        read = _Line.model_validate_json(line)
    except ValidationError as error:
        raise JobError(
            f"{path}, line {number} is no text with answers ({error.errors()[0]['msg']}); export the answers again.",
            zh=f"{path} 第 {number} 行不是带回答的文本（{error.errors()[0]['msg']}）；请重新导出。",
        ) from error
    return AnsweredText(read.text, read.dimension, read.prompt, tuple(Say(*fault) for fault in read.faults))


def _barred(texts: Sequence[AnsweredText], held_out: Sequence[TrainingRow], dimensions: Mapping[str, Dimension]) -> list[bool]:
    """Return which texts are of a held-out row's family: kin of it, or kin of its kin."""
    rows = [(row.dimension_id, row.item_prompt, row.text) for row in held_out] + [(one.dimension, one.prompt, one.text) for one in texts]
    passages = [(owner, passage) for owner, row in enumerate(rows) for passage in passages_of(*row, dimensions)]
    if not held_out or not texts:
        return [False] * len(texts)
    matches = FamilyIndex([passage for _, passage in passages]).matches([passage for _, passage in passages])
    pairs = ((owner, passages[near][0]) for (owner, _), found in zip(passages, matches, strict=True) for near in found)
    groups = family_groups(len(rows), pairs)
    held = set(groups[: len(held_out)])
    same = {row.text for row in held_out}  # texts without letters are kin of nothing
    return [group in held or one.text in same for group, one in zip(groups[len(held_out) :], texts, strict=True)]


def _is_told(say: Say, dimension: str, kinds: Collection[MarkKind], dimensions: Mapping[str, Dimension]) -> bool:
    """Return whether an answer is about what is learned."""
    if say.kind is not None:
        return say.kind in kinds
    found = dimensions.get(dimension)
    return found is not None and set(kinds_marked(needs_prompt=found.needs_prompt)) <= set(kinds)


def _tags(length: int, says: Sequence[Say], kinds: Sequence[MarkKind]) -> list[int]:
    tags = [UNTAGGED] * length
    for place in {place for say in says for place in range(say.start, say.end)}:
        voices = _voices([say for say in says if say.start <= place < say.end])
        faulty = [say for say in voices if say.answer is not AnswerKind.REJECT]
        if 2 * len(faulty) > len(voices):
            tags[place] = _class(faulty, kinds)
        elif 2 * len(faulty) < len(voices):
            tags[place] = 0
    return tags


def _voices(says: Sequence[Say]) -> list[Say]:
    """Return everybody's shortest answer, nothing of those who contradict themselves; two as short of different kinds name none."""
    by_author: dict[str, list[Say]] = {}
    for say in says:
        by_author.setdefault(say.author, []).append(say)
    voices = []
    for own in by_author.values():
        shortest = min(say.end - say.start for say in own)
        last = [say for say in own if say.end - say.start == shortest]
        if len({say.answer is AnswerKind.REJECT for say in last}) == 1:
            named = {say.kind for say in last if say.kind is not None}
            voices.append(replace(last[0], kind=named.pop() if len(named) == 1 else None))
    return voices


def _class(faulty: Sequence[Say], kinds: Sequence[MarkKind]) -> int:
    named = Counter(say.kind for say in faulty if say.kind is not None).most_common(2)
    if not named or (len(named) == 2 and named[0][1] == named[1][1]):
        return ANY_FAULT
    return kinds.index(MarkKind(named[0][0])) + 1


def _agrees(tag: int, say: Say) -> bool:
    return tag == 0 if say.answer is AnswerKind.REJECT else tag not in {0, UNTAGGED}
