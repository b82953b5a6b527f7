"""The console that commands print to."""

from __future__ import annotations

from rich.console import Console


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console that prints names and texts as they are: square brackets and colons in them are no markup."""
    return Console(stderr=stderr, markup=False, emoji=False)
