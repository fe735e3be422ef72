"""Which eligible groups a learner's next update gets, as a pure choice.

At oversample 1 nothing may be lost to age: a slot goes by the priority law only if what remains stays feasible, that
is if for every h >= 0 the uses that must start by version + h number at most

    (slots left in this version after this one) + h * (groups per version)

and otherwise to the earliest deadline. Groups that have ended and wait for their scores count among those uses, though
they cannot be chosen yet; a lease that would cost them their age waits for the scores. Use u of a group must start by
(version current when its last member ended) + eta + u - 1. At oversample > 1 the law chooses over everything eligible,
and age evicts the rest.

Invariants: a group is chosen at most once per lease; the choice is a function of the arguments alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from buffers.priority_tree import PriorityTree, tree_of


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An eligible group. The candidates of a choice are sorted by the order in which they became eligible."""

    group: int
    deadline: int
    """Last version from which its next use may start."""
    uses_left: int
    """Its next use included; each later one has a deadline one version later."""
    priority: float


class Choice(msgspec.Struct, frozen=True, gc=False):
    """A chosen group, and whether the law chose it (or its deadline)."""

    group: int
    by_law: bool


class Room(msgspec.Struct, frozen=True, gc=False):
    """How much is leased when."""

    version: int
    slots: int
    """Groups of this lease."""
    left: int
    """Groups that later leases of this version still take."""
    per_version: int
    strict: bool
    """Whether deadlines bind (oversample 1)."""
    proportional: bool
    """Whether the law draws in proportion to the priority, or takes the greatest."""


def choose(
    candidates: Sequence[Candidate], room: Room, draw: Callable[[], float], awaited: Sequence[int] = ()
) -> list[Choice]:
    """Fill the slots of a lease, as many as there are candidates for.

    `awaited` are the deadlines of the uses of groups that are eligible once they are scored. `draw` gives the next
    number in [0, 1); it is called once for each slot that is drawn in proportion.
    """
    law = _Law(candidates, room.proportional, draw)
    due = _Due(candidates, room, awaited)
    chosen: list[Choice] = []
    for slot in range(min(room.slots, len(candidates))):
        after = room.left + room.slots - slot - 1
        index = law.propose()
        by_law = not room.strict or due.feasible_without(candidates[index], after)
        if not by_law:
            index = due.earliest()
        law.remove(index)
        due.remove(index)
        chosen.append(Choice(candidates[index].group, by_law))
    return chosen


def must_wait(candidates: Sequence[Candidate], room: Room, awaited: Sequence[int]) -> bool:
    """Whether a lease now, even by deadline alone, would cost groups their age that are only waiting for scores."""
    if not (room.strict and awaited):
        return False
    return not _in_time(candidates, room, awaited) and _in_time(candidates, room, ())


def _in_time(candidates: Sequence[Candidate], room: Room, awaited: Sequence[int]) -> bool:
    """Whether all can be leased in time if this lease goes by deadline alone."""
    due = _Due(candidates, room, awaited)
    for slot in range(min(room.slots, len(candidates))):
        index = due.earliest()
        if not due.feasible_without(candidates[index], room.left + room.slots - slot - 1):
            return False
        due.remove(index)
    return True


class _Law:
    """The priority law over what is left of the candidates."""

    def __init__(self, candidates: Sequence[Candidate], proportional: bool, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._tree: PriorityTree | None = None
        if proportional:
            self._tree = tree_of([candidate.priority for candidate in candidates])
        else:
            self._order = sorted(range(len(candidates)), key=lambda index: (-candidates[index].priority, index))
            self._gone = bytearray(len(candidates))
            self._next = 0

    def propose(self) -> int:
        if self._tree is not None:
            return self._tree.find_one(self._draw())
        while self._gone[self._order[self._next]]:
            self._next += 1
        return self._order[self._next]

    def remove(self, index: int) -> None:
        if self._tree is not None:
            self._tree.set_one(index, 0.0)
        else:
            self._gone[index] = 1


class _Due:
    """How many uses are due by which version."""

    def __init__(self, candidates: Sequence[Candidate], room: Room, awaited: Sequence[int]) -> None:
        self._candidates = candidates
        self._room = room
        self._by_horizon: list[int] = []
        self._gone = bytearray(len(candidates))
        self._order: list[int] = []
        self._next = 0
        if not room.strict:
            return
        for candidate in candidates:
            horizon = max(0, candidate.deadline - room.version)
            for later in range(candidate.uses_left):
                self._count(horizon + later)
        for deadline in awaited:
            if deadline >= room.version:
                self._count(deadline - room.version)
        self._order = sorted(range(len(candidates)), key=lambda index: (candidates[index].deadline, index))

    def _count(self, horizon: int) -> None:
        self._by_horizon += [0] * (horizon + 1 - len(self._by_horizon))
        self._by_horizon[horizon] += 1

    def feasible_without(self, candidate: Candidate, slots_after: int) -> bool:
        """Whether everything else can still be leased in time once `candidate` takes this slot."""
        horizon_of_it = candidate.deadline - self._room.version
        total = 0
        room = slots_after
        for horizon, uses in enumerate(self._by_horizon):
            total += uses
            if total - (horizon_of_it <= horizon) > room:
                return False
            room += self._room.per_version
        return True

    def earliest(self) -> int:
        while self._gone[self._order[self._next]]:
            self._next += 1
        return self._order[self._next]

    def remove(self, index: int) -> None:
        self._gone[index] = 1
        if self._room.strict:
            self._by_horizon[max(0, self._candidates[index].deadline - self._room.version)] -= 1
