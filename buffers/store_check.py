"""The rules that the rows of a store keep, checked one by one: what `braid inspect --check` says.

    a row            its key names it; a segment is well formed (`check_segment`)
    a trajectory     its segments join, versions never decrease or pass the highest, it counts what is stored
    a group          k members, each in a state that the group's stage allows, counted as they are
    a lease          holds leased groups, each held once
    counters         opened = held + closed; prompts drawn; ids were given out in order
    the buffer       with the run's settings: the invariants of `buffers/invariants.py` over what it would recover

Every violation names what it is about, the rule, and what was found. Nothing is mended. The file is longer than most
because every rule is here, each short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from buffers.config import BufferConfig
from buffers.errors import BraidError
from buffers.holdings import Holdings
from buffers.invariants import check, check_segments
from buffers.rows import (
    META_KEY,
    GroupRow,
    LeaseRow,
    MetaRow,
    OpenRow,
    PromptRow,
    Row,
    SuccessRow,
    TrajectoryRow,
    WelcomeRow,
    describe_key,
    group_key,
    lease_key,
    open_key,
    prompt_key,
    segment_key,
    success_key,
    trajectory_key,
)
from buffers.segment import Segment, check_segment
from buffers.trajectory import CLOSED, OPEN, STATES, first_trained_version

Segments = Callable[[int], Mapping[bytes, Segment]]
"""Trajectory -> its stored segments by their keys, in order of their start."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold."""

    about: str
    """trajectory 7, group 2, counters ..."""
    rule: str
    found: str


@dataclass(slots=True)
class Rows:
    """The rows of a store by kind."""

    meta: MetaRow | None = None
    groups: dict[int, GroupRow] = field(default_factory=dict)
    trajectories: dict[int, TrajectoryRow] = field(default_factory=dict)
    leases: dict[int, LeaseRow] = field(default_factory=dict)
    prompts: dict[int, PromptRow] = field(default_factory=dict)
    success: dict[int, SuccessRow] = field(default_factory=dict)
    all: list[tuple[bytes, Row]] = field(default_factory=list)

    def state(self, row: TrajectoryRow) -> str:
        """Where a trajectory is: once its group is complete, where its group is."""
        group = self.groups.get(row.group)
        return row.state if group is None or group.stage in ("open", "closed") else group.stage


def sort_rows(rows: Iterable[tuple[bytes, Row]]) -> Rows:
    """Rows of a store, as `Store.rows` gives them, by kind."""
    found = Rows(all=list(rows))
    for _, row in found.all:
        if isinstance(row, MetaRow):
            found.meta = row
        elif isinstance(row, GroupRow):
            found.groups[row.group] = row
        elif isinstance(row, TrajectoryRow):
            found.trajectories[row.trajectory] = row
        elif isinstance(row, LeaseRow):
            found.leases[row.lease] = row
        elif isinstance(row, PromptRow):
            found.prompts[row.prompt] = row
        elif isinstance(row, SuccessRow):
            found.success[row.prompt] = row
    return found


def violations(
    rows: Rows, counts: Mapping[int, int], segments: Segments, config: BufferConfig | None
) -> Iterator[Violation]:
    """Every rule that does not hold; `counts` says which trajectories have segments."""
    found = False
    for one in _of_rows(rows, counts, segments):
        found = True
        yield one
    if config is not None and not found:
        yield from _of_the_buffer(rows, config)


def _of_rows(rows: Rows, counts: Mapping[int, int], segments: Segments) -> Iterator[Violation]:
    for key, row in rows.all:
        if key_of(row) != key:
            yield Violation(describe_key(key), "a key names its row", f"the row of {describe_key(key_of(row))}")
    if rows.meta is None:
        if rows.groups or rows.trajectories or counts:
            yield Violation("counters", "a store in use has counters", "none")
        return
    for trajectory in sorted(counts.keys() - rows.trajectories.keys()):
        yield Violation(f"trajectory {trajectory}", "segments belong to a trajectory", f"{counts[trajectory]} of none")
    for row in rows.trajectories.values():
        yield from _of_trajectory(rows, rows.meta, row, segments(row.trajectory))
    for group in rows.groups.values():
        yield from _of_group(rows, rows.meta, group)
    yield from _of_leases(rows)
    yield from _of_counters(rows, rows.meta)


def key_of(row: Row) -> bytes:
    """The key under which a row belongs; of a segment, the end of it."""
    if isinstance(row, TrajectoryRow):
        return trajectory_key(row.trajectory)
    if isinstance(row, GroupRow):
        return group_key(row.group)
    if isinstance(row, LeaseRow):
        return lease_key(row.lease)
    if isinstance(row, PromptRow):
        return prompt_key(row.prompt)
    if isinstance(row, SuccessRow):
        return success_key(row.prompt)
    if isinstance(row, OpenRow):
        return open_key(row.ordinal)
    return b"w" if isinstance(row, WelcomeRow) else META_KEY


def _of_trajectory(
    rows: Rows, meta: MetaRow, row: TrajectoryRow, stored: Mapping[bytes, Segment]
) -> Iterator[Violation]:
    name = f"trajectory {row.trajectory}"
    if row.group not in rows.groups:
        yield Violation(name, "it belongs to a group", f"group {row.group} is not there")
    for key, segment in stored.items():
        place = int.from_bytes(key[9:], "big")
        if key != segment_key(row.trajectory, segment.start):
            yield Violation(f"{name}, segment at {place}", "a key names its row", f"a segment at {segment.start}")
        try:
            check_segment(segment)
        except BraidError as error:
            yield Violation(f"{name}, segment at {place}", "a segment is well formed", str(error))
    parts = tuple(stored.values())
    try:
        check_segments(row, parts)
    except BraidError as error:
        yield Violation(name, "segments join, versions never decrease", str(error).partition(": ")[2])
        return
    if row.last_version > meta.highest:
        yield Violation(name, "no version passes the highest", f"{row.last_version} above {meta.highest}")
    oldest = next((version for version in map(first_trained_version, parts) if version >= 0), -1)
    total = sum(version * count for segment in parts for version, count in segment.versions)
    if (row.oldest_version, row.version_sum) != (oldest, total):
        told = f"oldest {row.oldest_version} and sum {row.version_sum}, stored are {oldest} and {total}"
        yield Violation(name, "versions are counted as they are stored", told)
    ends = [segment.end for segment in parts]
    if any(end not in ("cut", "failed") for end in ends[:-1]):
        yield Violation(name, "nothing follows an end", f"segments that end by {ends}")
    if (row.end is None) != (row.state in OPEN) and row.state != "failed":
        yield Violation(name, "it has ended or is open", f"{row.state} with the end {row.end}")
    if row.end is not None and (not ends or ends[-1] != row.end):
        yield Violation(name, "it ended as its last segment did", f"{row.end}, segments end by {ends}")


def _of_group(rows: Rows, meta: MetaRow, group: GroupRow) -> Iterator[Violation]:
    name = f"group {group.group}"
    members = [rows.trajectories[number] for number in group.members if number in rows.trajectories]
    if group.k != meta.k or len(members) != group.k:
        yield Violation(name, "a group has k members", f"{len(members)} of {group.k}, the store's k is {meta.k}")
    for index, row in enumerate(members):
        if (row.group, row.index) != (group.group, index):
            said = f"trajectory {row.trajectory} says member {row.index} of group {row.group}"
            yield Violation(name, "members know their group", said)
    if rows.prompts and group.prompt not in rows.prompts:
        yield Violation(name, "its prompt is stored", f"prompt {group.prompt} is not there")
    if group.ended_version > meta.highest or group.opened_version > meta.highest:
        newest = max(group.ended_version, group.opened_version)
        yield Violation(name, "no version passes the highest", f"{newest} above {meta.highest}")
    states = [row.state for row in members]
    allowed = {"open": (*OPEN, "ended", "scored"), "closed": CLOSED}.get(group.stage, STATES)
    if any(state not in allowed for state in states):
        yield Violation(name, "states are legal", f"{group.stage} with members {states}")
    if group.stage == "closed":
        return
    ended, scored = sum(row.end is not None for row in members), sum(row.components is not None for row in members)
    if (group.ended, group.scored) != (ended, scored):
        told = f"{group.ended} ended and {group.scored} scored, members are {ended} and {scored}"
        yield Violation(name, "counters agree", told)
    if group.stage != "open" and scored != group.k:
        yield Violation(name, "a complete group is scored", f"{group.stage} with {scored} of {group.k} scored")
    if not 0 <= group.durable_uses <= group.uses:
        yield Violation(name, "uses are durable after they are applied", f"{group.durable_uses} of {group.uses}")


def _of_leases(rows: Rows) -> Iterator[Violation]:
    holders: dict[int, int] = {}
    for lease in rows.leases.values():
        name = f"lease {lease.lease}"
        for number, use, _ in lease.groups:
            group = rows.groups.get(number)
            if number in holders:
                yield Violation(name, "one holder", f"group {number} is in lease {holders[number]} too")
            holders[number] = lease.lease
            if group is None or group.stage != "leased" or group.lease != lease.lease or group.uses + 1 != use:
                yield Violation(name, "it holds leased groups", f"use {use} of group {number}, which is {group}")
    for group in rows.groups.values():
        if group.stage == "leased" and group.group not in holders:
            yield Violation(f"group {group.group}", "a leased group has a lease", f"lease {group.lease} is not there")


def _of_counters(rows: Rows, meta: MetaRow) -> Iterator[Violation]:
    held = sum(group.k for group in rows.groups.values() if group.stage != "closed")
    closed = sum(count for count, _ in meta.closed.values())
    drawn = sum(row.draws for row in rows.success.values())
    newest = max(rows.trajectories, default=0), max(rows.groups, default=0), max(rows.leases, default=0)
    for rule, sound, found in (
        ("opened = held + closed", meta.opened == held + closed, f"{meta.opened} = {held} + {closed}"),
        (
            "ids are given out in order",
            meta.opened == meta.next_trajectory - 1 == meta.k * (meta.next_group - 1),
            f"{meta.opened} opened, next are trajectory {meta.next_trajectory}, group {meta.next_group}",
        ),
        (
            "no id comes from the future",
            all(old < new for old, new in zip(newest, (meta.next_trajectory, meta.next_group, meta.next_lease),
                                              strict=True)),
            f"trajectory, group, lease {newest}",
        ),
        ("a group is a draw", meta.drawn == meta.next_group - 1, f"{meta.drawn} draws, next group {meta.next_group}"),
        ("draws add up", meta.drawn == drawn, f"{meta.drawn}, prompts say {drawn}"),
        ("the prompt set is whole", meta.prompts == len(rows.prompts), f"{len(rows.prompts)} of {meta.prompts}"),
    ):  # fmt: skip
        if not sound:
            yield Violation("counters", rule, found)


def _of_the_buffer(rows: Rows, config: BufferConfig) -> Iterator[Violation]:
    try:
        held = Holdings(config)
        held.take(rows.all)
        check(held)
    except BraidError as error:
        yield from (Violation("buffer", "its invariants hold", sentence) for sentence in str(error).split("; "))
