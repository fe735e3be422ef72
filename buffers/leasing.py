"""Which eligible groups a learner's next update gets, as a pure choice.

At oversample 1 nothing may be lost to age: a slot goes by the priority law only if what remains stays feasible, that
is if for every h >= 0 the uses that must start by version + h number at most

    (slots left in this version after this one) + h * (groups per version)

and otherwise to the earliest deadline. Groups that have ended and wait for their scores count among those uses, though
they cannot be chosen yet; a lease that would cost them their age waits for the scores. Use u of a group must start by
(version current when its last member ended) + eta + u - 1. At oversample > 1 the law chooses over everything eligible,
and age evicts the rest; so that it has a choice also where generation is slower than training, a lease can be made to
wait for a pool.

Without replacement each slot draws from what the slots before it left, and all weights are 1. With replacement
(oversample > 1 only) every slot draws from the whole; a group that was drawn n times is leased once and its importance
weight counts n times, so a lease then holds fewer groups than slots. Stratified, slot i looks in its own i-th part of
the priorities, which takes away most of the chance in how often something is drawn (Schaul et al., arXiv 1511.05952,
appendix B.2.1).

Invariants: a group is chosen at most once per lease; the choice is a function of the arguments alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from buffers.errors import UsageError
from buffers.priority_tree import PriorityTree, tree_of


@dataclass(frozen=True, slots=True)
class LeasingConfig:
    """How the priority law draws; a rule that takes the greatest leaves it no choice."""

    replacement: bool = False
    """Draw with replacement; needs oversample > 1, where age evicts what is drawn too seldom."""
    stratified: bool = False
    """Every slot draws from its own part of the priorities."""
    alpha: float = 1.0
    """Exponent of the priorities: P(i) = p_i ** alpha / sum; 0 is uniform."""
    beta: float = 0.0
    """Exponent of the importance weights of draws with replacement; 0 leaves the bias, 1 takes it away."""
    pool: float = 1.0
    """A lease waits until so many times its groups are eligible, or no group is open; at most the oversample."""

    def __post_init__(self) -> None:
        """Refuse exponents out of range, and weights where there is nothing to correct."""
        for name in ("alpha", "beta"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"buffer.leasing.{name} is {getattr(self, name)}; it must lie in [0, 1]")
        if not self.pool >= 1.0:
            raise UsageError(f"buffer.leasing.pool is {self.pool}; it must be at least 1 (no wait)")
        if self.beta and not self.replacement:
            raise UsageError(
                f"buffer.leasing.beta is {self.beta}; importance weights belong to draws with replacement:"
                " set buffer.leasing.replacement = true, or beta to 0"
            )

    def check(self, proportional: bool, oversample: float) -> None:
        """Raise `UsageError` where the rule or the admission leaves nothing to draw."""
        if self.replacement and oversample <= 1.0:
            raise UsageError(
                f"buffer.leasing.replacement needs oversample above 1, it is {oversample}: at 1 every group has its"
                " turn before its deadline, and none may be drawn twice"
            )
        if self.pool > oversample:
            raise UsageError(
                f"buffer.leasing.pool is {self.pool}, more than the oversample of {oversample}: nobody generates what"
                " it would wait for; raise schedule.oversample or lower it"
            )
        for name in ("replacement", "stratified"):
            if getattr(self, name) and not proportional:
                raise UsageError(
                    f"buffer.leasing.{name} needs a priority rule that draws in proportion; this one takes the greatest"
                )


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
    weight: float = 1.0
    """Importance weight; the mean over a lease is 1."""


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
    how: LeasingConfig = LeasingConfig()


def choose(
    candidates: Sequence[Candidate], room: Room, draw: Callable[[], float], awaited: Sequence[int] = ()
) -> list[Choice]:
    """Fill the slots of a lease, as many as there are candidates for.

    `awaited` are the deadlines of the uses of groups that are eligible once they are scored. `draw` gives the next
    number in [0, 1); it is called once for each slot that is drawn in proportion.
    """
    if room.how.replacement:
        return _with_replacement(candidates, room, draw)
    law = _Law(candidates, room, draw)
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


def _with_replacement(candidates: Sequence[Candidate], room: Room, draw: Callable[[], float]) -> list[Choice]:
    """Fill all slots out of the whole; each group drawn once, in order of its first draw."""
    if not candidates:
        return []
    priorities = [candidate.priority**room.how.alpha for candidate in candidates]
    tree, times = tree_of(priorities), dict[int, int]()
    for slot in range(room.slots):
        index = tree.find_one((slot + draw()) / room.slots if room.how.stratified else draw())
        times[index] = times.get(index, 0) + 1
    weights = importance_weights([priorities[index] for index in times], tree.total, len(candidates), room.how.beta)
    counted = [weight * count for weight, count in zip(weights, times.values(), strict=True)]
    mean = sum(counted) / len(counted)
    return [Choice(candidates[index].group, True, weight / mean) for index, weight in zip(times, counted, strict=True)]


def importance_weights(priorities: Sequence[float], total: float, count: int, beta: float) -> list[float]:
    """(N P(i)) ** -beta of drawn items [n], N = `count` and P(i) = p_i / `total` (arXiv 1511.05952, section 3.4)."""
    return [(count * priority / total) ** -beta for priority in priorities]


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

    def __init__(self, candidates: Sequence[Candidate], room: Room, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._stratified = room.how.stratified
        self._slot, self._slots = 0, min(room.slots, len(candidates))
        self._tree: PriorityTree | None = None
        if room.proportional:
            self._tree = tree_of([candidate.priority**room.how.alpha for candidate in candidates])
        else:
            self._order = sorted(range(len(candidates)), key=lambda index: (-candidates[index].priority, index))
            self._gone = bytearray(len(candidates))
            self._next = 0

    def propose(self) -> int:
        if self._tree is not None:
            share = self._draw()
            return self._tree.find_one((self._slot + share) / self._slots if self._stratified else share)
        while self._gone[self._order[self._next]]:
            self._next += 1
        return self._order[self._next]

    def remove(self, index: int) -> None:
        self._slot += 1
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
