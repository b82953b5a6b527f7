"""How many cores a product of matrices takes."""

from __future__ import annotations

from contextlib import AbstractContextManager


def one_core() -> AbstractContextManager[object]:
    """Return a context in which products of matrices stay on the core of their thread.

    numpy's threads wait for each other by spinning. The products here last milliseconds; wherever the other cores have
    work too, the waiting costs several times what a second core could save.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits
