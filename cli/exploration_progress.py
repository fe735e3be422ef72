"""The progress of an exploration on the error stream: a bar with the time left, or plain lines where nobody looks."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich import progress as rich
from rich.console import Console

from sim.explore import Tally

EVERY_S = 5.0
"""Between two plain lines."""


class Progress:
    """Shown while it is entered."""

    def __init__(self, plans: int, done: int) -> None:
        self._plans = plans
        self._began_with = done
        self._began = self._told = time.monotonic()
        self._bar: rich.Progress | None = None
        self._task = rich.TaskID(0)
        if sys.stderr.isatty():
            columns = (
                rich.BarColumn(),
                rich.MofNCompleteColumn(),
                rich.TextColumn("{task.description}"),
                rich.TimeRemainingColumn(),
            )
            self._bar = rich.Progress(*columns, console=Console(file=sys.stderr))
            self._task = self._bar.add_task("0 violations", total=plans, completed=done)

    def __enter__(self) -> Progress:
        """Show it."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave it as it stands."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, tally: Tally) -> None:
        """Show how far a tally is."""
        found = f"{len(tally.findings)} violations"
        if self._bar is not None:
            self._bar.update(self._task, completed=tally.plans, description=found)
            return
        now = time.monotonic()
        if now - self._told > EVERY_S:
            self._told = now
            rate = (tally.plans - self._began_with) / (now - self._began)
            left_s = (self._plans - tally.plans) / max(rate, 1e-9)
            print(
                f"{tally.plans:,} of {self._plans:,} plans  {found}  {rate:.1f} plans/s  {left_s:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
