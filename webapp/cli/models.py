"""`models fetch` and `models list`: the files of the models that panels name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from core.errors import JudgeError, PingpanError
from core.judging.fetch import Hub, Wish, fetch_model
from core.judging.head.files import BaseWeights, read_head_file
from core.judging.head.options import HeadOptions
from core.judging.head.options import read_options as read_head_options
from core.judging.hubs import make_hub
from core.judging.server.options import read_options as read_server_options
from core.judging.serving.commands import read_served_model
from core.judging.transformers.options import read_options as read_transformers_options
from core.judging.weights import find_model, models_folder, weight_bytes
from core.panels import get_panel, load_panels
from core.settings import Settings, load_settings
from core.types import JudgeSpec, PanelSpec
from webapp.cli.console import plain_console


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model as a panel's judge names it."""

    panel: str
    judge: str
    wish: Wish


def models_of(panel: PanelSpec) -> Iterator[NamedModel]:
    """Yield the models whose files a panel needs on this machine: of its judges in process, and of servers that it starts.

    Raises PanelError for wrong options.
    """
    for spec in panel.judges:
        for wish in _wishes(spec):
            yield NamedModel(panel.id, spec.id, wish)


def run_fetch(panel_id: str, *, verify: bool) -> int:
    """Fetch every model of a panel; return 0, or 1 when one could not be had (the others are fetched all the same)."""
    settings = load_settings()
    named = list(models_of(get_panel(load_panels(*settings.panel_folders()), panel_id)))
    console = plain_console(stderr=True)
    if not named:
        console.print(f"The panel {panel_id} needs no models.")
        return 0
    client, failed = make_hub(Hub(settings.hub)), 0
    for wish in dict.fromkeys(model.wish for model in named):
        try:
            folder = fetch_model(wish, _folder(settings), client, lambda line: console.print(line, soft_wrap=True), verify=verify)
            console.print(f"{wish.model}: {folder}", soft_wrap=True)
        except PingpanError as error:
            failed += 1
            console.print(f"{error}", soft_wrap=True, style="red")
    return 1 if failed else 0


def run_list() -> int:
    """Print the models of every panel, where they lie and how large they are."""
    settings = load_settings()
    table = Table("panel", "judge", "model", "GiB", "architecture", "weights", "where", box=None)
    for panel in load_panels(*settings.panel_folders()).values():
        for model in models_of(panel):
            found = find_model(model.wish.model, _folder(settings), model.wish.revision)
            if found is None:
                table.add_row(model.panel, model.judge, model.wish.model, "", "", "", f"not here: ./run.sh models fetch {model.panel}")
                continue
            try:
                served = read_served_model(found)
            except PingpanError as error:
                table.add_row(model.panel, model.judge, model.wish.model, "", "", "", str(error))
                continue
            size = f"{weight_bytes(found) / 2**30:.1f}"
            table.add_row(model.panel, model.judge, model.wish.model, size, served.architecture, served.weights.value, str(found))
    plain_console().print(table)
    return 0


def _wishes(spec: JudgeSpec) -> Iterator[Wish]:
    if spec.family == "transformers":
        options = read_transformers_options(spec.id, spec.options)
        yield Wish(options.model, options.revision, options.allow_pickle)
    elif spec.family == "server":
        serve = read_server_options(spec.id, spec.options).serve
        if serve is not None:
            yield Wish(serve.model, serve.revision, serve.allow_pickle)
    elif spec.family == "ordinal_head":
        yield from _wishes_of_head(read_head_options(spec.id, spec.options))


def _wishes_of_head(options: HeadOptions) -> list[Wish]:
    try:
        head = read_head_file(options.head)
    except JudgeError:  # without head.json nobody knows the base; the Models page tells what is missing
        return []
    return [] if head.weights is BaseWeights.FULL else [Wish(options.base or head.base, head.base_revision)]


def _folder(settings: Settings) -> Path:
    return models_folder(settings.judge_cache())
