"""HTML of the pages: Jinja templates with everything escaped, and how numbers and times are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.settings import ASSETS
from webapp.pages.translate import Language, Translator, load_translator

TEMPLATES_DIR = ASSETS / "web" / "templates"


@dataclass(frozen=True, slots=True)
class Renderer:
    """The templates of one language; `t` is its translator."""

    t: Translator
    environment: Environment

    def __call__(self, template: str, **values: object) -> str:
        """Return the HTML of a template; every value is escaped."""
        return self.environment.get_template(template).render(**values)

    def compile(self) -> None:
        """Compile every template, so that no page's first look has to."""
        for name in self.environment.list_templates():
            self.environment.get_template(name)


@lru_cache(maxsize=len(Language))
def load_renderer(language: Language, folder: Path = TEMPLATES_DIR) -> Renderer:
    """Return the renderer of a language, read once a process."""
    translator = load_translator(language)
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )
    helpers: dict[str, Callable[..., str]] = {
        "count": count,
        "decimal": decimal,
        "size": size,
        "duration": lambda seconds: duration(translator, seconds),
        "moment": lambda when: moment(translator, when),
    }
    environment.filters.update(helpers)
    environment.globals.update(t=translator, language=translator.language)
    return Renderer(translator, environment)


def count(number: int) -> str:
    """Return a whole number with thousands separated."""
    return f"{number:,}"


def decimal(number: float, digits: int = 1) -> str:
    """Return a number with `digits` decimals; from 100 on it has none."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.{digits}f}"


def size(number: int) -> str:
    """Return a number of bytes as B, KiB or MiB."""
    if number < 1024:
        return f"{number} B"
    return f"{number / 1024:.1f} KiB" if number < 1024**2 else f"{number / 1024**2:.1f} MiB"


def duration(t: Translator, seconds: float) -> str:
    """Return a length of time in the two largest units that fit."""
    if seconds < 1:
        return t("time.under_second")
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if whole < 60:
        return t("time.seconds", seconds=whole)
    if hours == 0:
        return t("time.minutes", minutes=minutes, seconds=whole % 60)
    return t("time.hours", hours=hours, minutes=minutes)


def moment(t: Translator, when: datetime) -> str:
    """Return a point of time in the server's own time zone, today's without its date."""
    local = when.astimezone()
    now = datetime.now(local.tzinfo)
    if local.date() == now.date():
        return t("time.today", clock=f"{local:%H:%M}")
    return f"{local:%m-%d %H:%M}" if local.year == now.year else f"{local:%Y-%m-%d %H:%M}"
