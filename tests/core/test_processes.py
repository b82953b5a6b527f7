"""Which process is meant by an identity, and errors that say the same in both languages."""

from __future__ import annotations

import inspect
import os
import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import errors
from core.errors import BadRowsError, PingpanError, clause
from core.processes import current_process, identity_of, is_alive, kill, pid_of, started_at

HERE = socket.gethostname()


def test_this_process_lives_under_its_own_identity_and_under_no_other() -> None:
    me = current_process()
    assert me == identity_of(os.getpid())
    assert is_alive(me) is True
    assert pid_of(me) == os.getpid()
    host, pid, started = me.split("|")
    assert started_at(me) == float(started)
    assert is_alive(f"{host}|{pid}|{float(started) + 60}") is False  # the number was given to another process
    assert is_alive(f"another-host|{pid}|{started}") is None


@pytest.mark.parametrize(
    "identity", ["", "|", "||", "{here}|", "{here}|x|1.0", "{here}|-5|1.0", "{here}|{pid}|soon", "{here}|1.5|1", "a|b|c|d"]
)
def test_what_is_no_identity_is_neither_alive_nor_dead(identity: str) -> None:
    assert is_alive(identity.format(here=HERE, pid=os.getpid())) is None


@pytest.mark.parametrize("identity", ["", "another-host|{pid}|1.0", "{here}|4194311|1.0"])
def test_what_does_not_run_here_is_not_killed(identity: str) -> None:
    assert kill(identity.format(here=HERE, pid=os.getpid())) is False


@pytest.mark.parametrize("pid", [0, 1])
def test_the_first_process_is_never_meant(pid: int) -> None:
    """To signal its group is to signal every process there is."""
    assert pid_of(f"{HERE}|{pid}|1.0") is None


@given(st.text(max_size=20) | st.tuples(st.just(HERE), st.integers(2**22, 2**40), st.floats()).map(lambda parts: "|".join(map(str, parts))))
def test_any_identity_can_be_asked_about(identity: str) -> None:
    assert is_alive(identity) in (None, False)
    assert pid_of(identity) is None or identity.startswith(HERE)


# Errors


def test_every_error_stands_in_the_tree_that_the_module_draws() -> None:
    drawn = [
        (len(indent), name)
        for indent, name in re.findall(r"^([│├└─ ]*)(\w+)(?: {2,}|$)", errors.__doc__ or "", re.MULTILINE)
        if hasattr(errors, name)
    ]
    tree: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for depth, name in drawn:
        stack = [entry for entry in stack if entry[0] < depth]
        tree[name] = stack[-1][1] if stack else "Exception"
        stack.append((depth, name))
    known = {
        name: kind.__bases__[0].__name__ for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PingpanError)
    }
    assert tree == known


def test_an_error_without_a_translation_is_told_in_english_and_keeps_its_rows() -> None:
    assert PingpanError("what").messages == {"en": "what", "zh": "what"}
    assert str(PingpanError("what", zh="什么")) == "what"
    found = BadRowsError("rows", [3, 5], zh="行")
    assert (found.rows, found.messages["zh"]) == ((3, 5), "行")


@pytest.mark.parametrize(
    ("words", "inside"), [("No such file.", "No such file"), ("坏了。\n", "坏了"), ("a.b", "a.b"), ("", ""), ("...", "")]
)
def test_anothers_words_lose_their_full_stop(words: str, inside: str) -> None:
    assert clause(words) == inside
