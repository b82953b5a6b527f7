"""Which port a promoted judge's server gets: one that no judge of any panel has on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from core.judging.serving.options import ServeOptions
from core.types import JudgeSpec, PanelSpec

FIRST_PORT = int(ServeOptions.model_fields["port"].default)
LAST_PORT = 65_535
_HERE = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0", "::"})


def free_port(panels: Iterable[PanelSpec], wanted: int = FIRST_PORT) -> int:
    """Return `wanted`, or the next port behind it that no judge of any panel has on this machine.

    The judge that is replaced counts too: its server may still run, and a roll-back brings it back.
    """
    taken = {port for panel in panels for judge in panel.judges for port in _ports(judge)}
    return next(port for port in range(wanted, LAST_PORT + 1) if port not in taken)


def _ports(judge: JudgeSpec) -> Iterator[int]:
    """Yield the ports of this machine that a judge of the family server is asked at or served at."""
    if judge.family != "server":
        return
    serve = judge.options.get("serve")
    if isinstance(serve, Mapping):
        yield int(str(serve.get("port", FIRST_PORT)))
    given = judge.options.get("base_url", ())
    for url in (given,) if isinstance(given, str) else given if isinstance(given, (list, tuple)) else ():
        parts = urlsplit(str(url))
        if parts.hostname in _HERE | {socket.gethostname().lower()} and parts.port is not None:
            yield parts.port
