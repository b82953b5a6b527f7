"""The command line over the services; every command answers a user's mistake with one message and exit status 2."""

from __future__ import annotations

import sys

from core.errors import PingpanError


def main() -> None:
    """Run the command line of this process and exit."""
    from webapp.cli.app import app

    try:
        app()
    except PingpanError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
