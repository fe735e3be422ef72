"""The progress of an exploration on the error stream."""

from __future__ import annotations

from cli.progress_bar import ProgressBar
from sim.explore import Tally


class Progress(ProgressBar):
    """Shown while it is entered."""

    def __init__(self, plans: int, done: int) -> None:
        super().__init__("0 violations", plans, done)
        self._plans = plans
        self._began_with = done

    def show(self, tally: Tally) -> None:
        """Show how far a tally is."""
        found = f"{len(tally.findings)} violations"

        def line(seconds: float) -> str:
            rate = (tally.plans - self._began_with) / seconds
            left_s = (self._plans - tally.plans) / max(rate, 1e-9)
            return f"{tally.plans:,} of {self._plans:,} plans  {found}  {rate:.1f} plans/s  {left_s:.0f} s left"

        self.update(tally.plans, self._plans, found, line)
