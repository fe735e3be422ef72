"""What a run comes to, counted while it runs: no list of what happened, so memory does not grow with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import inf

from actors.kernel.backend import Decision


class Tally:
    """Shown every decision and number of a world."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.tokens = 0
        """Response tokens stored."""
        self.ends: Counter[str] = Counter()
        """Segments by how they ended."""
        self.lengths: list[int] = []
        """Of the ended responses, at most `SAMPLE` of them."""
        self.published: list[int] = []
        """When each version could be pulled (ns)."""
        self.trained: list[tuple[float, int]] = []
        """At each of these times: sum and number of the mean response lengths of all updates before."""
        self.leased: list[int] = []
        """When each lease was given (ns)."""
        self.reason = ""
        """Why the run ended."""
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.counts: Counter[str] = Counter()
        self.greatest: dict[str, float] = {}

    def watch(self, decision: Decision) -> None:
        """Take a decision."""
        kind, fields = decision.kind, decision.fields
        self.kinds[kind] += 1
        if kind == "store":
            self.tokens += int(fields[3])
            end = str(fields[4])
            self.ends[end] += 1
            if end != "cut" and len(self.lengths) < SAMPLE:
                self.lengths.append(int(fields[2]) + int(fields[3]))
        elif kind == "lease":
            self.leased.append(decision.at_ns)
        elif kind == "publish":
            self.published.append(decision.at_ns)
            self.trained.append((self.sums["response_tokens"], self.counts["response_tokens"]))
        elif kind == "stop":
            self.reason = str(fields[0])

    def measure(self, at_ns: int, actor: str, name: str, value: float) -> None:
        """Take a number."""
        self.sums[name] += value
        self.counts[name] += 1
        if value > self.greatest.get(name, -inf):
            self.greatest[name] = value

    def mean(self, name: str) -> float:
        """Mean of a number; 0 if it was never noted."""
        return self.sums[name] / self.counts[name] if self.counts[name] else 0.0


SAMPLE = 200_000
"""Response lengths that are kept for quantiles."""
