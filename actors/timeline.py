"""The trace sink: an event log as one JSON file in the Chrome trace format, which Perfetto and chrome://tracing open.

Every actor is a process of the trace. A decision is an instant; two decisions that `SPANS` pairs are a span on the
track of whoever worked, with the same key; numbers are counters; refused messages are instants of their process.
Left out: the ends of spans whose end was never decided; viewers draw them to the end of the trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from actors.eventlog import Number, Record, Refusal
from actors.kernel.backend import Decision


class Span(msgspec.Struct, frozen=True):
    """Two kinds of decisions that begin and end something."""

    name: str
    begin: str
    end: str
    key: tuple[int, ...]
    """Positions of the fields that the two have in common."""
    track: int = -1
    """Position of the field of `begin` that names whose track it is drawn on; -1: the actor that decided."""


SPANS: tuple[Span, ...] = (
    Span("segment", "dispatch", "store", (0, 1), 2),
    Span("update", "lease", "complete", (0,)),
    Span("life", "spawn", "died", (0,), 0),
)


def trace_events(records: Iterable[Record], spans: Iterable[Span] = SPANS) -> Iterator[dict[str, Any]]:
    """Events of the Chrome trace format for records in the order of their time."""
    tracks: dict[str, int] = {}
    begins = {span.begin: span for span in spans}
    ends = {span.end: span for span in begins.values()}
    open_spans: dict[tuple[str, tuple[int | str, ...]], tuple[int, int]] = {}
    count = 0

    def track(name: str) -> Iterator[dict[str, Any]]:
        if name not in tracks:
            tracks[name] = len(tracks) + 1
            yield {"ph": "M", "name": "process_name", "pid": tracks[name], "tid": 0, "args": {"name": name}}

    for record in records:
        at_us = record.at_ns / 1000
        if isinstance(record, Number):
            yield from track(record.actor)
            args: dict[str, Any] = {"value": record.value}
            yield {"ph": "C", "name": record.name, "pid": tracks[record.actor], "tid": 0, "ts": at_us, "args": args}
            continue
        name = record.process if isinstance(record, Refusal) else record.actor
        yield from track(name)
        yield {"ph": "i", "s": "p", "pid": tracks[name], "tid": 0, "ts": at_us, **_instant(record)}
        if not isinstance(record, Decision):
            continue
        span = begins.get(record.kind)
        if span is not None and (key := _key(span, record)) is not None:
            owner = str(record.fields[span.track]) if 0 <= span.track < len(record.fields) else record.actor
            yield from track(owner)
            count += 1
            open_spans[span.name, key] = (tracks[owner], count)
            yield _edge("b", span, open_spans[span.name, key], at_us, key)
        span = ends.get(record.kind)
        if span is not None and (key := _key(span, record)) is not None:
            begun = open_spans.pop((span.name, key), None)
            if begun is not None:
                yield _edge("e", span, begun, at_us, key)


def write_timeline(records: Iterable[Record], path: Path, spans: Iterable[Span] = SPANS) -> int:
    """Write the trace file; the result is the number of its events."""
    events = list(trace_events(records, spans))
    path.write_bytes(msgspec.json.encode({"displayTimeUnit": "ms", "traceEvents": events}))
    return len(events)


def _instant(record: Decision | Refusal) -> dict[str, Any]:
    if isinstance(record, Refusal):
        return {"name": "refused", "args": {"count": record.count, "reason": record.reason}}
    return {
        "name": record.kind,
        "args": {
            "fields": record.fields,
            "incarnation": record.incarnation,
            "index": record.index,
            "cause": f"{record.cause} {record.cause_index}",
        },
    }


def _key(span: Span, decision: Decision) -> tuple[int | str, ...] | None:
    if max(span.key) >= len(decision.fields):
        return None
    return tuple(decision.fields[position] for position in span.key)


def _edge(
    phase: str, span: Span, begun: tuple[int, int], at_us: float, key: tuple[int | str, ...]
) -> dict[str, Any]:  # one event has this many columns
    pid, number = begun
    return {"ph": phase, "cat": span.name, "name": span.name, "id": number, "pid": pid, "tid": 0, "ts": at_us,
            "args": {"key": key}}  # fmt: skip
