"""A tree of sums and minima over many priorities at once: prioritized sampling with replacement, as arrays.

    set(indices, priorities)   find(shares) -> indices   total   least

The tree is 16-ary, so that a node's children lie on two cache lines and a million items are five levels. With numba
(the extra `fast`) the loops are compiled; without it numpy does the same, level by level. Both give the same answers up
to rounding: each node is the sum of its children, computed from them and never adjusted by differences.

Invariants: a find never answers an index of priority 0; `least` is the minimum over positive priorities.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from buffers.errors import UsageError

WIDTH = 16
COMPILED = importlib.util.find_spec("numba") is not None
"""Whether numba is there."""

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def _set_loops(sums: Floats, least: Floats, starts: Indices, indices: Indices, priorities: Floats) -> None:
    levels = len(starts)
    for place in range(len(indices)):
        node = indices[place]
        value = priorities[place]
        sums[node] = value
        least[node] = value if value > 0.0 else np.inf
    for level in range(1, levels):
        below, here = starts[level - 1], starts[level]
        last = np.int64(-1)
        for place in range(len(indices)):
            node = indices[place] >> (4 * level)
            if node == last:
                continue
            last = node
            first = below + 16 * node
            total = 0.0
            low = np.inf
            for child in range(first, first + 16):
                total += sums[child]
                low = min(low, least[child])
            sums[here + node] = total
            least[here + node] = low


def _find_loops(sums: Floats, starts: Indices, shares: Floats, found: Indices) -> None:
    levels = len(starts)
    total = sums[starts[levels - 1]]
    for place in range(len(shares)):
        rest = shares[place] * total
        node = np.int64(0)
        for level in range(levels - 2, -1, -1):
            first = starts[level] + 16 * node
            chosen = np.int64(0)
            for child in range(16):
                weight = sums[first + child]
                if weight > 0.0:
                    chosen = np.int64(child)
                    if rest < weight:
                        break
                    rest -= weight
            node = 16 * node + chosen
        found[place] = node


def _set_numpy(sums: Floats, least: Floats, starts: Indices, indices: Indices, priorities: Floats) -> None:
    sums[indices] = priorities
    least[indices] = np.where(sums[indices] > 0.0, sums[indices], np.inf)
    nodes = indices
    for level in range(1, len(starts)):
        nodes = np.unique(nodes >> 4)
        children = starts[level - 1] + (nodes[:, None] << 4) + np.arange(WIDTH)
        sums[starts[level] + nodes] = sums[children].sum(axis=1)
        least[starts[level] + nodes] = least[children].min(axis=1)


def _find_numpy(sums: Floats, starts: Indices, shares: Floats, found: Indices) -> None:
    rest = shares * sums[starts[-1]]
    nodes = np.zeros(len(shares), np.int64)
    rows = np.arange(len(shares))
    for level in range(len(starts) - 2, -1, -1):
        weights = sums[starts[level] + (nodes[:, None] << 4) + np.arange(WIDTH)]
        ends = weights.cumsum(axis=1)
        last = WIDTH - 1 - np.argmax(weights[:, ::-1] > 0.0, axis=1)
        chosen = np.minimum((ends <= rest[:, None]).sum(axis=1), last)
        rest = rest - (ends[rows, chosen] - weights[rows, chosen])
        nodes = (nodes << 4) + chosen
    found[:] = nodes


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    numba: Any = importlib.import_module("numba")
    compiled: Callable[..., None] = numba.njit(cache=True, nogil=True, boundscheck=False)(function)
    return compiled


class PriorityTree:
    """Priorities >= 0 over indices 0 .. size - 1, all 0 at first; `compiled=False` takes numpy."""

    def __init__(self, size: int, compiled: bool = COMPILED) -> None:
        if size < 1:
            raise UsageError(f"size is {size}; a tree holds at least 1 item")
        counts = [-(-size // WIDTH) * WIDTH]
        while counts[-1] > 1:
            nodes = counts[-1] // WIDTH
            counts.append(nodes if nodes == 1 else -(-nodes // WIDTH) * WIDTH)
        self.size = size
        self._starts = np.cumsum([0, *counts[:-1]]).astype(np.int64)
        self._sums: Floats = np.zeros(sum(counts))
        self._least: Floats = np.full(sum(counts), np.inf)
        self._set = _compiled(_set_loops) if compiled else _set_numpy
        self._find = _compiled(_find_loops) if compiled else _find_numpy

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._sums[-1])

    @property
    def least(self) -> float:
        """The smallest positive priority; infinite if there is none."""
        return float(self._least[-1])

    def priorities(self, indices: Indices) -> Floats:
        """Priorities [n] of indices [n]."""
        return self._sums[indices]

    def set(self, indices: Indices, priorities: Floats) -> None:
        """Give indices [n] priorities [n]; of an index named twice the last counts. `UsageError` changes nothing."""
        indices = np.ascontiguousarray(indices, np.int64)
        priorities = np.ascontiguousarray(priorities, np.float64)
        if len(indices) != len(priorities):
            raise UsageError(f"{len(indices)} indices and {len(priorities)} priorities; as many of each are needed")
        if not len(indices):
            return
        if indices.min() < 0 or indices.max() >= self.size:
            bad = int(indices[np.argmax((indices < 0) | (indices >= self.size))])
            raise UsageError(f"index {bad} must be in range: the tree holds {self.size} items")
        if not (priorities.min() >= 0.0 and priorities.max() < np.inf):
            bad = int(np.argmin((priorities >= 0.0) & (priorities < np.inf)))
            raise UsageError(f"priority {priorities[bad]} of index {indices[bad]}: it must be finite and not negative")
        self._set(self._sums, self._least, self._starts, indices, priorities)

    def find(self, shares: Floats) -> Indices:
        """The indices [n] under shares [n] in [0, 1) of the total; `UsageError` where all priorities are 0."""
        if not self.total > 0.0:
            raise UsageError("no item has a positive priority; give one before sampling")
        found = np.empty(len(shares), np.int64)
        self._find(self._sums, self._starts, np.ascontiguousarray(shares, np.float64), found)
        return found
