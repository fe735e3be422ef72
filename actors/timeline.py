"""The timeline of a run, live or virtual, from its event log; and its trace file for Perfetto and chrome://tracing.

    records --slices--> who did what from when to when, and what fed what --trace_events--> one JSON file

Every actor is a process of the trace, with a row for what it does by itself (updates, installs, checkpoints, waits with
their reason) and as many rows as it did things at once (segments, leases, scores). Arrows lead from each segment to the
updates that trained it. Other decisions are instants, numbers are counters. What was never ended is drawn to the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from actors.eventlog import Number, Record, Refusal, Traffic
from actors.kernel.backend import Decision
from actors.kernel.operations import NS
from buffers.histogram import read_bucket

CARD = " has the card"
CARD_WAIT_NS = 2_000_000
"""Shorter waits for a card are how long it takes to look."""
WORK = ("segment", "lease", "score", "card", "life")
"""Categories of which an actor may have several at a time."""
SPANNED = (
    "dispatch",
    "store",
    "lease",
    "complete",
    "expire",
    "update",
    "checkpoint",
    "publish",
    "installed",
    "held",
    "spawn",
    "died",
)
"""Decisions that are edges of slices and need no instant of their own."""


class Slice(msgspec.Struct):
    """Something that an actor did (or waited for) from one time to another."""

    actor: str
    category: str
    """segment, update, lease, install, checkpoint, publish, score, card, wait or life."""
    name: str
    begin_ns: int
    end_ns: int
    args: dict[str, Any]
    version: int = -1
    """The newest published when it began."""
    feeds: list[int] = []
    """Positions (in the list of slices) of the updates that it went into."""


class Timeline(msgspec.Struct):
    """What a run did."""

    slices: list[Slice]
    end_ns: int


def timeline(records: Iterable[Record], group: int = 0) -> Timeline:
    """Slices of the records (in order of time); `group` is the schedule's k, without which nothing is joined."""
    reader = _Reader(group)
    for record in records:
        reader.take(record)
    return reader.finish()


class _Reader:
    """Pairs begins and ends."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._slices: list[Slice] = []
        self._open: dict[tuple[str, object], Slice] = {}
        self._segments: dict[int, list[Slice]] = {}
        """By trajectory."""
        self._groups: dict[int, tuple[int, ...]] = {}
        """By lease."""
        self._now = 0
        self._version = -1
        self._installed: dict[str, int] = {}
        self._update: dict[str, tuple[int, int]] = {}
        """Learner -> (its last update's lease, when it or its checkpoint ended)."""

    def take(self, record: Record) -> None:
        """One record."""
        self._now = max(self._now, record.at_ns)
        if isinstance(record, Number):
            self._number(record)
        elif isinstance(record, Decision):
            handler = getattr(self, f"_on_{record.kind}", None)
            if handler is not None:
                handler(record)

    def finish(self) -> Timeline:
        """Close what is open, and find when generators had nothing to do."""
        for one in self._open.values():
            one.end_ns = self._now
        self._idle()
        return Timeline(self._slices, self._now)

    def _begin(self, key: tuple[str, object], actor: str, name: str, args: dict[str, Any]) -> Slice:
        made = Slice(actor, key[0], name, self._now, self._now, args, self._version)
        self._slices.append(made)
        self._open[key] = made
        return made

    def _end(self, key: tuple[str, object], **args: object) -> Slice | None:
        found = self._open.pop(key, None)
        if found is not None:
            found.end_ns = self._now
            found.args.update(args)
        return found

    def _past(self, actor: str, category: str, name: str, seconds: float, **args: object) -> Slice:
        begin = max(0, self._now - round(seconds * NS))
        made = Slice(actor, category, name, begin, self._now, dict(args), self._version)
        self._slices.append(made)
        return made

    # ---- decisions ------------------------------------------------------------------------------------------------

    def _on_dispatch(self, one: Decision) -> None:
        trajectory, attempt, worker, needed = one.fields[:4]
        args = {"trajectory": trajectory, "attempt": attempt, "min_version": needed}
        self._begin(("segment", (trajectory, attempt)), str(worker), f"segment {trajectory}", args)

    def _on_store(self, one: Decision) -> None:
        trajectory, attempt, start, length, end = one.fields[:5]
        found = self._end(("segment", (trajectory, attempt)), start=start, tokens=length, end=end)
        if found is not None:
            self._segments.setdefault(int(trajectory), []).append(found)

    def _on_lost(self, one: Decision) -> None:
        self._end(("segment", tuple(one.fields[:2])), end="lost")

    def _on_refused(self, one: Decision) -> None:
        self._end(("segment", tuple(one.fields[:2])), end="refused")

    def _on_lease(self, one: Decision) -> None:
        lease, *groups = (int(field) for field in one.fields)
        self._groups[lease] = tuple(groups)
        self._begin(("lease", lease), one.actor, f"lease {lease}", {"lease": lease, "groups": len(groups)})

    def _on_complete(self, one: Decision) -> None:
        self._end(("lease", int(one.fields[0])), version=one.fields[1])

    def _on_expire(self, one: Decision) -> None:
        self._end(("lease", int(one.fields[0])), end="expired")

    def _on_update(self, one: Decision) -> None:
        self._update[one.actor] = (int(one.fields[0]), self._now)

    def _on_checkpoint(self, one: Decision) -> None:
        lease, since = self._update.get(one.actor, (0, self._now))
        self._past(one.actor, "checkpoint", f"checkpoint {one.fields[0]}", (self._now - since) / NS, lease=lease)
        self._update[one.actor] = (lease, self._now)

    def _on_publish(self, one: Decision) -> None:
        self._version = int(one.fields[0])
        _, since = self._update.pop(one.actor, (0, self._now))
        self._past(one.actor, "publish", f"publish {self._version}", (self._now - since) / NS)

    def _on_installed(self, one: Decision) -> None:
        self._installed[one.actor] = int(one.fields[0])

    def _on_held(self, one: Decision) -> None:
        """A turn on a shared card, and the wait for it."""
        asked, since, until = (int(field) for field in one.fields[:3])
        args = {"behind": str(one.fields[3])}
        if since - asked > CARD_WAIT_NS:
            name = f"wait: {args['behind'] or 'another'}{CARD}"
            self._slices.append(Slice(one.actor, "wait", name, asked, since, {}, self._version))
        self._slices.append(Slice(one.actor, "card", "has the card", since, until, args, self._version))

    def _on_spawn(self, one: Decision) -> None:
        name = str(one.fields[0])
        self._begin(("life", name), name, f"life {one.fields[-1]}", {})

    def _on_died(self, one: Decision) -> None:
        name = str(one.fields[0])
        self._end(("life", name), end="died")
        for key, open_slice in list(self._open.items()):
            if open_slice.actor == name and key[0] == "segment":
                self._end(key, end="lost")

    # ---- numbers --------------------------------------------------------------------------------------------------

    def _number(self, one: Number) -> None:
        if one.name == "update_s":
            self._updated(one)
        elif one.name == "wait_s" and one.value > 0:
            self._past(one.actor, "wait", "wait: too few groups are eligible", one.value)
        elif one.name == "install_stall_s":
            version = self._installed.get(one.actor, self._version)
            self._past(one.actor, "install", f"install {version}", one.value)
        elif one.name == "score_s":
            self._past(one.actor, "score", "score", one.value)
        elif one.name.startswith("wait: "):
            key = ("wait", (one.actor, one.name))
            if not one.value:
                self._end(key)
            elif key not in self._open:
                self._begin(key, one.actor, one.name, {})

    def _updated(self, one: Number) -> None:
        lease = self._update.get(one.actor, (0, 0))[0]
        place = len(self._slices)
        self._past(one.actor, "update", f"update {lease}", one.value, lease=lease)
        for group in self._groups.get(lease, ()) if self._group else ():
            for trajectory in range((group - 1) * self._group + 1, group * self._group + 1):
                for segment in self._segments.get(trajectory, ()):
                    segment.feeds = [*segment.feeds, place]

    def _idle(self) -> None:
        """Waits of generators: between their segments; the reason is what kept the controller from opening groups.

        Where a generator waited for its card as well, that alone is told.
        """
        blocked = [one for one in self._slices if one.category == "wait" and one.name.startswith("wait: ")]
        blocked = [one for one in blocked if "eligible" not in one.name]
        cards = [one for one in blocked if one.name.endswith(CARD)]
        blocked = [one for one in blocked if not one.name.endswith(CARD)]
        busy: dict[str, int] = {}
        waits: list[Slice] = []
        for one in sorted((one for one in self._slices if one.category == "segment"), key=lambda one: one.begin_ns):
            since = busy.get(one.actor)
            if since is not None and one.begin_ns > since:
                reasons = {wait.name for wait in blocked if wait.begin_ns < one.begin_ns and wait.end_ns > since}
                name = min(reasons, default="wait: no response to continue")
                mine = [wait for wait in cards if wait.actor == one.actor]
                for begin, end in without(since, one.begin_ns, mine):
                    waits.append(Slice(one.actor, "wait", name, begin, end, {}, one.version))
            busy[one.actor] = max(busy.get(one.actor, 0), one.end_ns)
        self._slices += waits


def without(begin_ns: int, end_ns: int, holes: list[Slice]) -> Iterator[tuple[int, int]]:
    """What is left of a time when others are taken out."""
    for hole in sorted(holes, key=lambda hole: hole.begin_ns):
        if hole.end_ns > begin_ns and hole.begin_ns < end_ns:
            if hole.begin_ns > begin_ns:
                yield begin_ns, hole.begin_ns
            begin_ns = hole.end_ns
    if begin_ns < end_ns:
        yield begin_ns, end_ns


def trace_events(records: Iterable[Record], group: int = 0) -> Iterator[dict[str, Any]]:
    """Events of the Chrome trace format for records in the order of their time."""
    records = list(records)
    found = timeline(records, group)
    pids: dict[str, int] = {}
    for record in records:
        yield from _named(record.process if isinstance(record, Refusal | Traffic) else record.actor, pids)
        yield from _loose(record, pids)
    rows = lanes(found.slices)
    for (actor, lane), name in _row_names(found.slices, rows).items():
        yield from _named(actor, pids)
        yield {"ph": "M", "name": "thread_name", "pid": pids[actor], "tid": lane, "args": {"name": name}}
    arrows = 0
    for one, lane in zip(found.slices, rows, strict=True):
        begin, end = one.begin_ns / 1000, one.end_ns / 1000
        at = {"pid": pids[one.actor], "tid": lane}
        args = {**one.args, "version": one.version}
        yield {"ph": "X", "cat": one.category, "name": one.name, **at, "ts": begin, "dur": end - begin, "args": args}
        for place in one.feeds:
            arrows += 1
            update = found.slices[place]
            arrow = {"cat": "trained", "name": "trained", "id": arrows}
            yield {"ph": "s", **arrow, **at, "ts": begin, "args": {}}
            to = {"pid": pids[update.actor], "tid": rows[place]}
            yield {"ph": "f", "bp": "e", **arrow, **to, "ts": update.begin_ns / 1000, "args": {}}


def lanes(slices: list[Slice]) -> list[int]:
    """The row of each slice: 0 for what an actor does by itself, from 1 the first that is free for its work."""
    free: dict[str, list[int]] = {}
    result = [0] * len(slices)
    for index in sorted(range(len(slices)), key=lambda index: slices[index].begin_ns):
        one = slices[index]
        if one.category not in WORK:
            continue
        ends = free.setdefault(one.actor, [])
        lane = next((lane for lane, end in enumerate(ends) if end <= one.begin_ns), len(ends))
        ends[lane : lane + 1] = [one.end_ns]
        result[index] = lane + 1
    return result


def _row_names(slices: list[Slice], rows: list[int]) -> dict[tuple[str, int], str]:
    return {(one.actor, lane): f"work {lane}" if lane else "itself" for one, lane in zip(slices, rows, strict=True)}


def _named(name: str, pids: dict[str, int]) -> Iterator[dict[str, Any]]:
    if name not in pids:
        pids[name] = len(pids) + 1
        yield {"ph": "M", "name": "process_name", "pid": pids[name], "tid": 0, "args": {"name": name}}


def _loose(record: Record, pids: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Instants and counters."""
    at_us = record.at_ns / 1000
    if isinstance(record, Number):
        if read_bucket(record.name) is None and not record.name.startswith("wait: "):
            args: dict[str, Any] = {"value": record.value}
            yield {"ph": "C", "name": record.name, "pid": pids[record.actor], "tid": 0, "ts": at_us, "args": args}
    elif isinstance(record, Refusal):
        args = {"count": record.count, "reason": record.reason}
        yield {"ph": "i", "s": "p", "name": "refused", "pid": pids[record.process], "tid": 0, "ts": at_us, "args": args}
    elif isinstance(record, Traffic):
        name, args = f"sent {record.kind}", {"count": record.count, "bytes": record.bytes}
        yield {"ph": "C", "name": name, "pid": pids[record.process], "tid": 0, "ts": at_us, "args": args}
    elif record.kind not in SPANNED:
        args = {"fields": record.fields, "incarnation": record.incarnation, "index": record.index,
                "cause": f"{record.cause} {record.cause_index}"}  # fmt: skip
        pid = pids[record.actor]
        yield {"ph": "i", "s": "p", "name": record.kind, "pid": pid, "tid": 0, "ts": at_us, "args": args}


def write_timeline(records: Iterable[Record], path: Path, group: int = 0) -> int:
    """Write the trace file; the result is the number of its events."""
    events = list(trace_events(records, group))
    path.write_bytes(msgspec.json.encode({"displayTimeUnit": "ms", "traceEvents": events}))
    return len(events)
