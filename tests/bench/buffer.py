"""Prioritized sampling beside cpprb: cycles of sample B + update B + add 64, weights normalized by the least priority.

Both keep sums and minima; the peer stores one number an item besides. Needs the extra `bench`.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from buffers.priority_tree import PriorityTree
from tests.bench.alternate import Row, alternate, row

RUNS = 5
ADDED = 64
ALPHA, BETA = 0.6, 0.4


def rate(cycle: Callable[[], object], cycles: int) -> Callable[[], float]:
    """Cycles per second."""

    def timed() -> float:
        begin = time.perf_counter()
        for _ in range(cycles):
            cycle()
        return cycles / (time.perf_counter() - begin)

    return timed


def ours(items: int, batch: int) -> Callable[[], object]:
    """A cycle on the tree."""
    tree, draw = PriorityTree(items), np.random.default_rng(0)
    tree.set(np.arange(items), draw.random(items) + 0.01)
    place = 0

    def cycle() -> np.ndarray:
        nonlocal place
        found = tree.find(draw.random(batch))
        weights = (tree.priorities(found) / tree.least) ** -BETA
        tree.set(found, (draw.random(batch) + 0.01) ** ALPHA)
        tree.set(np.arange(place, place + ADDED) % items, np.ones(ADDED))
        place = (place + ADDED) % items
        return weights

    return cycle


def theirs(items: int, batch: int) -> Callable[[], object]:
    """The same with cpprb."""
    cpprb: Any = importlib.import_module("cpprb")
    draw = np.random.default_rng(0)
    buffer = cpprb.PrioritizedReplayBuffer(items, {"x": {}}, alpha=ALPHA)
    buffer.add(x=np.zeros(items), priorities=draw.random(items) + 0.01)
    fresh = np.zeros(ADDED)

    def cycle() -> object:
        sample = buffer.sample(batch, beta=BETA)
        buffer.update_priorities(sample["indexes"], draw.random(batch) + 0.01)
        buffer.add(x=fresh)
        return sample["weights"]

    return cycle


def run() -> Iterator[Row]:
    """Nine cases."""
    version = importlib.metadata.version("cpprb")
    for items in (10_000, 100_000, 1_000_000):
        for batch in (64, 256, 1024):
            mine, peer = alternate(rate(ours(items, batch), 400), rate(theirs(items, batch), 400), RUNS)
            case = f"sample {batch} + update {batch} + add {ADDED} of {items} items"
            yield row(case, round(mine), f"cpprb {version}", round(peer), "cycles/s", RUNS, "more")
