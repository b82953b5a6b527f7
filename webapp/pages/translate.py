"""The words of the pages in each language, from assets/translations/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

from core.errors import PingpanError, SettingsError
from core.settings import ASSETS
from core.types import LocalText, said
from core.yaml_text import read_yaml

TRANSLATIONS_DIR = ASSETS / "translations"


class Language(StrEnum):
    """A language of the pages; the value is the first part of a page's path."""

    ZH = "zh"
    EN = "en"

    @property
    def other(self) -> Language:
        """Return the language that the switch in the header goes to."""
        return Language.EN if self is Language.ZH else Language.ZH

    @property
    def tag(self) -> str:
        """Return the BCP 47 tag for `<html lang>`."""
        return "zh-CN" if self is Language.ZH else "en"


@dataclass(frozen=True, slots=True)
class Translator:
    """Turns keys into text of one language."""

    language: Language
    table: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of `key` with `{name}` places filled. Raises KeyError for an unknown key."""
        text = self.table[key]
        return text.format_map(values) if values else text

    def member(self, family: str, member: StrEnum | str) -> str:
        """Return the text of `family.member`, else the bare member: codes may be newer than the translations."""
        return self.table.get(f"{family}.{member}", str(member))

    def pick(self, texts: LocalText) -> str:
        """Return the text in this language, else in any."""
        return said(texts, self.language)

    def error(self, error: PingpanError) -> str:
        """Return what a user should read of an error."""
        return self.pick(error.messages)


def load_translator(language: Language, folder: Path = TRANSLATIONS_DIR) -> Translator:
    """Return the translator of a language. Raises SettingsError where its file is missing or no table of texts."""
    path = folder / f"{language}.yaml"
    try:
        loaded = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"The translation {path} cannot be read: {error}", f"翻译文件 {path} 无法读取：{error}") from error
    if not isinstance(loaded, dict):
        raise SettingsError(f"The translation {path} is not a table of key: text", f"翻译文件 {path} 不是“键: 文本”的表")
    return Translator(language, {str(key): str(text) for key, text in loaded.items()})


def preferred_language(cookie: str, accept_language: str) -> Language:
    """Return the language of a visitor: the cookie's, else the best of an Accept-Language header, else Chinese."""
    if cookie in set(Language):
        return Language(cookie)
    offers: list[tuple[float, int, Language]] = []
    for place, part in enumerate(accept_language.split(",")):
        tag, _, parameter = part.strip().partition(";")
        weight = parameter.strip().removeprefix("q=")
        primary = tag.strip().split("-")[0].lower()
        if primary in set(Language) and _number(weight) > 0:
            offers.append((-_number(weight), place, Language(primary)))
    return min(offers)[2] if offers else Language.ZH


def _number(weight: str) -> float:
    try:
        return float(weight) if weight else 1.0
    except ValueError:
        return 0.0
