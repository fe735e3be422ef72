"""What replay tells of itself at each heartbeat: levels, the ledger, and the lengths of what ended and was closed.

How many groups have no signal is told here, of all that are scored: a learner sees only those that it trains.
"""

from __future__ import annotations

from buffers.buffer import Buffer
from buffers.histogram import LENGTHS, SHARES, bucket_counts

LEVELS = ("queued", "running", "cut", "ended", "scored")
"""States of a trajectory before its group is eligible."""
CHARTED = {"consumed": "trained", "evicted": "evicted", "failed": "failed"}
"""State in which a trajectory is closed -> how its chart is called."""
SIGNALS = 32
"""Scored groups behind each `no_signal_share`: of few, all may be without signal by chance."""


class Charts:
    """Collects lengths between two heartbeats."""

    def __init__(self) -> None:
        self._ended: list[int] = []
        self._spreads: list[float] = []
        """Of scored groups, until they are enough for a share."""

    def ended(self, length: int) -> None:
        """A trajectory has its last token: so long is what was started."""
        self._ended.append(length)

    def levels(self, buffer: Buffer) -> dict[str, float]:
        """Trajectories by state and fate, mean lengths since the beginning, histograms since the last call.

        The histograms are `length_ended`, `length_trained`, `length_evicted`, `length_failed` and `priority`. With
        every `SIGNALS` scored groups comes the share of those whose outcomes are all equal, `no_signal_share`.
        """
        ledger = buffer.ledger()
        numbers = {name: float(getattr(ledger, name)) for name in ("live", "eligible", "leased", "applied")}
        numbers |= {f"state_{state}": float(ledger.by_state[state]) for state in LEVELS}
        numbers |= {name: float(getattr(ledger, name)) for name in ("opened", "trained", "evicted", "failed")}
        numbers["held_tokens"] = float(ledger.held_tokens)
        numbers["held_bytes"] = float(ledger.held_bytes)
        for reason, tokens in ledger.reason_tokens.items():
            state, _, why = reason.partition(": ")
            if state == "evicted":
                numbers[f"evicted_tokens_{why.replace(' ', '_')}"] = float(tokens)
        if (frontier := buffer.frontier()) is not None:
            numbers["frontier"] = frontier
        numbers["effective_prompt_share"] = buffer.effective_prompt_share()
        numbers["law_share"] = ledger.law_slots / max(1, ledger.slots)
        numbers |= {f"mean_{name}_tokens": tokens / n for name, (n, tokens) in ledger.lengths.items() if n}
        numbers |= bucket_counts("length_ended", self._ended, LENGTHS)
        self._ended.clear()
        self._spreads += buffer.take_spreads()
        if len(self._spreads) >= SIGNALS:
            numbers["no_signal_share"] = self._spreads.count(0.0) / len(self._spreads)
            self._spreads.clear()
        closed: dict[str, list[float]] = {}
        for state, length in buffer.take_closings():
            closed.setdefault(CHARTED[state], []).append(length)
        for name, lengths in closed.items():
            numbers |= bucket_counts(f"length_{name}", lengths, LENGTHS)
        return numbers | bucket_counts("priority", buffer.priorities(), SHARES)
