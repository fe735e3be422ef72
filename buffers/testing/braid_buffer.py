"""Braid's own Buffer over a memory store, as the kit sees it: groups of two, one lease a version's half.

The kit's trajectories get the numbers that the buffer gives them when their group is first met; an ended trajectory is
scored at once, a solved one beside an unsolved one.
"""

from __future__ import annotations

from collections.abc import Sequence

from buffers.answers import Appended, Completed, Leased, Opened, Welcome
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.memory_store import MemoryStore
from buffers.prompts import make_prompts
from buffers.segment import Ghost, Segment, ids_of, token_arrays


class BraidBuffer:
    """See the module; it refuses new groups beyond admission and capacity rather than evict."""

    abilities: Sequence[str] = ("segments", "leases", "staleness", "capacity", "durability")
    k = 2
    max_age = 1
    capacity_tokens = 3 * 2 * (3 + 64)
    """Three groups of the longest responses."""

    def __init__(self) -> None:
        self._config = BufferConfig(
            k=2, batch=2, max_response_tokens=64, eta=self.max_age, oversample=4.0, capacity_tokens=self.capacity_tokens
        )
        self._store = MemoryStore()
        self._buffer = Buffer(self._config)
        self._buffer.load_prompts(make_prompts([Ghost(3, 0)]))
        self._numbers: dict[int, int] = {}
        """The kit's trajectory -> the buffer's."""
        self._ordinal = self._incarnation = self._update = self._version = 0
        self._epoch = 0
        self._begin()
        self._store.sync()

    def append(self, trajectory: int, start: int, version: int, tokens: tuple[int, ...], last: bool) -> bool:
        """Store a segment, opening its group first where that is new."""
        number = self._numbers.get(trajectory) or self._open(trajectory)
        view = self._buffer.view(number)
        if view is None:
            return False
        count = len(tokens)
        payload = token_arrays(tokens, [-1.0] * count)
        segment = Segment(start, payload, ((version, count),), ((1, count),), "stop" if last else "cut")
        answer = self._buffer.append(number, view.attempt, segment)
        if isinstance(answer, Appended) and answer.state == "ended":
            self._buffer.score(number, answer.next_attempt, {"outcome": float(trajectory % 2)})
        self._write()
        return isinstance(answer, Appended)

    def read(self, trajectory: int) -> tuple[int, ...]:
        """Tokens from the store."""
        segments = self._store.segments(self._numbers.get(trajectory, 0))
        return tuple(int(one) for segment in segments for one in ids_of(segment.payload))

    def lease(self) -> tuple[int, Sequence[int]] | None:
        """The next update's groups."""
        self._update += 1
        answer = self._buffer.lease(self._incarnation, self._update, self._buffer.highest)
        self._write()
        if not isinstance(answer, Leased):
            return None
        names = {number: name for name, number in self._numbers.items()}
        return answer.lease, [names[member.trajectory] for group in answer.groups for member in group.members]

    def complete(self, lease: int) -> bool:
        """Applied and checkpointed; the version stays."""
        answer = self._buffer.complete(self._incarnation, lease, self._buffer.highest, True)
        self._write()
        return isinstance(answer, Completed)

    def expire(self, lease: int) -> bool:
        """Take it back."""
        self._buffer.expire(lease)
        self._write()
        return True

    def publish(self, version: int) -> None:
        """A learner at this version says hello."""
        self._version = version
        self._hello()

    def held_tokens(self) -> int:
        """Tokens stored or reserved."""
        return self._buffer.ledger().held_tokens

    def sync(self) -> None:
        """The disk is done."""
        self._store.sync()

    def crash(self, keep: int) -> None:
        """Recover from what the store kept, as a resumed run does."""
        self._store.crash(min(keep, self._store.unsynced))
        self._buffer = Buffer.recover(self._config, self._store.rows())
        self._buffer.resume_all()
        self._begin()
        opened = self._buffer.ledger().opened
        self._numbers = {name: number for name, number in self._numbers.items() if number <= opened}

    def _begin(self) -> None:
        self._epoch, self._ordinal = self._buffer.snapshot().epoch, 0
        self._hello()

    def _hello(self) -> None:
        self._incarnation += 1
        answer = self._buffer.hello(self._incarnation, self._version, ())
        assert isinstance(answer, Welcome)
        self._update = 0
        self._write()

    def _open(self, trajectory: int) -> int:
        self._ordinal += 1
        answer = self._buffer.open_groups(self._epoch, self._ordinal, 1)
        self._write()
        if not isinstance(answer, Opened):
            return 0
        first = trajectory // self.k * self.k
        self._numbers.update({first + member.index: member.trajectory for member in answer.members})
        return self._numbers[trajectory]

    def _write(self) -> None:
        if transaction := self._buffer.drain():
            self._store.write(transaction)
