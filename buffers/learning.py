"""The learner's side of a buffer: hello, lease, expire, complete. One transaction each.

    hello(incarnation, version, applied)           -> Welcome     when a learner starts
    lease(incarnation, update, version)            -> Leased      eligible -> leased
    expire(lease)                                  -> Expired     leased -> eligible, decided by whoever has a clock
    complete(incarnation, lease, version, ...)     -> Completed   leased -> applied, consumed or eligible; publishes

Where the prompts or the signal (`BufferConfig.max_gen_batches`) are used up and no group is open, what is eligible
makes a last, short lease; then `lease` is refused for that reason, and the run is over.

Between checkpoints uses are *applied*; at a checkpoint they become durable; a crash of the learner rolls applied uses
back (`hello`). A use number counts once, whatever is retried, expired or lost in between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from buffers.answers import (
    Completed,
    Expired,
    Leased,
    LeasedGroup,
    LeasedMember,
    Refused,
    Welcome,
)
from buffers.draws import uniform
from buffers.group import age_of, deadline_of, signal_of
from buffers.holdings import Holdings
from buffers.leasing import Candidate, Choice, Room, choose, must_wait
from buffers.priorities import PriorityRule, worth
from buffers.rows import WELCOME_KEY, GroupRow, LeaseRow, WelcomeRow

LAW_STREAM = 2

Uses = tuple[tuple[int, int], ...]
"""(group, use) pairs."""

Feedback = tuple[tuple[int, float], ...]
"""(group, what the learner says of it) pairs."""

NOT_YET = Refused("not yet", "too few groups are eligible")
USED_UP = Refused("prompts", "all prompts were used and nothing is left to train on")
NO_SIGNAL = Refused("signal", "groups without signal came up to max_gen_batches and nothing is left to train on")


def hello(held: Holdings, incarnation: int, version: int, applied: Uses) -> Welcome | Refused:
    """Bring replay together with a learner that starts from its checkpoint.

    `version` is the number that its weights bear (-1: none), `applied` the uses in them that replay may not know of.
    Closes what was applied (also where the lease has expired), returns the rest of the open leases, rolls back uses
    that the weights do not hold, and refuses older incarnations from now on.
    """
    meta, before = held.meta, held.welcome
    if incarnation < meta.incarnation:
        return Refused("stale incarnation", f"{incarnation} is older than {meta.incarnation}")
    if before is not None and incarnation == meta.incarnation:
        if (version, applied) == (before.version, before.applied):
            return before.answer
        return Refused("closed", f"incarnation {incarnation} has left its checkpoint behind")
    returned = [number for lease in list(held.leases.values()) for number in held.end_lease(lease)]
    meta.highest = max(version, meta.highest + (version < meta.highest))
    meta.incarnation, meta.completed = incarnation, (0, -1)
    meta.used_in_version = meta.retired_in_version = 0
    uses: dict[int, int] = {}
    for number, use in applied:
        uses[number] = max(use, uses.get(number, 0))
    settled, rolled_back = _reconcile(held, uses)
    returned = [number for number in returned if number not in uses]
    answer = Welcome(incarnation, meta.highest, settled, tuple(returned), rolled_back)
    held.welcome = WelcomeRow(version, applied, answer)
    held.journal.put(WELCOME_KEY, held.welcome)
    held.note_meta()
    return answer


def _reconcile(held: Holdings, uses: dict[int, int]) -> tuple[Uses, tuple[int, ...]]:
    """Make the uses of every group those in the learner's weights: (uses closed, groups rolled back)."""
    closed: list[tuple[int, int]] = []
    for number, use in uses.items():
        group = held.groups.get(number)
        if group is None or group.stage == "open":
            continue
        if use > group.uses:
            closed.append((number, use))
            held.apply_use(group, use, durable=True)
        elif use == group.uses and group.durable_uses < use:
            group.durable_uses = use
            held.undurable.pop(number, None)
            held.note_group(group)
            if group.stage == "applied":
                held.close_group(group, "consumed", group.reason)
    rolled_back: list[int] = []
    for group in list(held.undurable.values()):
        if uses.get(group.group, 0) >= group.uses:
            continue
        rolled_back.append(group.group)
        held.roll_back(group, max(group.durable_uses, uses.get(group.group, 0)))
    return tuple(closed), tuple(rolled_back)


def lease(held: Holdings, rule: PriorityRule, incarnation: int, update: int, version: int) -> Leased | Refused:
    """Lease the groups of update number `update`, which starts from `version`; cheap while there are not enough."""
    meta, config = held.meta, held.config
    exhausted = held.prompts.exhausted(meta.drawn)
    done = held.open_groups == 0 and (exhausted or held.spent)
    needed = config.groups_per_lease
    if incarnation != meta.incarnation:
        return _stranger(incarnation, meta.incarnation)
    for row in held.leases.values():
        if row.update == update:
            return _leased(held, row)
    if update <= meta.completed[1]:
        return Refused("closed", f"update {update} was completed")
    if version != meta.highest:
        return Refused("version", f"the update starts from {version}, the highest version is {meta.highest}")
    if (len(held.eligible) < needed and not done) or _pool_is_filling(held):
        return NOT_YET
    groups = held.eligible.values()
    worths = {group.group: worth(rule, config.priority, group.group, signal_of(group, version)) for group in groups}
    held.drop_aged(version)
    if len(held.eligible) < needed and not (done and held.eligible):
        if done and not held.leases:
            return USED_UP if exhausted else NO_SIGNAL
        return NOT_YET
    if _pool_is_filling(held):
        return NOT_YET
    chosen = _choose(held, worths, rule.proportional, version)
    if not chosen:
        return NOT_YET
    row = LeaseRow(
        meta.next_lease,
        incarnation,
        update,
        version,
        tuple((g.group, g.uses + 1, age_of(g, version)) for g in (held.groups[choice.group] for choice in chosen)),
        tuple(choice.weight for choice in chosen) if config.leasing.replacement else (),
    )
    meta.next_lease += 1
    meta.slots += len(chosen)
    meta.law_slots += sum(choice.by_law for choice in chosen)
    if len(chosen) == needed:  # a short lease is the last
        meta.unsignalled = 0
    held.add_lease(row)
    held.note_meta()
    return _leased(held, row)


def _pool_is_filling(held: Holdings) -> bool:
    """Whether the law is promised a larger choice, and an open group may still bring it."""
    wanted = math.ceil(held.config.groups_per_lease * held.config.leasing.pool - 1e-9)
    return held.open_groups > 0 and len(held.eligible) < wanted


def _choose(held: Holdings, worths: Mapping[int, float], proportional: bool, version: int) -> list[Choice]:
    """The groups of the next lease; none while it has to wait for scores."""
    meta, config = held.meta, held.config
    candidates = []
    for group in sorted(held.eligible.values(), key=lambda group: group.position):
        uses_left = config.reuse - group.uses
        candidates.append(Candidate(group.group, deadline_of(group, config.eta), uses_left, worths[group.group]))
    slots = config.groups_per_lease
    granted = sum(len(row.groups) for row in held.leases.values()) + meta.used_in_version
    left = max(0, config.groups_per_version - granted - slots)
    strict = config.oversample <= 1.0
    room = Room(version, slots, left, config.groups_per_version, strict, proportional, config.leasing)

    def draw() -> float:
        meta.law_draws += 1
        return uniform(config.seed, LAW_STREAM, meta.law_draws)

    uses = range(config.reuse)
    awaited = [deadline_of(group, config.eta) + later for group in held.unscored.values() for later in uses]
    return [] if must_wait(candidates, room, awaited) else choose(candidates, room, draw, awaited)


def _leased(held: Holdings, row: LeaseRow) -> Leased:
    """The answer that describes an open lease."""
    weights = row.weights or (1.0,) * len(row.groups)
    groups = tuple(
        _leased_group(held, held.groups[number], use, age, weight)
        for (number, use, age), weight in zip(row.groups, weights, strict=True)
    )
    return Leased(row.lease, row.update, row.version, groups)


def _leased_group(held: Holdings, group: GroupRow, use: int, age: int, weight: float) -> LeasedGroup:
    members = tuple(
        LeasedMember(
            row.trajectory,
            row.length,
            row.components or {},
            row.oldest_version,
            row.last_version,
            row.attached_bytes,
        )
        for row in held.members(group)
    )
    return LeasedGroup(group.group, group.prompt, use, weight, age, members, group.prompt_tokens)


def expire(held: Holdings, number: int) -> Expired | Refused:
    """Take a lease back; its groups are eligible again."""
    row = held.leases.get(number)
    if row is None:
        return Refused("stale lease", f"lease {number} is not open")
    return Expired(number, held.end_lease(row))


def complete(
    held: Holdings, incarnation: int, number: int, version: int, checkpointed: bool, feedback: Feedback
) -> Completed | Refused:
    """Close a lease whose update is in the learner's weights, and publish `version` if it is above the highest.

    `checkpointed`: these weights, with all uses up to now, are durable. Lease 0 is none: only a checkpoint is told, by
    a learner that has nothing left to train on.
    """
    meta = held.meta
    if incarnation != meta.incarnation:
        return _stranger(incarnation, meta.incarnation)
    row = held.leases.get(number)
    if row is None and (number or not checkpointed):
        if number and number == meta.completed[0]:
            return Completed(number, meta.highest)
        return Refused("stale lease", f"lease {number} is not open; say hello with what was applied")
    if not meta.highest <= version <= meta.highest + 1:
        return Refused("version", f"{version} is neither the highest, {meta.highest}, nor the next")
    leased = {group for group, _, _ in row.groups} if row is not None else set()
    for group, told in feedback:
        if group not in leased:
            return Refused(f"invalid: feedback of group {group}, which lease {number} does not hold")
        if not 0.0 <= told < math.inf:
            return Refused(f"invalid: feedback of group {group} is {told}; it must be finite and not negative")
    for group, told in feedback:
        held.groups[group].feedback = told
    if row is not None:
        for group, use, _ in row.groups:
            held.apply_use(held.groups[group], use, checkpointed)
            meta.retired_in_version += meta.k if use >= held.config.reuse else 0
        meta.used_in_version += len(row.groups)
        held.end_lease(row)
        meta.completed = (number, row.update)
    if version > meta.highest:
        meta.highest, meta.used_in_version, meta.retired_in_version = version, 0, 0
    if checkpointed:
        held.settle_checkpoint()
    held.note_meta()
    return Completed(number, meta.highest)


def _stranger(incarnation: int, known: int) -> Refused:
    """An incarnation that is not the one of the last hello."""
    if incarnation < known:
        return Refused("stale incarnation", f"{incarnation} is older than {known}")
    return Refused("unknown", f"incarnation {incarnation} has not said hello")
