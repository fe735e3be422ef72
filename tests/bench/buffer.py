"""Prioritized sampling beside its peers: cycles of sample B + update B + add 64, weights normalized by the largest.

Ours and the peers keep sums and minima. cpprb stores one number an item besides and needs the extra `bench`; torchrl
runs in an environment of its own, named by BRAID_TORCHRL_PYTHON (see `torchrl_peer.py`), or is left out with a line.
`cases` limits the run: `BRAID_BUFFER_CASES="1000000/256 100000/64"`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from buffers.priority_tree import PriorityTree
from tests.bench.alternate import Row, alternate, row

RUNS = 5
ADDED = 64
ALPHA, BETA = 0.6, 0.4
SECONDS = 0.25
"""Of one measurement, about."""
CASES = tuple((items, batch) for items in (10_000, 100_000, 1_000_000) for batch in (64, 256, 1024))


def rate(cycle: Callable[[], object], cycles: int) -> Callable[[], float]:
    """Cycles per second."""

    def timed() -> float:
        begin = time.perf_counter()
        for _ in range(cycles):
            cycle()
        return cycles / (time.perf_counter() - begin)

    return timed


def enough(cycle: Callable[[], object]) -> int:
    """Cycles that take about `SECONDS`."""
    return max(20, round(SECONDS * rate(cycle, 20)()))


def ours(items: int, batch: int) -> Callable[[], object]:
    """A cycle on the tree."""
    tree, draw = PriorityTree(items, "compiled"), np.random.default_rng(0)
    tree.set(np.arange(items), draw.random(items) + 0.01)
    ring, fresh = np.arange(items + ADDED) % items, np.ones(ADDED)
    place = 0

    def cycle() -> np.ndarray:
        nonlocal place
        found, weights = tree.sample(draw.random(batch), BETA)
        tree.set(found, (draw.random(batch) + 0.01) ** ALPHA)
        tree.set(ring[place : place + ADDED], fresh)
        place = (place + ADDED) % items
        return weights

    return cycle


def of_cpprb(items: int, batch: int) -> Callable[[], object]:
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


class Torchrl:
    """The other process: asked for a rate, it answers with one."""

    def __init__(self, python: str) -> None:
        peer = Path(__file__).with_name("torchrl_peer.py")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [python, str(peer)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.version = self._answer()

    def rate(self, kind: str, items: int, batch: int) -> Callable[[], float]:
        """Cycles per second of `sampler` or `tree`."""

        def timed() -> float:
            assert self._process.stdin is not None
            self._process.stdin.write(f"{kind} {items} {batch} {SECONDS}\n")
            self._process.stdin.flush()
            return float(self._answer())

        return timed

    def close(self) -> None:
        """The end of its input is the end of it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the torchrl peer ended; see its message above")
        return line


def cases() -> tuple[tuple[int, int], ...]:
    """(items, batch) of each case."""
    asked = os.environ.get("BRAID_BUFFER_CASES", "").split()
    return tuple((int(items), int(batch)) for items, _, batch in (case.partition("/") for case in asked)) or CASES


def run() -> Iterator[Row]:
    """Each case against each peer."""
    version = importlib.metadata.version("cpprb")
    python = os.environ.get("BRAID_TORCHRL_PYTHON", "")
    torchrl = Torchrl(python) if python else None
    if torchrl is None:
        print("torchrl is left out: BRAID_TORCHRL_PYTHON names no environment that has it", file=sys.stderr)
    for items, batch in cases():
        cycle, peer = ours(items, batch), of_cpprb(items, batch)
        mine = rate(cycle, enough(cycle))
        rates = [(f"cpprb {version}", rate(peer, enough(peer)))]
        if torchrl is not None:
            rates.append((f"torchrl {torchrl.version} PrioritizedSampler", torchrl.rate("sampler", items, batch)))
            rates.append((f"torchrl {torchrl.version} sum and minimum trees", torchrl.rate("tree", items, batch)))
        for name, theirs in rates:
            left, right = alternate(mine, theirs, RUNS)
            case = f"sample {batch} + update {batch} + add {ADDED} of {items} items"
            yield row(case, round(left), name, round(right), "cycles/s", RUNS, "more")
    if torchrl is not None:
        torchrl.close()
