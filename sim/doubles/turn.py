"""What a double tells of its turns on shared devices, as the real ports do (`policies/card.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from policies.card import Held


class Turn:
    """The present turn of one double."""

    __slots__ = ("_asked", "_behind", "_emit", "_now", "_since")

    def __init__(self, now: Callable[[], int], emit: Callable[[Any], None]) -> None:
        self._now = now
        self._emit = emit
        self._asked: int | None = None
        self._since: int | None = None
        self._behind = ""

    def ask(self, behind: str) -> None:
        """The devices are wanted, and another has them; asking again changes nothing."""
        if self._asked is None:
            self._asked, self._behind = self._now(), behind

    def begin(self) -> None:
        """Work begins; nothing happens if it goes on."""
        if self._since is None:
            self._since = self._now()

    def end(self) -> None:
        """Work has ended, if there was any."""
        since, asked, behind = self._since, self._asked, self._behind
        if since is not None:
            self._since = self._asked = None
            self._behind = ""
            self._emit(Held(since if asked is None else asked, since, self._now(), behind))
