"""Prompts from versioned Jinja files: compiled once, rendered for many rows, safe against texts that give orders.

A template has two blocks, `system` and `user`. `system` sees the dimension only, so that every row of a dimension
shares it; `user` sees the examples and then the row. Judged texts stand between two lines with a mark that is made
from the text itself and never occurs in it, so no text can close its own frame.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.dimensions.files import Fault
from core.errors import DimensionError
from core.types import Dimension, Example, Item, RenderedPrompt

if TYPE_CHECKING:
    from jinja2.runtime import Context

PROMPTS_FOLDER = "prompts"
BLOCKS = ("system", "user")
SENTENCE_ENDS = "。！？!?；;…\n"
CLOSING_MARKS = "”’」』）)》\"'"
CLIPPED = "……（后文略）"
MARK_LENGTH = 10
CACHED_EXAMPLES = 50_000


@dataclass(frozen=True, slots=True)
class Passage:
    """One text as a template sees it; `mark` occurs in neither `prompt` nor `text`. `label` is None for the judged row."""

    prompt: str
    text: str
    mark: str
    label: int | None = None


PASSAGE_FIELDS = frozenset(field.name for field in fields(Passage))


def clip(text: str, characters: int) -> str:
    """Return `text`, shortened to at most `characters` at the last sentence end there is in the second half.

    A shortened text ends in a visible note (not counted). Without any sentence end it is cut where the limit falls.
    """
    if len(text) <= characters:
        return text
    window = text[: characters + 1]
    end = max(window.rfind(stop, characters // 2, characters) for stop in SENTENCE_ENDS) + 1
    while 0 < end < characters and text[end] in CLOSING_MARKS:
        end += 1
    return (text[:end] if end else text[:characters]).rstrip() + CLIPPED


def boundary_mark(prompt: str, text: str) -> str:
    """Return a short hexadecimal mark that occurs in neither text: a hash of both, hashed on until it does not."""
    digest = hashlib.sha256(f"{len(prompt)}:{prompt}{text}".encode("utf-8", "surrogatepass")).hexdigest()
    while (mark := digest[:MARK_LENGTH]) in text or mark in prompt:
        digest = hashlib.sha256(digest.encode()).hexdigest()
    return mark


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which need not look a passage over: its fields are texts and numbers."""

    def getattr(self, obj: object, attribute: str) -> object:
        """Return what a template reads of a value; forty such look-ups a row are fields of passages."""
        if type(obj) is Passage and attribute in PASSAGE_FIELDS:
            return getattr(obj, attribute)
        return super().getattr(obj, attribute)


class PromptTemplates:
    """The prompt templates of a set of dimension folders, in a sandbox where an undefined name is an error."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._environment = _Sandbox(
            loader=FileSystemLoader([folder / PROMPTS_FOLDER for folder in folders], encoding="utf-8"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
            auto_reload=False,
            cache_size=-1,
        )

    def get(self, dimension: Dimension) -> Template:
        """Return the compiled template of `dimension`. Raises jinja2.TemplateError."""
        return self._environment.get_template(f"{dimension.prompt_version}.jinja")

    def check(self, dimension: Dimension) -> Iterator[Fault]:
        """Yield every fault of the dimension's template, after rendering it on trial with and without examples."""
        try:
            template = self.get(dimension)
        except TemplateSyntaxError as error:
            yield Fault(
                "",
                f"line {error.lineno}",
                f"is no Jinja: {error.message}; mend that line.",
                f"不是有效的 Jinja：{error.message}，请修正这一行。",
            )
            return
        except UnicodeDecodeError:
            yield Fault("", "", "is not UTF-8; save it as UTF-8.", "不是 UTF-8 编码，请另存为 UTF-8。")
            return
        missing = [name for name in BLOCKS if name not in template.blocks]
        for name in missing:
            yield Fault("", f"block {name}", "is missing; add it.", "缺失，请补上。")
        unknown = sorted(self._undeclared(dimension) - {"dimension", "row", "examples"})
        for name in unknown:
            yield Fault(
                "",
                name,
                "is no name a prompt may use; use dimension, examples or row.",
                "不是提示词可用的名字，请使用 dimension、examples 或 row。",
            )
        if not missing and not unknown:
            yield from _trial(template, dimension)

    def _undeclared(self, dimension: Dimension) -> set[str]:
        assert self._environment.loader is not None
        source = self._environment.loader.get_source(self._environment, f"{dimension.prompt_version}.jinja")[0]
        return meta.find_undeclared_variables(self._environment.parse(source))


def _trial(template: Template, dimension: Dimension) -> Iterator[Fault]:
    mark = "0" * MARK_LENGTH
    row = Passage("题目", "正文", mark)
    shown = (Passage("题目", "正文", mark, dimension.labels[0]),)
    for examples in ((), shown):
        try:
            system = _block(template, "system", {"dimension": dimension})
            user = _block(template, "user", {"dimension": dimension, "row": row, "examples": examples})
        except (TemplateError, SecurityError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            yield Fault(
                "",
                "",
                f"fails when it is rendered: {error}; `system` may use `dimension` only.",
                f"渲染失败：{error}；system 块只能使用 dimension。",
            )
            return
        for name, text in (("system", system), ("user", user)):
            if not text:
                yield Fault("", f"block {name}", "renders to nothing; write the prompt.", "渲染结果为空，请写出提示词。")
        if row.text not in user:
            yield Fault(
                "",
                "block user",
                "does not show row.text; the judge would not see what it judges.",
                "没有写出 row.text，评判模型将看不到待评判内容。",
            )
            return


def _block(template: Template, name: str, variables: Mapping[str, object]) -> str:
    # Template.render joins both blocks; the block's own function gives each alone and skips the rest.
    block: Callable[[Context], Iterator[str]] = template.blocks[name]
    return "".join(block(template.new_context(dict(variables)))).strip()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A dimension's template with what all of its rows share."""

    dimension: Dimension
    template: Template
    system: str


class PromptBuilder:
    """Renders rows with their examples; thousands of rows a second.

    `folders` are those the dimensions were loaded from. `example_characters` bounds the text and the prompt of each
    example (never the judged row). A builder may be used by several threads.
    """

    def __init__(self, dimensions: Mapping[str, Dimension], *folders: Path, example_characters: int = 600) -> None:
        if example_characters < 1:
            raise ValueError("example_characters must be at least 1")
        templates = PromptTemplates(folders)
        self._example_characters = example_characters
        self._prepared = MappingProxyType({key: self._prepare(templates, dimension) for key, dimension in dimensions.items()})
        self._passages: dict[tuple[str, str, int], Passage] = {}

    @staticmethod
    def _prepare(templates: PromptTemplates, dimension: Dimension) -> _Prepared:
        try:
            template = templates.get(dimension)
            return _Prepared(dimension, template, _block(template, "system", {"dimension": dimension}))
        except (TemplateError, SecurityError, KeyError) as error:
            raise DimensionError(
                f"The prompt {dimension.prompt_version} of dimension {dimension.id} cannot be used ({error}); mend it in prompts/.",
                zh=f"维度 {dimension.id} 的提示词 {dimension.prompt_version} 无法使用（{error}），请修正 prompts/ 中的模板。",
            ) from error

    def render(self, item: Item, examples: Sequence[Example]) -> RenderedPrompt:
        """Return the prompt for `item` with `examples` in the order given, and the sha256 (hex) of system + user in UTF-8.

        Raises DimensionError when the item's dimension is not among those the builder was made with.
        """
        prepared = self._prepared.get(item.dimension_id)
        if prepared is None:
            known = ", ".join(self._prepared)
            raise DimensionError(
                f"There is no dimension {item.dimension_id!r}; known: {known}.",
                zh=f"没有维度 {item.dimension_id!r}，现有：{known}。",
            )
        row = Passage(item.prompt, item.text, boundary_mark(item.prompt, item.text))
        shown = tuple(self._passage(example) for example in examples)
        user = _block(prepared.template, "user", {"dimension": prepared.dimension, "row": row, "examples": shown})
        digest = hashlib.sha256((prepared.system + user).encode("utf-8", "surrogatepass")).hexdigest()
        return RenderedPrompt(prepared.system, user, digest)

    def _passage(self, example: Example) -> Passage:
        item = example.item
        key = (item.prompt, item.text, item.label)
        passage = self._passages.get(key)
        if passage is None:
            prompt, text = clip(item.prompt, self._example_characters), clip(item.text, self._example_characters)
            passage = Passage(prompt, text, boundary_mark(prompt, text), item.label)
            if len(self._passages) >= CACHED_EXAMPLES:
                self._passages.clear()
            self._passages[key] = passage
        return passage
