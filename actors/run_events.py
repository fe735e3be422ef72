"""The event logs of a run's folder as one stream: its starts one after the other, each process's file in its place.

A live world's clock begins anew with each start of a run. The incarnations in a file tell which start it belongs to
(`cast.LIVES_PER_START`); the records of a later start are moved behind the last of the earlier ones.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from actors.cast import LIVES_PER_START
from actors.eventlog import SUFFIX, Record, read_events
from actors.kernel.backend import Decision


def read_run(run_dir: Path) -> list[Record]:
    """All records of a run in the order of their time; empty if there are none."""
    starts: dict[int, list[Record]] = {}
    for file in sorted((run_dir / "events").glob(f"*{SUFFIX}")):
        records = read_events([file])
        starts.setdefault(start_of(records), []).extend(records)
    result: list[Record] = []
    offset_ns = 0
    for _, records in sorted(starts.items()):
        records.sort(key=lambda record: record.at_ns)
        moved = [msgspec.structs.replace(one, at_ns=one.at_ns + offset_ns) for one in records] if offset_ns else records
        result += moved
        offset_ns = moved[-1].at_ns if moved else offset_ns
    return result


def start_of(records: list[Record]) -> int:
    """Which start of the run a process belongs to; 0 is the first (also where nothing tells)."""
    lives = [one.incarnation for one in records if isinstance(one, Decision)]
    return (max(lives, default=1) - 1) // LIVES_PER_START
