"""`serve-judge`: start a judge's model server, show its command, and end it with Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from urllib.parse import urlsplit

from core.errors import StoreError
from core.panels import get_panel, load_panels
from core.settings import Settings, load_settings
from core.types import LocalText, PanelSpec, one_language, said
from webapp.cli.console import plain_console
from webapp.services.serving import ModelServer, ServerPlan, memory_warning, plan_server
from webapp.services.training.leases import CardLeases


def run_serve_judge(panel_id: str, judge_id: str, port: int | None, timeout: float, *, print_only: bool) -> int:
    """Serve until Ctrl-C or SIGTERM; return 0. With `print_only`, only print the command."""
    settings = load_settings()
    panel = get_panel(load_panels(*settings.panel_folders()), panel_id)
    plan = plan_server(settings, panel, judge_id, port, missing_ok=print_only)
    if print_only:
        sys.stdout.write(plan.launch.shell() + "\n")
        return 0
    console = plain_console(stderr=True)
    console.print(f"{plan.judge_id}: {plan.served_name} at {plan.launch.url}")
    console.print(f"  {plan.launch.shell()}", soft_wrap=True)
    console.print(f"  log: {plan.log}", soft_wrap=True)
    warning = memory_warning(plan)
    if warning:
        console.print(warning, style="yellow")
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _written_down(settings, panel, judge_id, plan) as warnings, ModelServer(plan) as server:
            for words in warnings:
                console.print(said(words, "en"), style="yellow")
            with console.status("loading …") as status:
                seconds = server.wait_ready(timeout, lambda waited: status.update(f"loading … {waited:.0f} s"))
            console.print(f"Ready after {seconds:.0f} s. Ctrl-C ends it.")
            server.wait()
    except KeyboardInterrupt:
        console.print("The server has ended.")
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


@contextmanager
def _written_down(settings: Settings, panel: PanelSpec, judge_id: str, plan: ServerPlan) -> Iterator[Sequence[LocalText]]:
    """Tell jobs that the server is on its cards, while the block lasts; give what is there already. No database, no word."""
    from db.engine import make_engine
    from db.migrate import upgrade
    from db.store import SqlStore

    with ExitStack() as stack:
        try:
            engine = make_engine(settings.resolved_database_url())
            stack.callback(engine.dispose)
            upgrade(engine)
            port = urlsplit(plan.launch.url).port or 0
            warnings = stack.enter_context(CardLeases(SqlStore(engine)).served(panel, judge_id, port))
        except StoreError as error:
            warnings = [one_language(f"Training jobs do not learn of this server: {error}")]
        yield warnings


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
