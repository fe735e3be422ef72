"""What a store holds, as one looks at it: an account, one line a trajectory, one trajectory in full."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from buffers.answers import State
from buffers.rows import GroupRow
from buffers.segment import Payload, Runs, Segment, join_runs
from buffers.store_check import Rows
from buffers.trajectory import CLOSED, STATES


@dataclass(frozen=True, slots=True)
class Overview:
    """Where everything ever opened is now."""

    highest_version: int
    opened: int
    trained: int
    evicted: int
    failed: int
    in_flight: int
    by_state: dict[str, int]
    """Trajectories in flight."""
    reasons: dict[str, int]
    """Closed trajectories by why."""


@dataclass(frozen=True, slots=True)
class Line:
    """A trajectory in a list."""

    trajectory: int
    state: str
    group: int
    tokens: int
    segments: int
    versions: tuple[int, int] | None
    """Of the first token that trains and of the last; None without tokens."""
    reward: dict[str, float] | None
    """Components; None before they are stored."""
    age: int | None
    """Versions since its group's last member ended; None before."""


@dataclass(frozen=True, slots=True)
class Part:
    """A segment."""

    start: int
    tokens: int
    versions: Runs
    """(version, tokens) runs."""
    produced: Runs
    """(1 by the model, 0 by a tool or environment; tokens) runs."""
    end: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class Whole:
    """A trajectory in full."""

    line: Line
    member: int
    attempt: int
    failures: int
    end: str | None
    versions: Runs
    """Over the whole response."""
    parts: tuple[Part, ...]
    group: GroupRow | None
    prompt: Payload | None
    answer: str
    life: tuple[str, ...]
    """What happened to it, as its rows tell it, in order."""


def overview(rows: Rows) -> Overview:
    """The account of a store; all zero in one that was never used."""
    closed = dict.fromkeys(CLOSED, 0)
    states = dict.fromkeys(STATES[: -len(CLOSED)], 0)
    reasons: dict[str, int] = {}
    for name, (count, _) in sorted(rows.meta.closed.items()) if rows.meta else ():
        reasons[name] = count
        closed[next(state for state in CLOSED if name.startswith(state))] += count
    for row in rows.trajectories.values():
        state = rows.state(row)
        if state in states:
            states[state] += 1
    held = {str(state): count for state, count in states.items() if count}
    highest, opened = (rows.meta.highest, rows.meta.opened) if rows.meta else (0, 0)
    consumed, evicted, failed = (closed[state] for state in CLOSED)
    return Overview(highest, opened, consumed, evicted, failed, opened - sum(closed.values()), held, reasons)


def lines(rows: Rows, counts: Mapping[int, int]) -> list[Line]:
    """A line for each trajectory in the store, in order of ids; `counts` are its stored segments."""
    return [line(rows, trajectory, counts.get(trajectory, 0)) for trajectory in sorted(rows.trajectories)]


def line(rows: Rows, trajectory: int, segments: int) -> Line:
    """One of them."""
    row = rows.trajectories[trajectory]
    group, highest = rows.groups.get(row.group), rows.meta.highest if rows.meta else 0
    age = None if group is None or group.ended_version < 0 else highest - group.ended_version
    versions = (row.oldest_version, row.last_version) if row.length else None
    return Line(trajectory, rows.state(row), row.group, row.length, segments, versions, row.components, age)


def whole(rows: Rows, trajectory: int, segments: Iterable[Segment]) -> Whole:
    """A trajectory in full, with its segments in order."""
    row = rows.trajectories[trajectory]
    parts = tuple(Part(one.start, one.length, one.versions, one.produced, one.end, one.payload) for one in segments)
    versions: Runs = ()
    for part in parts:
        versions = join_runs(versions, part.versions)
    group = rows.groups.get(row.group)
    prompt = rows.prompts.get(group.prompt) if group else None
    return Whole(
        line=line(rows, trajectory, len(parts)),
        member=row.index,
        attempt=row.attempt,
        failures=row.failures,
        end=row.end,
        versions=versions,
        parts=parts,
        group=group,
        prompt=prompt.payload if prompt else None,
        answer=prompt.answer if prompt else "",
        life=tuple(_life(rows, trajectory, parts)),
    )


def _life(rows: Rows, trajectory: int, parts: tuple[Part, ...]) -> Iterable[str]:
    row = rows.trajectories[trajectory]
    group = rows.groups.get(row.group)
    if group is not None:
        yield f"opened at version {group.opened_version} for prompt {group.prompt}"
    for number, part in enumerate(parts):
        yield f"segment {number}: tokens {part.start} to {part.start + part.tokens}, {part.end}"
    if row.failures:
        yield f"{row.failures} failures of infrastructure"
    yield f"attempt {row.attempt} is the current one"
    if row.end is not None:
        yield f"ended: {row.end}, {row.length} tokens"
    if row.components is not None:
        yield f"scored: {show_components(row.components)}"
    if group is not None and group.ended_version >= 0:
        yield f"its group's last member ended at version {group.ended_version}"
    if group is not None and group.uses:
        yield f"used {group.uses} times, {group.durable_uses} of them in a durable checkpoint"
    if group is not None and group.lease:
        lease = rows.leases.get(group.lease)
        yield f"in lease {group.lease}" + (f" of update {lease.update} at version {lease.version}" if lease else "")
    state: State | str = rows.state(row)
    yield f"now {state}" + (f": {group.reason}" if group is not None and group.reason else "")


def show_components(components: Mapping[str, float] | None) -> str:
    """Reward components in words."""
    return ", ".join(f"{name} {value:g}" for name, value in (components or {}).items()) or "-"
