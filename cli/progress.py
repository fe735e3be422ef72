"""The progress of a run as plain lines, from the recorder's numbers: a sink that lives in the launcher's process."""

from __future__ import annotations

import sys
from typing import Any

from actors.recorder import Rows

EVERY_S = 2.0


class ProgressLines:
    """Prints a line for each evaluation, and otherwise one about every two seconds."""

    def __init__(self, config: dict[str, Any], emit: object, clock: Any) -> None:
        self._clock = clock
        self._versions = int(config["schedule"]["versions"])
        self._began_ns: int = clock.now()
        self._printed_ns = self._began_ns
        self._latest: dict[str, float] = {}
        self._decoded = 0.0
        self._trained = 0.0
        self._first: tuple[int, float] | None = None
        """When the first version was seen (ns), and which."""

    def write(self, actor: str, rows: Rows) -> None:
        """Take (name, time ns, value) rows of one actor."""
        evaluated = False
        for name, at_ns, value in rows:
            self._latest[name] = value
            self._decoded += value if name == "decoded_tokens" else 0.0
            self._trained += value if name == "trained_tokens" else 0.0
            evaluated = evaluated or (name == "eval_sampled")
            if name == "version" and self._first is None:
                self._first = (at_ns, value)
        if evaluated or self._clock.now() - self._printed_ns > EVERY_S * 1e9:
            self._print(evaluated)

    def _print(self, evaluated: bool) -> None:
        now = self._clock.now()
        self._printed_ns = now
        seconds = (now - self._began_ns) / 1e9
        get = self._latest.get
        parts = [f"{seconds:5.0f} s  version {int(get('version', 0))}/{self._versions}"]
        if "outcome" in self._latest:
            parts.append(f"reward {get('outcome', 0):.2f}  tokens {get('response_tokens', 0):.0f}")
            parts.append(f"lag {get('lag_mean', 0):.1f} (max {get('lag_max', 0):.0f})")
        parts.append(
            f"generated {self._decoded / max(seconds, 1e-9):.0f}/s  trained {self._trained / max(seconds, 1e-9):.0f}/s"
        )
        if evaluated:
            parts.append(f"held-out sampled {get('eval_sampled', 0):.3f} greedy {get('eval_greedy', 0):.3f}")
        left = self._left_s(now)
        if left is not None:
            parts.append(f"{left:.0f} s left")
        print("  ".join(parts), file=sys.stdout, flush=True)

    def _left_s(self, now: int) -> float | None:
        if self._first is None or self._latest.get("version", 0) <= self._first[1]:
            return None
        done = self._latest["version"] - self._first[1]
        return (now - self._first[0]) / 1e9 / done * (self._versions - self._latest["version"])

    def close(self) -> None:
        """Nothing to close."""
