"""Turn a training file into labelled rows.

Pingpan's own prompts are known again and give dimension, prompt and text exactly. Of foreign prompts nobody can tell which
part was judged: the user names the dimension, and the prompt becomes the text, without the words that all foreign prompts
of the file begin and end with (their template). Answers must be a label of the scale, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.dimensions import PromptBuilder
from core.errors import SheetError
from core.types import Dimension, LocalText, Severity, SheetRow, SourceRef
from training.formats.kinds import ExportFormat
from training.formats.read import Exchange, RecordProblem, read_exchanges
from training.formats.recognise import OwnPrompt, PromptReader

# Words in common say something of a template only where several prompts have them, and only up to a border of words.
COMMON_AMONG, COMMON_LETTERS = 8, 8
_BORDERS = "\n。：:！？!?；;"
_LABEL = re.compile(r"-?[0-9]{1,6}")
SHOWN = 40


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """The labelled rows of a training file, with everything that was wrong; `own` of them had Pingpan's own prompts."""

    kind: ExportFormat
    total: int
    rows: tuple[SheetRow, ...]
    own: int
    problems: tuple[RecordProblem, ...]

    @property
    def bad_records(self) -> list[int]:
        """Return the numbers of the records that cannot be imported."""
        return sorted({problem.record for problem in self.problems if problem.severity is Severity.ERROR})


@dataclass(frozen=True, slots=True)
class _Template:
    """What all foreign prompts begin and end with."""

    before: str = ""
    after: str = ""

    def text_of(self, asked: str) -> str:
        """Return a prompt without the template."""
        return asked[len(self.before) : len(asked) - len(self.after)].strip()


def read_training_file(
    path: Path,
    dimensions: Mapping[str, Dimension],
    prompts: PromptBuilder,
    *,
    kind: ExportFormat | None = None,
    dimension_id: str = "",
    whole_prompts: bool = False,
) -> ImportedFile:
    """Return the labelled rows of a file. `dimension_id` is that of foreign prompts, `whole_prompts` keeps their template.

    Raises SheetError for a file of no known format, and for an unknown dimension.
    """
    named = _named(dimension_id, dimensions)
    file = read_exchanges(path, kind)
    reader = PromptReader(dimensions, prompts)
    readings = {exchange.record: reader.read(exchange.system, exchange.asked) for exchange in file.exchanges}
    foreign = [exchange for exchange in file.exchanges if not readings[exchange.record]]
    template = _Template() if whole_prompts else _template([exchange.asked for exchange in foreign])
    problems = list(file.problems)
    if named is not None and foreign:
        problems += _notes(foreign, template, named)
    rows: list[SheetRow] = []
    own = 0
    for exchange in file.exchanges:
        source = SourceRef(path.name, "", exchange.record)
        found = readings[exchange.record]
        row, wrong = _own_row(exchange, found, dimensions, named, source) if found else _foreign_row(exchange, template, named, source)
        problems += wrong
        if row is not None:
            rows.append(row)
            own += bool(found)
    return ImportedFile(file.kind, file.total, tuple(rows), own, tuple(sorted(problems, key=lambda problem: problem.record)))


def _named(dimension_id: str, dimensions: Mapping[str, Dimension]) -> Dimension | None:
    if dimension_id and dimension_id not in dimensions:
        known = ", ".join(dimensions)
        raise SheetError(f"There is no dimension {dimension_id!r}; known: {known}.", zh=f"没有评判维度 {dimension_id!r}；现有：{known}。")
    return dimensions.get(dimension_id)


def _own_row(
    exchange: Exchange, found: Sequence[OwnPrompt], dimensions: Mapping[str, Dimension], named: Dimension | None, source: SourceRef
) -> tuple[SheetRow | None, list[RecordProblem]]:
    chosen = [one for one in found if named is not None and one.dimension_id == named.id] if len(found) > 1 else list(found)
    if len(chosen) != 1:
        several = ", ".join(one.dimension_id for one in found)
        return None, [
            _error(
                exchange,
                f"has a prompt that {several} share, and no system words to tell them apart; name the dimension.",
                f"的提示词为 {several} 共用，且没有系统提示可区分；请指明评判维度。",
            )
        ]
    own = chosen[0]
    label, wrong = _label(exchange, dimensions[own.dimension_id])
    if not own.exact and wrong is None:
        wrong = RecordProblem(exchange.record, Severity.WARNING, _INEXACT)
    problems = [] if wrong is None else [wrong]
    return (None if label is None else _row(exchange, own.dimension_id, own.prompt, own.text, label, source)), problems


_INEXACT: LocalText = {
    "zh": "的编号与题目、文本不符：该维度的提示词不写出创作要求（因此无法找回），或导出后有改动。按所见内容导入。",
    "en": "has a mark that does not fit its prompt and text: the dimension's template does not show the prompt (which then cannot be had "
    "back), or the record was edited. It is imported as it reads.",
}


def _foreign_row(
    exchange: Exchange, template: _Template, named: Dimension | None, source: SourceRef
) -> tuple[SheetRow | None, list[RecordProblem]]:
    if named is None:
        return None, [
            _error(
                exchange,
                "has a prompt of another template; name the dimension that its answers are of.",
                "使用的是其他模板的提示词；请指明其答案所属的评判维度。",
            )
        ]
    label, wrong = _label(exchange, named)
    text = template.text_of(exchange.asked)
    if wrong is None and not text:
        wrong = _error(exchange, "has no text to judge beside the template.", "除模板外没有待评判内容。")
    if wrong is not None or label is None:
        return None, [wrong] if wrong else []
    return _row(exchange, named.id, "", text, label, source), []


def _label(exchange: Exchange, dimension: Dimension) -> tuple[int | None, RecordProblem | None]:
    answer = exchange.answer.strip()
    if _LABEL.fullmatch(answer) and int(answer) in dimension.labels:
        return int(answer), None
    scale = ", ".join(map(str, dimension.labels))
    return None, _error(
        exchange,
        f"answers {_short(answer)!r}, which is no label of {dimension.name('en')}; it must be one of {scale} and nothing else.",
        f"的答案 {_short(answer)!r} 不是「{dimension.name('zh')}」的标签；只能是 {scale} 之一，不带其他文字。",
    )


def _row(exchange: Exchange, dimension_id: str, prompt: str, text: str, label: int, source: SourceRef) -> SheetRow:
    return SheetRow(exchange.record - 1, str(exchange.record), dimension_id, prompt, text, label, source, {})


def _template(prompts: Sequence[str]) -> _Template:
    """Return the words that all prompts begin and end with, up to a border of words; none among too few prompts."""
    if len(set(prompts)) < COMMON_AMONG:
        return _Template()
    before = _common_beginning(prompts)
    before = before[: max(before.rfind(border) for border in _BORDERS) + 1]
    before = before if len(before) >= COMMON_LETTERS else ""
    after = _common_beginning([prompt[len(before) :][::-1] for prompt in prompts])[::-1]
    # Texts often end with the same full stop; only whole lines are a template's.
    after = after[after.find("\n") :] if "\n" in after else ""
    return _Template(before, after if len(after) >= COMMON_LETTERS else "")


def _common_beginning(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    length = next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), min(len(first), len(last)))
    return first[:length]


def _notes(foreign: Sequence[Exchange], template: _Template, named: Dimension) -> list[RecordProblem]:
    """Return what is done with the foreign prompts of a file."""
    count = len(foreign)
    if template.before or template.after:
        cut = f"«{_short(template.before)}» … «{_short(template.after, end=True)}»"
        en = f"{count} prompts are of another template. The words that all of them begin and end with are left out: {cut}; the rest is the text of the row."
        zh = f"有 {count} 条提示词来自其他模板。其共同的开头与结尾已略去：{cut}；其余作为待评判内容。"
    else:
        en = f"{count} prompts are of another template and become the text of their rows as they are."
        zh = f"有 {count} 条提示词来自其他模板，整条作为待评判内容导入。"
    found = [RecordProblem(0, Severity.WARNING, {"zh": zh, "en": en})]
    if named.needs_prompt:
        en = f"{named.name('en')} needs a prompt beside the text, and foreign prompts do not tell the two apart; both are in the text."
        zh = f"「{named.name('zh')}」需要创作要求，而其他模板的提示词无法与正文区分，二者都在待评判内容中。"
        found.append(RecordProblem(0, Severity.WARNING, {"zh": zh, "en": en}))
    return found


def _short(text: str, *, end: bool = False) -> str:
    flat = " ".join(text.split())
    if len(flat) <= SHOWN:
        return flat
    return "…" + flat[-SHOWN:] if end else flat[:SHOWN] + "…"


def _error(exchange: Exchange, en: str, zh: str) -> RecordProblem:
    return RecordProblem(exchange.record, Severity.ERROR, {"zh": zh, "en": en})
