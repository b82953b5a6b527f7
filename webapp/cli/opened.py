"""The workbench of a command; what it opened is closed when the command ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from core.settings import Settings, load_settings

if TYPE_CHECKING:
    from webapp.workbench import Workbench

_AT_THE_END: ContextVar[ExitStack | None] = ContextVar("at_the_end", default=None)


@contextmanager
def one_command() -> Iterator[None]:
    """Close at the end what `open_workbench` opened meanwhile."""
    with ExitStack() as stack:
        token = _AT_THE_END.set(stack)
        try:
            yield
        finally:
            _AT_THE_END.reset(token)


def open_workbench(settings: Settings | None = None) -> Workbench:
    """Return the workbench that the settings name, those of the environment by default.

    Raises DimensionError, PanelError or StoreError with what to mend.
    """
    from webapp.workbench import Workbench

    workbench = Workbench.open(settings or load_settings())
    stack = _AT_THE_END.get()
    if stack is not None:
        stack.callback(workbench.store.close)
    return workbench
