"""A binary tree of sums: draw an index with probability proportional to its weight in O(log n).

Invariant: each node is the sum of its two children, computed from them and never adjusted by differences, so nothing
drifts; the root is the sum of the leaves.
"""

from __future__ import annotations

from collections.abc import Sequence


class SumTree:
    """Weights >= 0 over indices 0 .. n - 1."""

    __slots__ = ("_leaves", "_nodes")

    def __init__(self, weights: Sequence[float]) -> None:
        leaves = 1
        while leaves < len(weights):
            leaves *= 2
        nodes = [0.0] * leaves + list(weights) + [0.0] * (leaves - len(weights))
        for node in range(leaves - 1, 0, -1):
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]
        self._leaves = leaves
        self._nodes = nodes

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return self._nodes[1]

    def weight(self, index: int) -> float:
        """Weight of one index."""
        return self._nodes[self._leaves + index]

    def set(self, index: int, weight: float) -> None:
        """Give an index another weight."""
        nodes = self._nodes
        node = self._leaves + index
        nodes[node] = weight
        while node > 1:
            node >>= 1
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]

    def find(self, share: float) -> int:
        """The index under `share` in [0, 1) of the total; needs a positive total, never answers a weight of 0."""
        nodes = self._nodes
        rest = share * nodes[1]
        node = 1
        while node < self._leaves:
            node *= 2
            if nodes[node + 1] > 0.0 and (rest >= nodes[node] or nodes[node] <= 0.0):
                rest -= nodes[node]
                node += 1
        return node - self._leaves
