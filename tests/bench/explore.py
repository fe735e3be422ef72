"""How fast the cast is broken on purpose: plans and events a second on all cores, every invariant checked.

Drawn plans of twelve actors in repairable mode, each event followed by the checks. There is no peer: no other system of
this kind explores its actors on a CPU. The target: 5,000 plans of twelve actors in under 10 minutes on 2 cores, so 8.3
plans a second, in the median at least 2,000 events and 5 versions long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from sim.drawn import draw
from sim.explore import Tally, actors, median, sweep

PLANS = 600
RUNS = 1
WARM_UP = 20


def run() -> Iterator[dict[str, object]]:
    """Four lines: plans/s and events/s, then the median size of a plan."""
    jobs = os.cpu_count() or 1
    assert actors(draw(0, "repairable", "standard")) == 12
    tally = Tally()
    results = sweep(range(WARM_UP + PLANS), "repairable", "standard", jobs)
    begin = None
    for result in results:
        if begin is None:  # the processes have started
            begin, skipped = time.perf_counter(), result
        tally.merge(result)
    assert begin is not None
    seconds = time.perf_counter() - begin
    assert not tally.findings, tally.findings[0].words
    where = f"12 actors, {jobs} processes"
    yield line(f"plans, {where}", (tally.plans - skipped.plans) / seconds, "plans/s")
    yield line(f"events, {where}", (tally.events - skipped.events) / seconds, "events/s")
    yield line("events of a plan, median", median(tally.sizes), "events")
    yield line("versions of a plan, median", median(tally.versions), "versions")


def line(case: str, ours: float, unit: str) -> dict[str, object]:
    """One line without a peer."""
    columns = {"peer": None, "theirs": None, "ratio": None, "unit": unit, "runs": RUNS}
    return {"case": case, "ours": round(ours, 1), **columns}
