"""People who may use the workbench: a file of names and password hashes, and a brake on guessing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from core.errors import SettingsError
from webapp.identity import clean_name

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST_PASSWORD = 8
# So many wrong passwords from one place, or for one name, within so many seconds; then nothing is looked at for as long.
MOST_FAILURES, FAILURE_SECONDS = 8, 300.0
# Ways of asking that are remembered at once, so that a flood of addresses takes no memory.
_MOST_PLACES = 10_000


class Users:
    """The users file: a line `name:hash` for each, hashed by Argon2id (argon2-cffi). It is read anew when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read_at: tuple[int, int] | None = None
        self._hashes: dict[str, str] = {}

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher

        return PasswordHasher()

    @cached_property
    def _nobody(self) -> str:
        """Return a hash to check against where there is no such user, so that the answer takes as long."""
        return self._hasher.hash(os.urandom(16).hex())

    def names(self) -> list[str]:
        """Return the names, in order. Raises SettingsError for a file that is no users file."""
        return sorted(self._known())

    def check(self, name: str, password: str) -> bool:
        """Return whether this is the user's password; it takes some tens of milliseconds either way."""
        from argon2.exceptions import InvalidHashError, VerificationError

        known = self._known().get(clean_name(name))
        try:
            return self._hasher.verify(known or self._nobody, password) and known is not None
        except (VerificationError, InvalidHashError):
            return False

    def fingerprint(self, name: str) -> str:
        """Return what changes with a user's password, "" for nobody: sessions that hold another one are over."""
        known = self._known().get(name)
        return hashlib.sha256(known.encode()).hexdigest()[:16] if known else ""

    def put(self, name: str, password: str) -> bool:
        """Add a user, or give one a new password; return whether it is a new one. Raises SettingsError with what is wrong."""
        cleaned = clean_name(name)
        if not cleaned or cleaned != name or ":" in name or name.startswith("#"):  # a line with # is a comment
            raise SettingsError(
                f"{name!r} cannot be a user's name: one to 40 characters, no colon, no # at its beginning, no blanks at its ends.",
                zh=f"“{name}”不能作为用户名：1 到 40 个字符，不含冒号，不以 # 开头，首尾没有空格。",
            )
        if len(password) < SHORTEST_PASSWORD:
            raise SettingsError(
                f"A password needs at least {SHORTEST_PASSWORD} characters.", zh=f"密码至少要有 {SHORTEST_PASSWORD} 个字符。"
            )
        with self._writing() as hashes:
            fresh = name not in hashes
            hashes[name] = self._hasher.hash(password)
        return fresh

    def remove(self, name: str) -> None:
        """Remove a user; their sessions end at once, what they did stays. Raises SettingsError for an unknown name."""
        with self._writing() as hashes:
            if hashes.pop(name, None) is None:
                raise SettingsError(f"There is no user {name!r}; `users list` names them.", zh=f"没有用户“{name}”；用 users list 查看。")

    def _known(self) -> dict[str, str]:
        with self._lock:
            try:
                found = self._path.stat()
            except FileNotFoundError:
                self._read_at, self._hashes = None, {}
                return {}
            changed = (found.st_mtime_ns, found.st_size)
            if changed != self._read_at:
                self._hashes, self._read_at = self._read(), changed
            return self._hashes

    def _read(self) -> dict[str, str]:
        hashes: dict[str, str] = {}
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"The users file {self._path} cannot be read: {error}. Check PINGPAN_USERS_FILE and the file's rights.",
                zh=f"无法读取用户文件 {self._path}：{error}。请检查 PINGPAN_USERS_FILE 和文件权限。",
            ) from error
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, colon, known = line.partition(":")
            if not colon or not known.startswith("$argon2"):
                raise SettingsError(
                    f"Line {number} of {self._path} is not `name:hash`; add users with `./run.sh users add NAME`.",
                    zh=f"{self._path} 第 {number} 行不是“名字:哈希”；请用 ./run.sh users add 名字 添加用户。",
                )
            hashes[name] = known.strip()
        return hashes

    @contextlib.contextmanager
    def _writing(self) -> Iterator[dict[str, str]]:
        """Hand out the users to change, and write them at the end: whole or not at all, for the owner's eyes only."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._path}.lock"):
            hashes = dict(self._known())
            yield hashes
            fresh = self._path.with_name(f"{self._path.name}.new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.writelines(f"{name}:{known}\n" for name, known in sorted(hashes.items()))
            fresh.replace(self._path)


class Throttle:
    """Counts what went wrong by place (an address, a name): after too much of it the place waits."""

    def __init__(self, most: int = MOST_FAILURES, seconds: float = FAILURE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, *places: str) -> float:
        """Return for how many seconds nothing from these places is looked at; 0.0 when it is."""
        with self._lock:
            return max((self._left(place) for place in places), default=0.0)

    def failed(self, *places: str) -> None:
        """Count a failure."""
        with self._lock:
            for place in places:
                self._failures.setdefault(place, deque(maxlen=self._most)).append(self._clock())
                self._failures.move_to_end(place)
            while len(self._failures) > _MOST_PLACES:
                self._failures.popitem(last=False)

    def passed(self, place: str) -> None:
        """Forget the failures of a place."""
        with self._lock:
            self._failures.pop(place, None)

    def _left(self, place: str) -> float:
        known = self._failures.get(place)
        if known is None or len(known) < self._most:
            return 0.0
        return max(0.0, known[0] + self._seconds - self._clock())
