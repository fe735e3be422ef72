"""A tree of sums and minima over many priorities at once: prioritized sampling, as arrays or one by one.

    set(indices, priorities)   find(shares) -> indices   sample(shares, beta) -> indices, weights   total   least

The tree is 16-ary, so that a node's children lie on two cache lines and a million items are five levels. It has three
forms with the same answers, to the last bit: `compiled` (numba, the extra `fast`), `numpy` (level by level) and `plain`
(lists; for trees that are asked one by one). Hence no decision depends on what is installed.

Each sum is that of its children, by quarters, ((0 + 1) + (2 + 3)) each; it is computed from them and never adjusted by
differences, so nothing drifts. A minimum is recomputed only where the child that held it has risen.

Invariants: a find never answers an index of priority 0; `least` is the minimum over positive priorities.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from buffers.errors import UsageError

WIDTH = 16
COMPILED = importlib.util.find_spec("numba") is not None
"""Whether numba is there."""
PLAIN_BELOW = 65_537
"""Smaller trees are plain unless their form is given: asked one by one, compiled code gains too little to be waited for
(a second or two when it is first compiled, half of one to load)."""
FEW = 4
"""Up to so many items numpy's form takes the loops one by one."""

Form = Literal["compiled", "numpy", "plain"]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def _set_loops(sums: Any, least: Any, bases: Any, size: int, indices: Any, priorities: Any) -> int:
    """Set priorities [n]; -1, or the place of the first bad one, which leaves all as it was."""
    count = len(indices)
    for place in range(count):
        if not (0 <= indices[place] < size and 0.0 <= priorities[place] < math.inf):
            return place
    inner, levels = bases[1], len(bases)
    for place in range(count):
        node, low = indices[place], priorities[place]
        before = sums[node >> 4][node & 15]
        sums[node >> 4][node & 15] = low
        if before <= 0.0:
            before = math.inf
        if low <= 0.0:
            low = math.inf
        for level in range(1, levels):  # a minimum rises to where it changes nothing
            below = bases[level - 1] + (node >> 4)
            node = node >> 4
            here = bases[level] + (node >> 4) - inner
            known = least[here][node & 15]
            if low > known:
                if before > known:
                    break
                low = math.inf
                if level == 1:
                    for child in range(16):
                        if 0.0 < sums[below][child] < low:
                            low = sums[below][child]
                else:
                    for child in range(16):
                        if least[below - inner][child] < low:
                            low = least[below - inner][child]
            if low == known:
                break
            before = known
            least[here][node & 15] = low
    for level in range(1, levels):
        nodes = bases[level] - bases[level - 1]
        every = nodes <= count
        last = -1
        for place in range(nodes if every else count):
            node = place if every else indices[place] >> (4 * level)
            if node == last:
                continue
            last = node
            kids = sums[bases[level - 1] + node]
            a = (kids[0] + kids[1]) + (kids[2] + kids[3])
            b = (kids[4] + kids[5]) + (kids[6] + kids[7])
            c = (kids[8] + kids[9]) + (kids[10] + kids[11])
            d = (kids[12] + kids[13]) + (kids[14] + kids[15])
            sums[bases[level] + (node >> 4)][node & 15] = (a + b) + (c + d)
    return -1


def _find_loops(sums: Any, bases: Any, rests: Any, found: Any) -> None:
    """Turn rests [n], parts of the total, into indices [n]; the rests are used up. No branch depends on them."""
    for level in range(len(bases) - 2, -1, -1):
        base = bases[level]
        for place in range(len(rests)):
            kids, rest = sums[base + found[place]], rests[place]
            a = (kids[0] + kids[1]) + (kids[2] + kids[3])
            b = a + ((kids[4] + kids[5]) + (kids[6] + kids[7]))
            c = b + ((kids[8] + kids[9]) + (kids[10] + kids[11]))
            low = a if rest >= a else 0.0
            low = b if rest >= b else low
            low = c if rest >= c else low
            child = 4 * ((1 if rest >= a else 0) + (1 if rest >= b else 0) + (1 if rest >= c else 0))
            rest -= low
            a = kids[child]
            b = a + kids[child + 1]
            c = b + kids[child + 2]
            low = a if rest >= a else 0.0
            low = b if rest >= b else low
            low = c if rest >= c else low
            child += (1 if rest >= a else 0) + (1 if rest >= b else 0) + (1 if rest >= c else 0)
            rest -= low
            if kids[child] <= 0.0:  # beyond the end by rounding: the last that has any
                child = 15
                while kids[child] <= 0.0:
                    child -= 1
                rest = kids[child]
            rests[place] = rest
            found[place] = 16 * found[place] + child


def _quarters(children: Floats) -> Floats:
    """Sums [n, 4] of quarters of children [n, 16]."""
    return (children[:, 0::4] + children[:, 1::4]) + (children[:, 2::4] + children[:, 3::4])


def _set_numpy(sums: Floats, least: Floats, bases: Indices, size: int, indices: Indices, priorities: Floats) -> int:
    if len(indices) <= FEW:
        return _set_loops(sums, least, bases, size, indices.tolist(), priorities.tolist())
    good = (indices >= 0) & (indices < size) & (priorities >= 0.0) & (priorities < np.inf)
    if not good.all():
        return int(np.argmin(good))
    sums.reshape(-1)[indices] = priorities
    nodes, inner = indices, bases[1]
    for level in range(1, len(bases)):
        nodes = np.unique(nodes >> 4)
        below, here = bases[level - 1] + nodes, (bases[level] << 4) + nodes
        children = sums[below]
        quarters = _quarters(children)
        sums.reshape(-1)[here] = (quarters[:, 0] + quarters[:, 1]) + (quarters[:, 2] + quarters[:, 3])
        lows = np.where(children > 0.0, children, np.inf) if level == 1 else least[below - inner]
        least.reshape(-1)[here - (inner << 4)] = lows.min(axis=1)
    return -1


def _find_numpy(sums: Floats, bases: Indices, rests: Floats, found: Indices) -> None:
    if len(rests) <= FEW:
        _find_loops(sums, bases, rests, found)
        return
    rows, rest = np.arange(len(rests)), rests
    for level in range(len(bases) - 2, -1, -1):
        children = sums[bases[level] + found]
        chosen = np.zeros(len(rests), np.int64)
        for parts in (_quarters(children)[:, None, :], children.reshape(-1, 4, 4)):
            part = parts[rows, chosen]
            a = part[:, 0]
            b = a + part[:, 1]
            c = b + part[:, 2]
            rise = (rest >= a).astype(np.int64) + (rest >= b) + (rest >= c)
            rest = rest - np.stack((np.zeros_like(a), a, b, c), axis=1)[rows, rise]
            chosen = 4 * chosen + rise
        beyond = children[rows, chosen] <= 0.0
        if beyond.any():
            last = WIDTH - 1 - np.argmax(children[:, ::-1] > 0.0, axis=1)
            chosen = np.where(beyond, last, chosen)
            rest = np.where(beyond, children[rows, chosen], rest)
        found[:] = 16 * found + chosen


@functools.cache
def _compiled() -> tuple[Callable[..., int], Callable[..., None]]:
    numba: Any = importlib.import_module("numba")
    try:
        return numba.njit(cache=True)(_set_loops), numba.njit(cache=True)(_find_loops)
    except RuntimeError:  # nowhere to keep what was compiled: a folder of packages that cannot be written, no home
        return numba.njit(_set_loops), numba.njit(_find_loops)


def form_for(size: int) -> Form:
    """The fastest form for a tree that is asked one by one while it is small, and by arrays while it is large."""
    if size < PLAIN_BELOW:
        return "plain"
    return "compiled" if COMPILED else "numpy"


class PriorityTree:
    """Priorities >= 0 over indices 0 .. size - 1, all 0 at first."""

    def __init__(self, size: int, form: Form | None = None) -> None:
        if size < 1:
            raise UsageError(f"size is {size}; a tree holds at least 1 item")
        counts = [-(-size // WIDTH) * WIDTH]
        while counts[-1] > 1:
            nodes = counts[-1] // WIDTH
            counts.append(nodes if nodes == 1 else -(-nodes // WIDTH) * WIDTH)
        self.size = size
        self.form = form or form_for(size)
        plain = self.form == "plain"
        rows = [-(-count // WIDTH) for count in counts]
        bases = [sum(rows[:level]) for level in range(len(rows))]
        self._bases: Any = bases
        self._sums: Any = [[0.0] * WIDTH for _ in range(sum(rows) if plain else 0)]
        self._least: Any = [[math.inf] * WIDTH for _ in range(sum(rows[1:]) if plain else 0)]
        self._set: Callable[..., int] = _set_loops
        self._find: Callable[..., None] = _find_loops
        if not plain:
            self._bases, self._sums = np.array(bases, np.int64), np.zeros((sum(rows), WIDTH))
            self._least = np.full((sum(rows[1:]), WIDTH), np.inf)
            self._set, self._find = _compiled() if self.form == "compiled" else (_set_numpy, _find_numpy)

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._sums[-1][0])

    @property
    def least(self) -> float:
        """The smallest positive priority; infinite if there is none."""
        return float(self._least[-1][0])

    def priority(self, index: int) -> float:
        """Priority of one index."""
        return float(self._sums[index >> 4][index & 15])

    def priorities(self, indices: Indices) -> Floats:
        """Priorities [n] of indices [n]."""
        if self.form == "plain":
            return np.array([self.priority(index) for index in indices.tolist()])
        found: Floats = self._sums.reshape(-1)[indices]
        return found

    def set(self, indices: Indices, priorities: Floats) -> None:
        """Give indices [n] priorities [n]; of an index named twice the last counts. `UsageError` changes nothing."""
        indices = np.ascontiguousarray(indices, np.int64)
        priorities = np.ascontiguousarray(priorities, np.float64)
        if len(indices) != len(priorities):
            raise UsageError(f"{len(indices)} indices and {len(priorities)} priorities; as many of each are needed")
        if self.form == "plain":
            bad = self._set(self._sums, self._least, self._bases, self.size, indices.tolist(), priorities.tolist())
        else:
            bad = self._set(self._sums, self._least, self._bases, self.size, indices, priorities)
        if bad >= 0:
            self._refuse(int(indices[bad]), float(priorities[bad]))

    def set_one(self, index: int, priority: float) -> None:
        """Give one index a priority; `UsageError` changes nothing."""
        if self.form != "plain":
            self.set(np.array([index], np.int64), np.array([priority]))
        elif self._set(self._sums, self._least, self._bases, self.size, (index,), (priority,)) >= 0:
            self._refuse(index, priority)

    def find(self, shares: Floats) -> Indices:
        """The indices [n] under shares [n] in [0, 1) of the total; `UsageError` where all priorities are 0."""
        total = self._positive_total()
        if self.form == "plain":
            return np.array([self.find_one(share) for share in shares.tolist()], np.int64)
        found = np.zeros(len(shares), np.int64)
        self._find(self._sums, self._bases, np.multiply(shares, total), found)
        return found

    def find_one(self, share: float) -> int:
        """The index under one share of the total."""
        total = self._positive_total()
        if self.form != "plain":
            return int(self.find(np.array([share]))[0])
        found = [0]
        self._find(self._sums, self._bases, [share * total], found)
        return found[0]

    def sample(self, shares: Floats, beta: float) -> tuple[Indices, Floats]:
        """The indices [n] under shares [n], and their importance weights [n], the largest possible one being 1.

        w_i = (N P(i))^-beta / max_j w_j = (p_i / least)^-beta; Schaul et al., arXiv 1511.05952, section 3.4.
        """
        found = self.find(shares)
        weights = self.priorities(found)
        weights /= self._least[-1][0]
        return found, np.power(weights, -beta, out=weights)

    def _positive_total(self) -> float:
        total: float = self._sums[-1][0]
        if not total > 0.0:
            raise UsageError("no item has a positive priority; give one before sampling")
        return total

    def _refuse(self, index: int, priority: float) -> None:
        if not 0 <= index < self.size:
            raise UsageError(f"index {index} must be in range: the tree holds {self.size} items")
        raise UsageError(f"priority {priority} of index {index}: it must be finite and not negative")


def tree_of(priorities: Sequence[float]) -> PriorityTree:
    """A tree over these priorities; over none it holds one item of priority 0."""
    tree = PriorityTree(max(1, len(priorities)))
    tree.set(np.arange(len(priorities)), np.array(priorities, np.float64))
    return tree
