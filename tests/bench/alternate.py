"""Alternating runs of two callables: both see the same noise of the machine, and medians forget single outliers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Literal, TypedDict


class Row(TypedDict):
    """One line of a benchmark's output."""

    case: str
    ours: float
    peer: str
    theirs: float
    ratio: float
    unit: str
    runs: int


def alternate(
    ours: Callable[[], float], theirs: Callable[[], float], runs: int = 5, warm_up: int = 1
) -> tuple[float, float]:
    """Medians of the figures that both callables return, called in turns, who is first changing each time.

    `warm_up` calls of each come first and do not count.
    """
    for _ in range(warm_up):
        ours()
        theirs()
    figures: tuple[list[float], list[float]] = ([], [])
    for turn in range(runs):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            figures[side].append((ours, theirs)[side]())
    return statistics.median(figures[0]), statistics.median(figures[1])


def row(
    case: str, ours: float, peer: str, theirs: float, unit: str, runs: int, better: Literal["more", "less"]
) -> Row:  # seven columns, one argument each
    """One line of output; `ratio` is above 1 where ours is better, given whether more or less of `unit` is better."""
    ratio = ours / theirs if better == "more" else theirs / ours
    return Row(case=case, ours=ours, peer=peer, theirs=theirs, ratio=round(ratio, 4), unit=unit, runs=runs)


def seconds(work: Callable[[], object]) -> Callable[[], float]:
    """The same work as a callable that returns how long it took, in seconds."""

    def timed() -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return timed
