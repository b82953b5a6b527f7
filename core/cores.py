"""How many cores a product of matrices takes."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def one_core() -> AbstractContextManager[object]:
    """Return a context in which products of matrices stay on the core of their thread.

    The threads of linear algebra wait for each other by spinning. The products here last milliseconds; wherever the
    other cores have work too, the waiting costs several times what a second core could save.
    """
    limits: AbstractContextManager[object] = _libraries("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas")
    return limits


@lru_cache(maxsize=2)
def _libraries(with_scipy: bool) -> ThreadpoolController:  # noqa: ARG001 (scipy brings a library of its own: look again)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
