"""One card (GPU, or CPU) that several processes use in turns: who has it, who waits, and that nobody waits for ever.

    attempt --not yet--> attempt ... --ours--> work, until `wanted` or done --> give --> Held

Invariants
- At most one party holds the card at a time.
- Wishes are granted in the order in which they were made: with n parties a wish waits for n - 1 turns at most.
- A party that dies holds and wants nothing any more: what says so are locks of the system, which die with it.

The rule (`Card`) knows no clock and no file: it polls, so that a thread may wait with `take`, and what must not block
(stand-ins on the clock of their world) may call `attempt` again and again. A stopped process keeps the card until it
goes on or is killed, like anything else that it holds.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

LOOK_S = 0.001
"""Between two attempts, and between two looks at who waits."""
TOKEN = "card"
WISH = ".wants"
EXCLUSIVE, FREE = (struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0) for kind in (fcntl.F_WRLCK, fcntl.F_UNLCK))
"""The system's `struct flock` of a whole file."""
TEXT_BYTES = 64
"""What is written on a lock, padded: one write, never torn."""


class Share(msgspec.Struct, frozen=True):
    """How a port shares its card; the section `card` of a run's settings, different for each actor."""

    by: Literal["", "time", "memory"] = ""
    """Empty: the card is its own."""
    folder: str = ""
    """Of the locks, for sharing by time."""
    cache: Literal["keep", "drop"] = "keep"
    """What becomes of an engine's keys and values while another has the card."""
    turn_s: float = 0.0
    """How long an engine that still has work keeps the card although others wait."""
    memory: float = 1.0
    """Share of the card's memory that this process may take, for sharing by memory."""


class Held(msgspec.Struct, frozen=True):
    """A turn is over; times are of the clock that the card was given."""

    asked_ns: int
    since_ns: int
    until_ns: int
    behind: str
    """Who had the card when it was asked for; empty if it was free."""


class Locks(Protocol):
    """Named locks between processes; each is held by one party, and by nobody after that one's death."""

    def lock(self, name: str, text: str) -> bool:
        """Take a lock, if it is free now, and write something on it."""

    def unlock(self, name: str) -> None:
        """Free a lock that is ours."""

    def locked(self, name: str) -> bool:
        """Whether another party holds it."""

    def wishes(self) -> list[str]:
        """Names of all locks that end in `WISH`, held or not, in order."""

    def text(self, name: str) -> str:
        """What was last written on a lock."""

    def close(self) -> None:
        """Free everything. May be called twice."""


class Card:
    """One party's hand on the card. `now` is a clock in ns that all parties share."""

    def __init__(
        self, party: str, locks: Locks, now: Callable[[], int], drops: bool = False, turn_s: float = 0.0
    ) -> None:
        self._turn_ns = round(1e9 * turn_s)
        self.drops = drops
        """Whether an engine's keys and values are dropped when it gives the card."""
        self._party = party
        self._wish = f"{party}{WISH}"
        self._locks = locks
        self._now = now
        self._asked_ns: int | None = None
        self._told = False
        """Our wish can be seen."""
        self._since_ns = 0
        self._gave_ns = -1
        self._behind = ""
        self._looked_ns = 0
        self._wanted = False
        self.held = False

    def attempt(self) -> bool:
        """Whether the card is ours now. If not, it is wanted from now on: attempt again soon, or `give` up."""
        if self.held:
            return True
        if self._asked_ns is None:
            self._asked_ns = max(self._now(), self._gave_ns + 1)  # behind who asks at the very moment of our giving
        self._told = self._told or self._locks.lock(self._wish, str(self._asked_ns))
        older = self._older()
        if older or not self._told or not self._locks.lock(TOKEN, self._party):
            self._behind = self._behind or (self._locks.text(TOKEN) if self._locks.locked(TOKEN) else older)
            return False
        self._withdraw()
        self.held, self._since_ns, self._wanted = True, max(self._now(), self._asked_ns), False
        return True

    def take(self, unless: Callable[[], bool]) -> bool:
        """Wait until the card is ours; False as soon as `unless` says so, while it is still wanted."""
        while not self.attempt():
            if unless():
                return False
            time.sleep(LOOK_S)
        return True

    def wanted(self) -> bool:
        """Whether another waits for the card that we have held for a turn (looked up once every `LOOK_S`)."""
        now = self._now()
        due = now - self._since_ns >= self._turn_ns and now - self._looked_ns >= LOOK_S * 1e9
        if self.held and due and not self._wanted:
            self._looked_ns = now
            self._wanted = any(self._locks.locked(wish) for wish in self._others())
        return self.held and self._wanted

    def give(self) -> Held | None:
        """Give the card back, or the wish for it up; the turn that ends with it, if there was one."""
        asked_ns, self._asked_ns = self._asked_ns, None
        behind, self._behind = self._behind, ""
        self._withdraw()
        if not self.held or asked_ns is None:
            return None
        self.held = False
        self._gave_ns = max(self._now(), self._since_ns)
        self._locks.unlock(TOKEN)
        return Held(asked_ns, self._since_ns, self._gave_ns, behind)

    def close(self) -> None:
        """Hold and want nothing any more. May be called twice."""
        self.held = self._told = False
        self._locks.close()

    def _withdraw(self) -> None:
        if self._told:
            self._told = False
            self._locks.unlock(self._wish)

    def _others(self) -> list[str]:
        return [wish for wish in self._locks.wishes() if wish != self._wish]

    def _older(self) -> str:
        """A party whose wish goes before ours; empty if there is none."""
        ours = (self._asked_ns or 0, self._wish)
        for wish in self._others():
            if self._locks.locked(wish) and (int(self._locks.text(wish) or 0), wish) < ours:
                return wish.removesuffix(WISH)
        return ""


class FileLocks:
    """Locks on files of a folder: the system frees them with the process. One object for each party.

    They belong to open files (Linux: `F_OFD_SETLK`), so threads of one process exclude each other as well. To look
    whether one is held takes nothing (`F_OFD_GETLK`): a look is never in the way of whoever takes it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files: dict[str, int] = {}

    def lock(self, name: str, text: str) -> bool:
        """See `Locks`."""
        try:
            fcntl.fcntl(self._file(name), fcntl.F_OFD_SETLK, EXCLUSIVE)
        except (BlockingIOError, PermissionError):
            return False
        os.pwrite(self._file(name), text.encode().ljust(TEXT_BYTES), 0)
        return True

    def unlock(self, name: str) -> None:
        """See `Locks`."""
        fcntl.fcntl(self._file(name), fcntl.F_OFD_SETLK, FREE)

    def locked(self, name: str) -> bool:
        """See `Locks`."""
        answer = fcntl.fcntl(self._file(name), fcntl.F_OFD_GETLK, EXCLUSIVE)
        return answer[:2] != FREE[:2]

    def wishes(self) -> list[str]:
        """See `Locks`."""
        return sorted(name for name in os.listdir(self._folder) if name.endswith(WISH))

    def text(self, name: str) -> str:
        """See `Locks`."""
        return os.pread(self._file(name), TEXT_BYTES, 0).decode(errors="replace").strip()

    def close(self) -> None:
        """See `Locks`."""
        files, self._files = self._files, {}
        for file in files.values():
            os.close(file)

    def _file(self, name: str) -> int:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return file


def card_of(share: Share, party: str, now: Callable[[], int]) -> Card | None:
    """The hand of a party whose card is shared by time; None if it is not."""
    if share.by != "time":
        return None
    return Card(party, FileLocks(Path(share.folder)), now, share.cache == "drop", share.turn_s)
