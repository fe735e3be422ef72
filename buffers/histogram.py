"""Histograms as plain numbers: a distribution travels as a few counts, each under a name that tells its bucket.

    bucket_counts("length_ended", [30, 31, 200], LENGTHS) -> {"length_ended(24,32]": 2.0, "length_ended(192,256]": 1.0}

So what carries, stores and charts numbers carries distributions too. Buckets are open on the left and closed on the
right; what lies beyond the edges counts in the outermost bucket. Empty buckets are not named.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

LENGTHS = tuple(sorted({0.0, 1.0, *(2.0**power for power in range(21)), *(3.0 * 2**power for power in range(20))}))
"""Tokens: 0, 1, 2, 3, 4, 6, 8, 12 ... 1.5 million."""
VERSIONS = tuple(float(edge) for edge in (-1, *range(17), 24, 32, 64, 128))
"""Ages and lags in versions: each of 0 .. 16 by itself."""
RATIOS = (0.0, 0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.01, 1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0, 16.0)
"""Importance ratios around 1."""
SHARES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 2.0, 4.0, 8.0)
"""Priorities."""

_NAME = re.compile(r"^(.+)\(([-\d.e+]+),([-\d.e+]+)\]$")


def bucket_counts(name: str, values: Iterable[float], edges: Sequence[float]) -> dict[str, float]:
    """How many of the values lie in each bucket of rising edges, by the name of the bucket; one value counts once."""
    return weighted_counts(name, ((value, 1.0) for value in values), edges)


def weighted_counts(name: str, pairs: Iterable[tuple[float, float]], edges: Sequence[float]) -> dict[str, float]:
    """The same for (value, weight) pairs."""
    counts: dict[int, float] = {}
    last = len(edges) - 1
    for value, weight in pairs:
        index = bisect_left(edges, value, 1, last)
        counts[index] = counts.get(index, 0.0) + weight
    return {f"{name}({edges[index - 1]:.9g},{edges[index]:.9g}]": counts[index] for index in sorted(counts)}


def read_bucket(name: str) -> tuple[str, float, float] | None:
    """(name of the distribution, left edge, right edge) of a bucket's name; None if it is a plain number's."""
    found = _NAME.match(name) if name.endswith("]") else None
    return None if found is None else (found[1], float(found[2]), float(found[3]))
