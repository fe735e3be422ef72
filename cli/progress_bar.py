"""Progress on the error stream: a bar with the time left, or plain lines now and then where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich import progress as rich
from rich.console import Console

EVERY_S = 5.0
"""Between two plain lines."""


class ProgressBar:
    """Shown while it is entered."""

    def __init__(self, description: str = "", total: int | None = None, done: int = 0) -> None:
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
            self._task = self._bar.add_task(description, total=total, completed=done)

    def __enter__(self) -> Self:
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

    def update(self, done: int, total: int, description: str, line: Callable[[float], str]) -> None:
        """Show how far it is; `line` makes a plain line of the seconds since the beginning."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, description=description)
            return
        now = time.monotonic()
        if now - self._told > EVERY_S:
            self._told = now
            print(line(now - self._began), file=sys.stderr, flush=True)
