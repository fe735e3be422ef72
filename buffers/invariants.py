"""The design's invariants over a buffer's holdings, by recounting everything; for tests and after virtual events."""

from __future__ import annotations

from collections.abc import Iterator

from buffers.answers import State
from buffers.errors import ContractError
from buffers.holdings import Holdings
from buffers.rows import GroupRow, TrajectoryRow
from buffers.segment import Segment
from buffers.trajectory import OPEN, STATES


def check(held: Holdings) -> None:
    """Raise `ContractError` listing every invariant that does not hold."""
    broken = list(_broken(held))
    if broken:
        raise ContractError("; ".join(broken))


def check_segments(row: TrajectoryRow, segments: tuple[Segment, ...]) -> None:
    """Raise `ContractError` unless the stored segments of a trajectory are its whole response, in one piece."""
    position, version = 0, -1
    for segment in segments:
        if segment.start != position:
            raise ContractError(f"trajectory {row.trajectory}: a segment at {segment.start} follows {position}")
        for number, _ in segment.versions:
            if number < version:
                raise ContractError(f"trajectory {row.trajectory}: version {number} follows {version}")
            version = number
        position = segment.stop
    if (position, version) != (row.length, row.last_version):
        raise ContractError(
            f"trajectory {row.trajectory}: {position} tokens to version {version} are stored,"
            f" the buffer says {row.length} to {row.last_version}"
        )


def _broken(held: Holdings) -> Iterator[str]:
    yield from _conservation(held)
    for group in held.groups.values():
        yield from _group(held, group)
    yield from _leases(held)
    yield from _indexes(held)


def _conservation(held: Holdings) -> Iterator[str]:
    counted: dict[State, int] = dict.fromkeys(STATES, 0)
    for row in held.trajectories.values():
        counted[row.state] += 1
    for state in STATES[:-3]:
        if counted[state] != held.counts[state]:
            yield f"{counted[state]} trajectories are {state}, the count says {held.counts[state]}"
    if sum(held.counts.values()) != held.meta.opened:
        yield f"counts {held.counts} do not add up to {held.meta.opened} opened"
    closed = sum(count for count, _ in held.meta.closed.values())
    if closed != sum(held.counts[state] for state in STATES[-3:]):
        yield f"reasons {held.meta.closed} do not add up to the closed ones in {held.counts}"
    members = sum(group.k for group in held.groups.values())
    if members != len(held.trajectories):
        yield f"{members} members of groups, {len(held.trajectories)} trajectories"


def _group(held: Holdings, group: GroupRow) -> Iterator[str]:
    name = f"group {group.group}"
    rows = held.members(group)
    if group.stage == "open":
        if any(row.state not in (*OPEN, "ended", "scored") for row in rows):
            yield f"{name} is open with members {[row.state for row in rows]}"
        if group.ended != sum(row.state in ("ended", "scored") for row in rows):
            yield f"{name} counts {group.ended} ended members, they are {[row.state for row in rows]}"
        if group.scored != sum(row.state == "scored" for row in rows) or group.scored == group.k:
            yield f"{name} counts {group.scored} scored members, they are {[row.state for row in rows]}"
    elif any(row.state != group.stage for row in rows) or group.scored != group.k:
        yield f"{name} is {group.stage} with members {[row.state for row in rows]} and {group.scored} scored"
    elif any(row.components is None or row.end is None for row in rows):
        yield f"{name} is {group.stage} with members not ended or without a score"
    if not 0 <= group.durable_uses <= group.uses <= held.config.reuse:
        yield f"{name} has {group.uses} uses, {group.durable_uses} durable, of {held.config.reuse}"
    for row in rows:
        if row.last_version > held.meta.highest:
            yield f"trajectory {row.trajectory} holds version {row.last_version} above {held.meta.highest}"
        if row.length > held.config.max_response_tokens:
            yield f"trajectory {row.trajectory} holds {row.length} tokens"


def _leases(held: Holdings) -> Iterator[str]:
    holders: dict[int, int] = {}
    for lease in held.leases.values():
        for number, use, age in lease.groups:
            group = held.groups.get(number)
            if number in holders:
                yield f"group {number} is in leases {holders[number]} and {lease.lease}"
            holders[number] = lease.lease
            if group is None or group.stage != "leased" or group.lease != lease.lease or group.uses + 1 != use:
                yield f"lease {lease.lease} holds use {use} of group {number}, which is {group}"
            if age > held.config.eta + use - 1:
                yield f"lease {lease.lease} holds use {use} of group {number} at age {age}"
        if lease.incarnation != held.meta.incarnation or lease.lease >= held.meta.next_lease:
            yield f"lease {lease.lease} belongs to incarnation {lease.incarnation} of {held.meta.incarnation}"
    for group in held.groups.values():
        if (group.stage == "leased") != (group.group in holders):
            yield f"group {group.group} is {group.stage}, its lease is {holders.get(group.group)}"


def _indexes(held: Holdings) -> Iterator[str]:
    tokens = sum(held.held_tokens(row, held.groups[row.group].prompt_tokens) for row in held.trajectories.values())
    if tokens != held.reserved_tokens:
        yield f"{tokens} tokens are held or reserved, the count says {held.reserved_tokens}"
    if held.config.capacity_tokens is not None and tokens > held.config.capacity_tokens:
        yield f"{tokens} tokens are held or reserved of {held.config.capacity_tokens}"
    attached = sum(held.held_attached(row) for row in held.trajectories.values())
    if attached != held.reserved_attached:
        yield f"{attached} bytes of attachments are held or reserved, the count says {held.reserved_attached}"
    if held.config.capacity_bytes is not None and held.reserved_bytes > held.config.capacity_bytes:
        yield f"{held.reserved_bytes} bytes are held or reserved of {held.config.capacity_bytes}"
    if sorted(held.eligible) != sorted(g.group for g in held.groups.values() if g.stage == "eligible"):
        yield f"the index of eligible groups is {sorted(held.eligible)}"
    if sorted(held.undurable) != sorted(g.group for g in held.groups.values() if g.uses > g.durable_uses):
        yield f"the index of undurable uses is {sorted(held.undurable)}"
    if held.open_groups != sum(group.stage == "open" for group in held.groups.values()):
        yield f"the count of open groups is {held.open_groups}"
    unscored = {number for number, group in held.groups.items() if group.stage == "open" and group.ended == group.k}
    if held.unscored.keys() != unscored:
        yield f"groups {sorted(held.unscored)} are said to wait for scores, {sorted(unscored)} do"
